"""tools/density_maps.py draws a row of images and a row a network."""

import cv2
import numpy as np
import torch

from mmdyn.engine.inference import build_model, read_config

CONFIG = """
default_scope = "mmdyn"
model = dict(
    type="mmdyn.DynConv", host="ImageClassifier", budget=0.5, open_init=0.5,
    backbone=dict(type="CIFARResNet", depth=8),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
)
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmdyn.CIFAR10", data_root={root!r}, split="test",
        pipeline=[dict(type="mmdyn.PackInputs")],
    ),
)
"""


def test_it_draws_images_and_densities(tiny, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "test_images.npy", images)
    np.save(tmp_path / "test_labels.npy", np.array([0, 1, 2]))
    config = tmp_path / "tiny.py"
    config.write_text(CONFIG.format(root=str(tmp_path)))
    state = build_model(read_config(config)).state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / "tiny.pth")
    out = tmp_path / "maps.png"
    done = tiny.run(
        "density_maps", config, tmp_path / "tiny.pth", "--out", out, "--count", 12, "--side", 64
    )
    assert done.returncode == 0, done.stderr[-3000:]
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 1600 and picture.std() > 10
    missing = tiny.run("density_maps", config, tmp_path / "no.pth", "--out", out)
    assert "no.pth is missing" in missing.stderr and "Traceback" not in missing.stderr
