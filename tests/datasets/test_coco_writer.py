"""Run lengths that COCO's own code decodes to the same mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmdyn.datasets.coco_writer import CocoVideoWriter, run_lengths

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(arrays(bool, SHAPES))
def test_pycocotools_decodes_the_run_lengths(mask):
    coco = pytest.importorskip("pycocotools.mask")
    rle = run_lengths(mask)
    assert sum(rle["counts"]) == mask.size
    decoded = coco.decode(coco.frPyObjects(rle, *mask.shape))
    assert np.array_equal(decoded.astype(bool), mask)


def test_ids_count_over_videos():
    coco = CocoVideoWriter({7: "person"})
    for name in ("a", "b"):
        coco.add_video(name, (4, 6), 1, 10.0)
        coco.add_image(f"{name}.png", 0, labelled=name == "a")
        coco.add_object(7, 3, (0, 1, 2, 2), 4.0)
    assert [image["video_id"] for image in coco.images] == [1, 2]
    assert [image["labelled"] for image in coco.images] == [True, False]
    assert [a["id"] for a in coco.annotations] == [1, 2]
    assert coco.annotations[1]["image_id"] == 2 and coco.annotations[1]["instance_id"] == 3
