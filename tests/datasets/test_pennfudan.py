"""Penn-Fudan's annotation files and masks as COCO-style jsons."""

import json

import cv2
import numpy as np
import pytest

from mmdyn.datasets.pennfudan import pennfudan_to_coco, read_still

TEXT = """# Compatible with PASCAL Annotation Version 1.00
Image size (X x Y x C) : 40 x 30 x 3
Objects with ground truth : 2 {{ "PASpersonWalking" "PASpersonWalking" }}
Bounding box for object 1 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (3, 5) - (12, 24)
Bounding box for object 2 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (21, 1) - (30, {low})
"""


@pytest.fixture
def root(tmp_path):
    """Three stills of two people; the first person's legs are hidden."""
    for name in ("Annotation", "PedMasks", "images"):
        (tmp_path / name).mkdir()
    mask = np.zeros((30, 40), np.uint8)
    mask[4:14, 2:12], mask[0:30, 20:30] = 1, 2
    for number in (1, 2, 10):
        name = f"FudanPed{number:05d}"
        (tmp_path / "Annotation" / f"{name}.txt").write_text(TEXT.format(low=30))
        cv2.imwrite(str(tmp_path / "PedMasks" / f"{name}_mask.png"), mask)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.zeros((30, 40, 3), np.uint8))
    return tmp_path


def test_boxes_count_pixels_from_zero_and_masks_tell_what_is_visible(root):
    train, val = pennfudan_to_coco(str(root), val_every=2)
    assert [x["file_name"] for x in val.images] == [
        "images/FudanPed00001.jpg", "images/FudanPed00010.jpg"
    ]  # fmt: skip
    assert [x["file_name"] for x in train.images] == ["images/FudanPed00002.jpg"]
    assert (train.images[0]["height"], train.images[0]["width"]) == (30, 40)
    hidden, whole = train.annotations
    assert hidden["bbox"] == [2, 4, 10, 20] and hidden["vis_bbox"] == [2, 4, 10, 10]
    assert hidden["vis_ratio"] == 0.5 and hidden["height"] == 20 and hidden["ignore"] == 0
    assert whole["bbox"] == whole["vis_bbox"] == [20, 0, 10, 30] and whole["vis_ratio"] == 1
    # 40 columns of 30: two of zeros, then four zeros before the first person's first ten pixels.
    assert whole["segmentation"]["counts"][:2] == [20 * 30, 10 * 30]
    assert hidden["segmentation"]["counts"][:2] == [2 * 30 + 4, 10]


def test_the_jsons_are_read_by_pycocotools(root, tmp_path):
    COCO = pytest.importorskip("pycocotools.coco").COCO
    pennfudan_to_coco(str(root), val_every=0)[0].save(str(tmp_path / "out" / "train.json"))
    coco = COCO(str(tmp_path / "out" / "train.json"))
    assert len(coco.imgs) == 3 and len(coco.anns) == 6
    assert coco.annToMask(coco.anns[1]).sum() == 100
    assert json.loads((tmp_path / "out" / "train.json").read_text())["categories"] == [
        dict(id=1, name="person")
    ]


def test_masks_may_be_missing_and_images_may_not(root):
    for path in (root / "PedMasks").iterdir():
        path.unlink()
    train, _ = pennfudan_to_coco(str(root), val_every=0)
    assert train.annotations[0]["vis_bbox"] == train.annotations[0]["bbox"]
    (root / "images" / "FudanPed00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="FudanPed00002"):
        pennfudan_to_coco(str(root))


def test_a_file_with_fewer_boxes_than_it_counts_is_refused(root):
    path = root / "Annotation" / "FudanPed00001.txt"
    path.write_text(TEXT.format(low=30).replace("object 2", "thing 2"))
    with pytest.raises(ValueError, match="got 1 boxes"):
        read_still(str(path))
    with pytest.raises(FileNotFoundError, match="Annotation"):
        pennfudan_to_coco(str(root / "images"))


def test_a_mask_of_another_size_is_refused(root):
    cv2.imwrite(str(root / "PedMasks" / "FudanPed00001_mask.png"), np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match=r"expected a mask of \(30, 40\)"):
        pennfudan_to_coco(str(root))


def test_the_real_stills(data_root):
    root = data_root / "pennfudan"
    if not root.is_dir():
        pytest.skip(f"no folder {root}")
    train, val = pennfudan_to_coco(str(root))
    assert len(train.images) == 136 and len(val.images) == 34
    people = train.annotations + val.annotations
    assert len(people) == 423
    assert min(person["vis_ratio"] for person in people) > 0.5
