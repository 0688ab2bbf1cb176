"""Imports run downhill, and importing mmdyn imports no OpenMMLab package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mmdyn
from mmdyn import registry

PACKAGE = Path(mmdyn.__file__).parent
FREE = {"registry", "compat", "optional"}
# What each room may import besides itself and mmdyn.registry.
BELOW = {
    "ops": set(),
    "blocks": {"ops"},
    "policies": {"ops"},
    "video": {"blocks", "ops"},
    "gating": {"blocks", "ops"},
    "conversion": {"policies", "video", "gating", "blocks", "ops"},
    "models": {"losses"},
    "engine": {"datasets", "conversion", "policies", "video", "gating", "blocks", "ops"},
}
TORCH_ONLY = ("ops", "blocks", "policies", "gating")
OPENMMLAB = {"mmcv", "mmdet", "mmseg", "mmpretrain"}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(PACKAGE.parent).parent.parts
            home = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            found.add(".".join(filter(None, [home, node.module])))
            if node.module in (None, "mmdyn"):
                found |= {".".join([home or "mmdyn", alias.name]) for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_downhill(room):
    allowed = BELOW[room] | FREE | {room}
    for path in files(room):
        rooms = {n.split(".")[1] for n in imports(path) if n.startswith("mmdyn.")}
        rooms &= {p.stem for p in PACKAGE.iterdir()}
        assert rooms <= allowed, f"{path} imports {sorted(rooms - allowed)}"


@pytest.mark.parametrize("room", TORCH_ONLY)
def test_the_lower_rooms_know_torch_only(room):
    for path in files(room):
        named = {n.split(".")[0] for n in imports(path)}
        assert not named & (OPENMMLAB | {"mmengine"}), path


def test_openmmlab_is_named_at_the_edges_only():
    for room in ("conversion", "video"):
        for path in files(room):
            if "hosts" not in path.parts:
                assert not {n.split(".")[0] for n in imports(path)} & OPENMMLAB, path


def test_importing_mmdyn_imports_no_openmmlab_package():
    code = (
        "import sys, mmdyn, mmdyn.registry, mmdyn.conversion, mmdyn.blocks, mmdyn.video; "
        "mmdyn.convert_model, mmdyn.BlockCopyConfig; "
        f"print(sorted({sorted(OPENMMLAB)!r} & sys.modules.keys()))"
    )
    code = code.replace(repr(sorted(OPENMMLAB)), repr(set(OPENMMLAB)))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_every_location_of_a_registry_is_a_room_that_git_knows():
    tracked = subprocess.run(
        ["git", "ls-files", "mmdyn"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    kinds = [v for v in vars(registry).values() if isinstance(v, registry.Registry)]
    for location in {location for kind in kinds for location in kind._locations}:
        assert f"{location.replace('.', '/')}/__init__.py" in tracked
