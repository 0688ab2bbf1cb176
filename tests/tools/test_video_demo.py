"""tools/video_demo.py: folders and videos, dense and with blocks, broken frames."""

import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdyn.conversion import runtime_of
from mmdyn.datasets.frame_reader import FrameReader
from mmdyn.visualization import FilmWriter


def test_folder_with_blocks_gain_and_sheet(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, sheet = tmp_path / "out.mp4", tmp_path / "sheet.png"
    tool.main(
        [tiny.config, tiny.checkpoint, tiny.clip, "--out", str(out), "--sheet", str(sheet)]
        + ["--budget", "0.5", "--block-size", "32", "--show-blocks", "--device", "cpu"]
    )
    reader = FrameReader(str(out))
    assert len(reader) == 4
    assert reader.size[1] == 384, "the picture, the information gain and the probability"
    assert cv2.imread(str(sheet)).shape[1] == 1600
    printed = capsys.readouterr().out
    assert "BlockCopyEncoderDecoder" in printed and "wrote" in printed


def test_video_dense(tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    video, out = tmp_path / "in.avi", tmp_path / "out.avi"
    with FilmWriter(video, fps=7) as film:
        for level in (10, 100, 200):
            film.write(np.full((64, 128, 3), level, np.uint8))
    tool.main([tiny.config, "none", str(video), "--out", str(out), "--dense", "--device", "cpu"])
    reader = FrameReader(str(out))
    assert len(reader) == 3 and reader.fps == pytest.approx(7)
    assert reader.size[1] == 128


def test_broken_frame_is_skipped_with_a_note(
    tool: ModuleType,
    tiny: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out.avi"
    shutil.copytree(Path(tiny.clip, "street"), frames)
    broken = sorted(frames.iterdir())[1]
    broken.write_bytes(b"not an image")
    tool.main(
        [tiny.config, tiny.checkpoint, str(frames), "--out", str(out), "--block-size", "32"]
        + ["--device", "cpu"]
    )
    assert len(FrameReader(str(out))) == 3
    assert broken.name in caplog.text
    assert "1 of 4 frames could not be read" in capsys.readouterr().err


def test_nothing_to_read(tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a_1.png").write_bytes(b"")
    arguments = [tiny.config, tiny.checkpoint, str(tmp_path), "--out", str(tmp_path / "o.avi")]
    with pytest.raises(SystemExit, match="no frame of"):
        tool.main([*arguments, "--device", "cpu"])


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, "x.py", "config x.py"),
        (1, "x.pth", "checkpoint x.pth"),
        (2, "x.mp4", "x.mp4 is missing"),
    ],
)
def test_missing_files_are_named(
    tool: ModuleType, tiny: SimpleNamespace, place: int, value: str, words: str
) -> None:
    arguments = [tiny.config, tiny.checkpoint, tiny.clip, "--out", "o.avi", "--device", "cpu"]
    arguments[place] = value
    with pytest.raises(SystemExit, match=words):
        tool.main(arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x.gif"], "ending in .mp4 or .avi, got 'x.gif'"),
        (["--sheet", "x.txt"], "--sheet must end in one of .png"),
        (["--policy", "foo"], "unknown policy 'foo'; known: "),
        (["--budget", "2"], "budget must be"),
        (["--frames", "0"], "--frames must be at least 1, got 0"),
    ],
)
def test_wrong_options_end_with_a_line(
    tool: ModuleType, tiny: SimpleNamespace, options: list, words: str
) -> None:
    arguments = [tiny.config, "none", tiny.clip, "--out", "o.avi", "--device", "cpu", *options]
    with pytest.raises(SystemExit) as ended:
        tool.main(arguments)
    assert words in str(ended.value) and "\n" not in str(ended.value)


def test_names_are_looked_at_before_the_model_is_built(
    tool: ModuleType, tiny: SimpleNamespace, monkeypatch
) -> None:
    monkeypatch.setattr(tool, "build_model", lambda *args: pytest.fail("built"))
    with pytest.raises(SystemExit, match="ending in"):
        tool.main([tiny.config, "none", tiny.clip, "--out", "x.gif"])
    with pytest.raises(SystemExit, match="is missing"):
        tool.main([tiny.config, "none", "x.mp4", "--out", "x.avi"])


def test_a_broken_checkpoint_ends_with_a_line(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    for content in (b"x", b"", b"PK\x03\x04 cut off"):
        broken = tmp_path / "bad.pth"
        broken.write_bytes(content)
        with pytest.raises(SystemExit, match=r"bad\.pth cannot be read"):
            tool.main([tiny.config, str(broken), tiny.clip, "--out", "o.avi", "--device", "cpu"])


@pytest.mark.parametrize(("own", "wanted"), [(None, False), (True, True)])
def test_the_stock_network_takes_no_frame_unless_the_config_says_so(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path: Path, own, wanted
) -> None:
    line = tmp_path / "line.py"
    line.write_text(f"_base_ = {tiny.config!r}\n")
    options = ["model.type=mmdyn.BlockCopy", "model.host=EncoderDecoder", "model.block_size=32"]
    options += [f"model.dense_fallback={own}"] if own is not None else []
    arguments = [str(line), "none", tiny.clip, "--out", "o.avi", "--cfg-options", *options]
    args = tool.parse_args(arguments)
    model = tool.make_model(args, tool.read_config(args.config, args.cfg_options))
    assert runtime_of(model).config.dense_fallback is wanted
    args = tool.parse_args([tiny.config, *arguments[1:5]])
    model = tool.make_model(args, tool.read_config(args.config, args.cfg_options))
    assert runtime_of(model).config.dense_fallback is False
