"""What lies in tools/ is started by itself and explains itself; what tools share is in a folder."""

from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_every_tool_has_a_command_line() -> None:
    tools = {path.name: path.read_text() for path in TOOLS.glob("*.py")}
    words = '__name__ == "__main__"', "ArgumentParser("
    assert tools and not [name for name, text in tools.items() if any(w not in text for w in words)]


def test_what_tools_share_has_none() -> None:
    shared = {path.name: path.read_text() for path in (TOOLS / "common").glob("*.py")}
    assert shared and not [name for name, text in shared.items() if "__main__" in text]
