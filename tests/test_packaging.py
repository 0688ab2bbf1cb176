"""The wheel holds what users need and nothing else; a clone's `.mim` points at the clone."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("configs", "mmdyn", "requirements", "tests", "tools")
FILES = ("LICENSE", "MANIFEST.in", "README.md", "model-index.yml", "pyproject.toml", "setup.py")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the real clone."""
    copy = tmp_path_factory.mktemp("clone")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".mim")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name)
    return copy


def run(*command: object, cwd: Path) -> None:
    env = {**os.environ, "MMDYN_COMPILED": "0"}  # compiling is tested in tests/ops/test_compiled.py
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel_path(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("wheel")
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, clone, cwd=clone)
    (path,) = folder.glob("mmdyn-*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel_path: Path) -> set[str]:
    with zipfile.ZipFile(wheel_path) as wheel:
        return set(wheel.namelist())


def sources(folder: str, *patterns: str) -> set[str]:
    found = {path for pattern in patterns for path in (ROOT / folder).rglob(pattern)}
    paths = {path.relative_to(ROOT).as_posix() for path in found}
    return {path for path in paths if "/.mim/" not in path}


def test_wheel_holds_every_module(names: set[str]) -> None:
    modules = sources("mmdyn", "*.py", "*.cpp")
    assert modules
    assert modules <= names, "missing from the wheel; does its folder have an __init__.py?"


def test_wheel_holds_configs_and_tools_where_mim_looks(names: set[str]) -> None:
    expected = sources("configs", "*.py", "*.yml") | sources("tools", "*.py", "*.sh")
    assert expected
    assert {f"mmdyn/.mim/{path}" for path in expected} <= names
    assert "mmdyn/.mim/model-index.yml" in names


def test_wheel_installs_one_package_and_no_tests(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mmdyn"}
    assert not [name for name in names if "tests/" in name or name.endswith(".pyc")]


def test_wheel_asks_for_no_openmmlab_distribution(wheel_path: Path, names: set[str]) -> None:
    (path,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    with zipfile.ZipFile(wheel_path) as wheel:
        lines = wheel.read(path).decode().splitlines()
    needs = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Requires-Dist:")]
    always = {re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need}
    assert always == {"numpy", "torch"}
    assert not [need for need in needs if need.lower().startswith(("mm", "onedl"))]
    extras = {line.split(":")[1].strip() for line in lines if line.startswith("Provides-Extra:")}
    assert extras == {"all", "convert", "det", "seg", "tests", "video"}


def test_source_distribution_builds_the_same_wheel(clone: Path, names: set[str]) -> None:
    folder = clone.parent / "sdist"
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=clone)
    (archive,) = folder.glob("mmdyn-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    (unpacked,) = folder.glob("mmdyn-*/")
    run(sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", folder, cwd=unpacked)
    (rebuilt,) = folder.glob("mmdyn-*.whl")
    with zipfile.ZipFile(rebuilt) as wheel:
        assert set(wheel.namelist()) == names


def test_clone_links_mim_to_its_own_files(clone: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--no-build-isolation", "--target", tmp_path, "--editable", clone, cwd=clone)
    mim = clone / "mmdyn" / ".mim"
    assert {path.name for path in mim.iterdir()} == {"configs", "tools", "model-index.yml"}
    assert all(path.resolve() == clone / path.name for path in mim.iterdir())


def test_model_index_names_metafiles_and_configs_that_exist() -> None:
    imports = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    metafiles = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/metafile.yml")}
    assert set(imports) == metafiles
    for name in imports:
        for model in yaml.safe_load((ROOT / name).read_text())["Models"]:
            assert (ROOT / model["Config"]).is_file(), f"{name} names {model['Config']}"


def test_every_requirement_has_a_tested_version() -> None:
    """An unpinned requirement would change under the tests' feet."""

    def named(path: Path) -> set[str]:
        lines = path.read_text().splitlines()
        return {found[0].lower() for line in lines if (found := re.match(r"[A-Za-z][\w.-]*", line))}

    folder = ROOT / "requirements"
    pinned = named(folder / "constraints.txt") | {"setuptools"}
    for path in folder.glob("*.txt"):
        if path.stem in ("onedl", "upstream"):
            assert all("==" in line for line in path.read_text().splitlines() if line[0] != "#")
        elif not path.stem.startswith("constraints"):
            assert named(path) <= pinned, (
                f"{path.name} names packages that constraints.txt does not"
            )
