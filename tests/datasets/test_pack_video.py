"""Packing transforms that add the identity of a frame for datasets that do not."""

import numpy as np
import pytest

from mmdyn.registry import TRANSFORMS

RESULTS = dict(
    img=np.zeros((8, 8, 3), np.uint8), img_path="x.png", img_id=3, ori_shape=(8, 8),
    img_shape=(8, 8), video_id="v", frame_id=4, video_length=9, custom=1,
)  # fmt: skip


@pytest.mark.parametrize(
    "package, name", [("mmseg", "PackVideoSegInputs"), ("mmdet", "PackVideoDetInputs")]
)
def test_identity_is_packed_beside_the_stock_keys(package, name):
    pytest.importorskip(f"{package}.datasets.transforms")
    meta = TRANSFORMS.build(dict(type=f"mmdyn.{name}"))(dict(RESULTS))["data_samples"].metainfo
    assert (meta["video_id"], meta["frame_id"], meta["video_length"]) == ("v", 4, 9)
    assert meta["img_path"] == "x.png" and meta["ori_shape"] == (8, 8) and "custom" not in meta
    pack = TRANSFORMS.build(dict(type=f"mmdyn.{name}", meta_keys=("custom", "frame_id")))
    meta = pack(dict(RESULTS))["data_samples"].metainfo
    assert set(meta) == {"custom", "video_id", "frame_id", "video_length"}
