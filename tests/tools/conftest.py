"""A tiny segmentor with a config file and a clip to run it on, for the tests of the tools."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = "mmseg"
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend="gloo"))
visualizer = dict(
    type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)
log_level = "WARNING"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True,
        seg_pad_val=255, size=(64, 64),
    ),
    backbone=dict(
        type="ResNet", depth=18, base_channels=4, norm_cfg=dict(type="BN"),
        strides=(1, 2, 1, 1), dilations=(1, 1, 1, 1),
    ),
    decode_head=dict(
        type="FCNHead", in_channels=32, in_index=3, channels=8, num_convs=1, concat_input=False,
        dropout_ratio=0.0, num_classes=19, norm_cfg=dict(type="BN"), align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CityscapesDataset", data_root={root!r},
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=[*load, dict(type="RandomCrop", crop_size=(64, 64)), dict(type="PackSegInputs")],
    ),
)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmdyn.CityscapesVideoDataset", data_root={root!r}, clip_length=4, test_mode=True,
        data_prefix=dict(img_path="leftImg8bit_sequence/val", seg_map_path="gtFine/val"),
        pipeline=[*load, dict(type="PackSegInputs")],
    ),
)
test_evaluator = dict(type="mmdyn.VideoIoUMetric")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2)
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    logger=dict(type="LoggerHook", log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2),
    visualization=dict(type="SegVisualizationHook"),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


def load_tool(name: str) -> ModuleType:
    """A file of tools/ as a module, under a name of its own."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location(
            f"mmdyn_tool_{name.replace('/', '_')}", ROOT / "tools" / f"{name}.py"
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return module


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """``config``, ``checkpoint``, ``clip`` (a folder of four frames of 64x128) and ``run``."""
    pytest.importorskip("mmseg")
    import torch

    from mmdyn.datasets.street_layouts import StreetDataset
    from mmdyn.engine.inference import build_model, read_config

    folder = tmp_path_factory.mktemp("tiny")
    root = folder / "street"
    StreetDataset(str(root), "val", size=(64, 128), frames=4, labelled=None).write([3])
    config = folder / "tiny.py"
    config.write_text(CONFIG.replace("{root!r}", repr(str(root))))
    torch.manual_seed(0)
    model = build_model(read_config(config))
    checkpoint = folder / "tiny.pth"
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)

    def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=environment, timeout=250
        )

    return SimpleNamespace(
        config=str(config), checkpoint=str(checkpoint), run=run, folder=folder,
        clip=str(root / "leftImg8bit_sequence" / "val"),
    )  # fmt: skip


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> ModuleType:
    """What the test file is about: ``FOLDER/test_NAME.py`` gives ``tools/FOLDER/NAME.py``."""
    folder = request.path.parent.relative_to(Path(__file__).parent)
    return load_tool((folder / request.path.stem.removeprefix("test_")).as_posix())


@pytest.fixture
def refuses(tool: ModuleType, capsys: pytest.CaptureFixture) -> Callable[[list, str], None]:
    """Checks that the tool, given these options, ends with a last line that says this."""

    def check(words: list, said: str) -> None:
        with pytest.raises(SystemExit):
            tool.parse_args(["config.py", "weights.pth", *words])
        assert said in capsys.readouterr().err.splitlines()[-1]

    return check
