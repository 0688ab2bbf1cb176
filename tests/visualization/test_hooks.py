"""Pictures of executed blocks in a test run."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import mmdyn
from mmdyn.registry import HOOKS
from mmdyn.visualization import BlockVisualizationHook
from mmdyn.visualization.hooks import block_in_original, executed_cells, network_input


@pytest.fixture
def model() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).eval()
    config = mmdyn.BlockCopyConfig(policy="none", block_size=32)
    mmdyn.convert_model(network, config, trial=False)
    return network


def runner_of(model: nn.Module, folder: Path) -> SimpleNamespace:
    dataset = SimpleNamespace(metainfo={})
    return SimpleNamespace(
        model=model, log_dir=str(folder), test_dataloader=SimpleNamespace(dataset=dataset)
    )


def sample(**meta) -> object:
    structures = pytest.importorskip("mmseg.structures")
    return structures.SegDataSample(metainfo=dict(ori_shape=(128, 128), img_shape=(64, 64), **meta))


def test_writes_every_nth_frame_under_its_name(model: nn.Module, tmp_path: Path) -> None:
    hook = HOOKS.build(dict(type="mmdyn.BlockVisualizationHook", interval=2))
    assert isinstance(hook, BlockVisualizationHook)
    image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    for number in range(3):
        model(torch.zeros(1, 3, 64, 64))
        frame = sample(video_id="a/b c", frame_id=number)
        hook.after_test_iter(runner_of(model, tmp_path), number, dict(inputs=[image]), [frame])
    written = sorted((tmp_path / "blocks").iterdir())
    assert [path.name for path in written] == ["a_b_c_000000.jpg", "a_b_c_000002.jpg"]
    first, later = (cv2.imread(str(path)) for path in written)
    assert first.shape[1] == 128 and abs(int(first[30, 30].mean()) - 100) < 4
    assert later[30, 30].mean() < 90, "copied blocks fade"


def test_needs_a_converted_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mmdyn\.BlockCopyHook"):
        BlockVisualizationHook().after_test_iter(runner_of(nn.ReLU(), tmp_path), 0, {}, [])
    with pytest.raises(ValueError, match="interval"):
        BlockVisualizationHook(interval=0)


def test_executed_cells(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="has not run"):
        executed_cells(model)
    model(torch.zeros(1, 3, 64, 96))
    executed, block = executed_cells(model)
    assert executed.all() and executed.shape == (2, 3) and block == (32, 32)
    meta = dict(ori_shape=(128, 288), img_shape=(64, 96, 3))
    assert block_in_original(block, meta) == (64, 96)


def test_network_input_is_the_picture() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (network_input(torch.from_numpy(picture).permute(2, 0, 1)) == picture).all()


def test_of_segblocks_only_full_blocks_are_drawn() -> None:
    model = nn.Conv2d(3, 4, 3, padding=1).eval()
    mmdyn.convert_model(model, mmdyn.SegBlocksConfig(budget=0.25, block_size=16), trial=False)
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    cells, block = executed_cells(model)
    assert cells.sum() == 1 and block == (16, 16)
