"""The compiled copies pass the tests of their operators; without them nothing fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdyn.ops import compiled

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, torch
from pathlib import Path
from mmdyn.ops import compiled
assert compiled.load(Path(sys.argv[1]))
for name in (
    "gather_windows", "write_ring", "gather_cells", "scatter_cells", "add_rows", "depthwise_taps",
    "shrink", "patch_statistics", "enlarge", "packed_windows", "packed_rows", "policy_logits",
    "policy_gradient", "roi_align",
):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"mmdyn::{name}", "CPU"), name
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""

TYPES = """
import sys, torch
from pathlib import Path
from mmdyn.ops import compiled
from mmdyn.ops.cells import add_rows, scatter_cells
from mmdyn.ops.windows import gather_windows, reference, write_ring
assert compiled.load(Path(sys.argv[1]))
torch.set_grad_enabled(False)
torch.manual_seed(0)
border = torch.tensor([0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19])
for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.int64):
    x, store = ((torch.randn(*shape) * 3).to(dtype) for shape in ((2, 5, 2, 3), (9, 5)))
    index = torch.randint(0, 9, (2, 14) + ((4,) if dtype.is_floating_point else ()))
    args = (x, store, index, torch.cat([border, border + 20]), (1, 1, 1, 1))
    mine, other = gather_windows(*args), reference.gather_windows(*args)
    if dtype == torch.float32:  # of four numbers the sum may be taken in another order
        assert torch.allclose(mine, other, rtol=0, atol=1e-6)
    else:
        assert torch.equal(mine, other), dtype
    for n in (0, 2):
        for ring in (None, torch.tensor([5, 0])):
            rows = torch.randperm(n * (6 if ring is None else 2))
            mine, other = torch.zeros(12, 5, dtype=dtype), torch.zeros(12, 5, dtype=dtype)
            write_ring(mine, rows, x[:n], ring)
            reference.write_ring(other, rows, x[:n], ring)
            assert torch.equal(mine, other)
from mmdyn.ops.conv import reference as conv
from mmdyn.ops.conv.linear import depthwise_taps
for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
    store, weight, bias = (torch.randn(*s).to(dtype) for s in ((9, 70), (4, 70), (70,)))
    store[3, 2] = float("nan")
    index = torch.randint(0, 9, (6, 4))
    index[0, 0] = 3  # the pixel that is not a number is read
    for b in (bias, None):
        for relu in (False, True):
            mine = depthwise_taps(store, index, weight, b, relu)
            exact = [x if x is None else x.double() for x in (store, weight, b)]
            other = conv.depthwise_taps(exact[0], index, exact[1], exact[2], relu)
            atol = 1e-12 if dtype == torch.float64 else 1e-5
            close = dict(rtol=2 * torch.finfo(dtype).eps, atol=atol, equal_nan=True)
            assert mine.dtype == dtype and torch.allclose(mine.double(), other, **close), dtype
            assert mine.isnan().any() and (not relu or not (mine < 0).any())
            assert depthwise_taps(store, index[:0], weight, b, relu).shape == (0, 70)
x, lines = torch.zeros(1, 5, 2, 3).to(memory_format=torch.channels_last), torch.tensor([[0, 1]])
wrong = torch.ones(1, 5, 2, 3, dtype=torch.float64)
for call in (
    lambda: gather_windows(wrong, torch.zeros(9, 5), index[:1], border, (1, 1, 1, 1)),
    lambda: write_ring(torch.zeros(12, 5), torch.arange(6), wrong, None),
    lambda: scatter_cells(x, lines, wrong),
):
    try:
        call()
    except RuntimeError as error:
        assert "of one type, got " in str(error), error
    else:
        raise AssertionError("types are mixed")
three = torch.zeros(3, 5)
for index, values in (([0, 1], (2, 4)), ([0, 1], (3, 5)), ([1, 3], (2, 5)), ([-1, 0], (2, 5))):
    try:
        add_rows(three, torch.tensor(index), torch.ones(values))
    except RuntimeError as error:
        assert "expected" in str(error) and ", got " in str(error), error
    else:
        raise AssertionError(f"rows {index} take {values}")
assert not x.any()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    try:
        return compiled.build(tmp_path_factory.mktemp("csrc"))
    except RuntimeError as error:
        if "no C++ compiler" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("bits", ["512", "256"])
def test_the_operators_keep_their_tests(library, bits):
    env = {**os.environ, "MMDYN_COMPILED": "0", "PYTHONPATH": str(ROOT), "MMDYN_TILE_BITS": bits}
    tests = [
        "windows/test_reference.py",
        "cells/test_reference.py",
        "test_library.py",
        "conv/test_linear.py",
        "conv/test_packed.py",
        "conv/test_lanes.py",
        "pictures/test_reference.py",
        "rois/test_reference.py",
    ]
    # The suite itself runs the widest registers where the installation compiled the library.
    narrow = [name for name in tests if name.startswith("conv")]
    tests = narrow if bits == "256" else [name for name in tests if "packed" not in name]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(library), *(f"tests/ops/{name}" for name in tests)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]


def test_a_processor_without_wide_registers_is_not_served(library):
    code = (
        "import sys, torch; from pathlib import Path; from mmdyn.ops import compiled;"
        "assert compiled.load(Path(sys.argv[1])) and torch.ops.mmdyn.tile_bits() == 0;"
        "from mmdyn.ops.conv import packed; assert not packed.tiles_work();"
        "x = torch.ones(4, 16); w = packed.pack_panels(torch.ones(1, 16, 1, 1));"
        "torch.set_grad_enabled(False); packed.packed_rows(x, None, w, 1, None, False, None)"
    )
    env = {**os.environ, "MMDYN_COMPILED": "0", "PYTHONPATH": str(ROOT), "MMDYN_TILE_BITS": "0"}
    ran = subprocess.run([sys.executable, "-c", code, str(library)], env=env, capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert ran.returncode == 1 and "neither AVX-512 nor AVX2: use conv_windows" in ran.stderr


def test_half_blocks_and_every_type(library):
    env = {**os.environ, "MMDYN_COMPILED": "0", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", TYPES, str(library)], env=env, capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_without_a_compiler_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="name one with CXX"):
        compiled.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match="failed"):
        compiled.build(tmp_path)


def test_no_library_and_a_broken_one_leave_the_reference(tmp_path, caplog, monkeypatch):
    assert not compiled.load(tmp_path / "none.so")
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    assert not compiled.load(broken) and "cannot be loaded" in caplog.text
    monkeypatch.setenv("MMDYN_COMPILED", "0")
    assert not compiled.load()


def test_a_library_that_lost_a_part_is_refused(library, tmp_path, caplog):
    held = library.read_bytes()
    for name, part in (("short.so", held[:200_000]), ("bare.so", held[:-32]), ("empty.so", b"")):
        (tmp_path / name).write_bytes(part)
        assert not compiled.load(tmp_path / name)
        assert f"{name} cannot be loaded" in caplog.text
    assert caplog.text.count("not as it was written: run python -m mmdyn.ops.compiled") == 3
    (tmp_path / "text.so").write_bytes(b"text" + compiled._checksum(b"text"))
    assert not compiled.load(tmp_path / "text.so")  # as written, and no library
    assert caplog.text.count("not as it was written") == 3


def test_words_that_switch_them_off(monkeypatch, caplog):
    compiled._read_switch.cache_clear()
    for given, on in (("0", False), ("off", False), ("False", False), ("no", False), ("1", True),
                      ("on", True), ("TRUE", True), ("yes", True), ("", True)):  # fmt: skip
        monkeypatch.setenv("MMDYN_COMPILED", given)
        assert compiled.wanted() == on, given
    assert not caplog.text
    monkeypatch.setenv("MMDYN_COMPILED", "never")
    assert compiled.wanted() and compiled.wanted()
    assert caplog.text.count("expected MMDYN_COMPILED to be 1 or 0, got 'never'; it is 1") == 1


@pytest.fixture
def quick(tmp_path, monkeypatch) -> Path:
    """A folder for libraries, named by the variable, and a compiler that writes a word."""
    script = tmp_path / "compiler"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; printf word > "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("MMDYN_COMPILED_DIR", str(tmp_path / "new" / "mine"))
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "package")
    return tmp_path / "new" / "mine"


def test_a_folder_of_the_users_own(quick, monkeypatch):
    old = quick / f"{compiled._platform()}-0000.so"
    quick.mkdir(parents=True)
    old.write_text("another installation's")
    made, name = compiled.build(), compiled.library_path().name
    assert made == quick / name and old.exists()
    assert made.read_bytes() == b"word" + compiled._checksum(b"word")
    assert compiled.found() == [made]
    compiled.FOLDER.mkdir()
    (compiled.FOLDER / name).write_text("")
    assert compiled.found() == [made, compiled.FOLDER / name]
    tried = []
    monkeypatch.setenv("MMDYN_COMPILED", "1")
    monkeypatch.setattr(compiled, "_load", lambda path: tried.append(path))
    assert not compiled.load() and tried == compiled.found()  # the next, where one is broken
    monkeypatch.delenv("MMDYN_COMPILED_DIR")
    assert compiled.found() == [compiled.FOLDER / name]


def test_a_folder_that_cannot_be_written_is_told_in_a_line(quick):
    quick.parent.write_text("a file")
    ran = subprocess.run([sys.executable, "-m", "mmdyn.ops.compiled"], cwd=ROOT, text=True,
                         capture_output=True, check=False)  # fmt: skip
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1
    assert f"cannot write into {quick}" in ran.stderr and "set MMDYN_COMPILED_DIR" in ran.stderr


def test_another_pytorch_does_not_find_it(monkeypatch):
    here = compiled.library_path()
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    assert compiled.library_path() != here


def test_an_edited_source_does_not_find_it_and_old_ones_are_removed(monkeypatch, tmp_path, library):
    source = tmp_path / "copies.cpp"
    source.write_text("".join(x.read_text() for x in compiled.SOURCES))
    monkeypatch.setattr(compiled, "SOURCES", (source,))
    here = compiled.library_path(tmp_path)
    assert here.name == library.name
    source.write_text("int of_another_state;")
    assert compiled.library_path(tmp_path).name != here.name
    before_hashes = here.with_name(f"{here.stem.rpartition('-')[0]}.so")
    others = [tmp_path / "copies-torch1.0-linux-x86_64-0123.so", tmp_path / "other.so"]
    for path in (here, before_hashes, *others):
        path.write_text("")
    made = compiled.build(tmp_path)
    assert set(tmp_path.iterdir()) == {source, made, *others}
    assert made.read_bytes() and compiled.build(tmp_path) == made


def test_without_the_source_nothing_is_loaded(monkeypatch, tmp_path):
    monkeypatch.delenv("MMDYN_COMPILED", raising=False)
    monkeypatch.setattr(compiled, "SOURCES", (tmp_path / "copies.cpp",))
    assert not compiled.load()


@pytest.mark.parametrize(
    ("given", "bits", "amx"),
    [("0", 0, False), ("", 512, True), ("AVX2", 512, True), ("256", 256, False)],
)
def test_widths_that_may_be_asked_for(library, given, bits, amx):
    code = (
        "import sys; from pathlib import Path; from mmdyn.ops import compiled;"
        "assert compiled.load(Path(sys.argv[1])); import torch; f = torch.ops.mmdyn;"
        "print(f.tile_bits(), f.has_amx())"
    )
    env = {**os.environ, "MMDYN_COMPILED": "0", "PYTHONPATH": str(ROOT)}
    env.pop("MMDYN_TILE_BITS", None)
    run = [sys.executable, "-c", code, str(library)]

    def found(**more) -> tuple[int, bool, str]:
        ran = subprocess.run(run, env={**env, **more}, capture_output=True, text=True, check=True)
        width, tiles = ran.stdout.split()
        return int(width), tiles == "True", ran.stderr

    here = found()
    width, tiles, said = found(MMDYN_TILE_BITS=given)
    assert (width, tiles) == (min(bits, here[0]), amx and here[1])
    assert ("expected MMDYN_TILE_BITS to be 512, 256 or 0, got 'AVX2'" in said) == (given == "AVX2")
