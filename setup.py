"""Builds the mmdyn package, with the `.mim` folder by which OpenMMLab's tools find its configs."""

import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_FILES = ("configs", "tools", "model-index.yml")


def read_version() -> str:
    """The version, read from the text: importing mmdyn would need torch while it is built."""
    text = (ROOT / "mmdyn" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('mmdyn/__init__.py has no line `__version__ = "X.Y.Z"`; put it back.')
    return found.group(1)


def requirements(name: str) -> list[str]:
    """The requirements of `requirements/<name>.txt`, those of the files it includes among them."""
    needed: list[str] = []
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        entry = line.split("#")[0].strip()
        if entry.startswith("-r "):
            needed += requirements(Path(entry[3:].strip()).stem)
        elif entry:
            needed.append(entry)
    return needed


def remove(path: Path) -> None:
    """Removes a link, a file or a folder, if there is one; never what a link points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def place_mim(package: Path, link: bool) -> None:
    """Fills `package/.mim`: with links into the clone, or with copies for a wheel.

    A clone's links show every later edit. Where links are not allowed (Windows without developer
    mode), the clone gets copies too, as old as the last install.
    """
    mim = package / ".mim"
    remove(mim)
    mim.mkdir(parents=True)
    for name in MIM_FILES:
        source, target = ROOT / name, mim / name
        if link:
            try:
                target.symlink_to(Path("..", "..", name), target_is_directory=source.is_dir())
                continue
            except OSError:
                pass
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy2(source, target)


def compile_copies(folder: Path) -> None:
    """Compiles `csrc` where PyTorch and a compiler are; mmdyn works without it."""
    compiled = runpy.run_path(str(ROOT / "mmdyn" / "ops" / "compiled.py"))
    if not compiled["is_on"]():
        return
    try:
        print(f"compiled {compiled['build'](folder)}")
    except (ImportError, OSError, RuntimeError) as error:
        print(f"mmdyn's copies are not compiled, PyTorch's own serve: {error}")


class BuildWithMim(build_py):
    """`build_py` that adds `.mim` and compiled copies, to wheels and, in editable mode, clones."""

    def run(self) -> None:
        super().run()
        package = ROOT / "mmdyn" if self.editable_mode else Path(self.build_lib, "mmdyn")
        place_mim(package, link=bool(self.editable_mode))
        compile_copies(package / "csrc")


extras = {name: requirements(name) for name in ("det", "seg", "video", "convert", "tests")}
extras["all"] = sorted({entry for entries in extras.values() for entry in entries})
readme = ROOT / "README.md"

setup(
    name="mmdyn",
    version=read_version(),
    description="Stock detection and segmentation networks that compute only where it matters",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    author="mmdyn contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="computer vision, video, dynamic networks, conditional execution, OpenMMLab",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["mmdyn", "mmdyn.*"]),
    package_data={"mmdyn": ["py.typed", "**/*.cpp", "**/*.h", "**/*.md"]},
    include_package_data=False,
    install_requires=requirements("runtime"),
    extras_require=extras,
    cmdclass={"build_py": BuildWithMim},
    zip_safe=False,
)
