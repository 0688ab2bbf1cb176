"""What may compile the operators, and what other builds leave behind."""

import os

import pytest

from mmdyn.ops import compiled


def test_what_a_compiler_may_be(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nprintf 'x \\374' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", f"{broken} --with options")
    with pytest.raises(RuntimeError, match="broken failed:\nx"):
        compiled.build(tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
        compiled.build(tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["broken"]


def test_left_by_other_builds(tmp_path):
    target = compiled.library_path(tmp_path)
    stale, left, running = (
        tmp_path / f"{compiled._platform()}-0000{end}" for end in (".so", ".so.123", ".so.124")
    )
    for path in (target, stale, left, running):
        path.write_text("")
    os.utime(left, (0, 0))
    compiled._remove_others(target)
    assert sorted(tmp_path.iterdir()) == sorted([target, running])
