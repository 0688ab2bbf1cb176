"""A missing package costs its files; a broken one is reported and costs no more."""

import sys

import pytest

from mmdyn import optional
from mmdyn.optional import import_available


@pytest.fixture
def room(tmp_path, monkeypatch):
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "good.py").write_text("import json\n")
    (folder / "bad.py").write_text("raise ImportError('no _ext')\n")
    (folder / "after.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "room"
    for name in [x for x in sys.modules if x.split(".")[0] == "room"]:
        del sys.modules[name]


def test_only_files_of_installed_packages_are_imported(room):
    assert import_available(room, json=("good",), no_such_package=("bad",)) == ["room.good"]


def test_a_broken_package_is_reported(room, monkeypatch):
    lines = []
    monkeypatch.setattr(optional, "print_log", lambda text, **kwargs: lines.append(text))
    assert import_available(room, json=("bad", "after"), csv=("good",)) == ["room.good"]
    assert len(lines) == 1 and "room.bad is left out: json is installed" in lines[0]
    assert "no _ext" in lines[0]
