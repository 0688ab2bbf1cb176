"""What the documents name is there, and what is there is named."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(p.parent for p in (ROOT / "configs").glob("*/README.md"))
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "configs").glob("*/README.md")),
    *sorted((ROOT / "configs").glob("*/metafile.yml")),
]
PATH = re.compile(r"(?<![\w/:.])(?:configs|tools)/[\w./*+-]+\.(?:py|sh|md|yml)")
BARE = re.compile(r"`([\w.*+-]+\.py)`")


def names(folder: Path) -> list[str]:
    """Names and patterns of files that the folder's documents have in backquotes, or as paths."""
    texts = [p.read_text() for p in (folder / "README.md", folder / "metafile.yml") if p.is_file()]
    found = [name for text in texts for name in BARE.findall(text)]
    found += [Path(path).name for text in texts for path in PATH.findall(text)]
    return [re.sub(r"^\.\.\.", "*", name) for name in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_paths_in_documents_exist(document: Path) -> None:
    missing = [path for path in PATH.findall(document.read_text()) if not any(ROOT.glob(path))]
    assert not missing


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_configs_in_a_folders_tables_are_in_it(folder: Path) -> None:
    rows = re.findall(r"^\| `([\w.*+-]+\.py)`", (folder / "README.md").read_text(), re.MULTILINE)
    assert rows and not [row for row in rows if not any(folder.glob(row))]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_configs_are_listed_in_their_folder(folder: Path) -> None:
    listed = names(folder)
    leaves = [p.name for p in folder.glob("*.py")]
    assert not [leaf for leaf in leaves if not any(fnmatch(leaf, name) for name in listed)]


def test_every_config_is_in_a_folder_with_a_document() -> None:
    folders = {p.parent for p in (ROOT / "configs").glob("*/*.py")} - {ROOT / "configs/_base_"}
    assert folders == set(FOLDERS)


def test_tools_are_in_the_table_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    tools = [p for p in (ROOT / "tools").rglob("*.*") if p.suffix in (".py", ".sh")]
    alone = [p for p in tools if p.suffix == ".sh" or "__main__" in p.read_text()]
    assert not [p.name for p in alone if f"`{p.name}`" not in text]
