"""The fields of a COCO-style pedestrian."""

import json

import pytest

from mmdyn.datasets.pedestrian_coco import PedestrianCoco, visibility


def test_a_person_has_the_fields_of_the_miss_rate_and_of_coco(tmp_path):
    coco = PedestrianCoco()
    coco.add_image("a.png", (100, 200), video_id="a")
    coco.add_person((10, 20, 10, 40), (10, 20, 10, 10), instance_id=3)
    coco.add_person((0, 0, 5, 5), ignore=True, kind="rider")
    coco.save(str(tmp_path / "new" / "a.json"))
    content = json.loads((tmp_path / "new" / "a.json").read_text())
    assert content["images"] == [dict(id=1, file_name="a.png", height=100, width=200, video_id="a")]
    first, second = content["annotations"]
    assert first["vis_ratio"] == 0.25 and first["height"] == 40 and first["area"] == 400
    assert first["kind"] == "pedestrian" and not first["ignore"] and first["instance_id"] == 3
    assert second["ignore"] == second["iscrowd"] == 1 and second["kind"] == "rider"
    assert second["vis_bbox"] == second["bbox"] and second["category_id"] == 1


def test_a_box_without_area_is_not_visible():
    assert visibility((0, 0, 0, 5), (0, 0, 0, 5)) == 0.0


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, float("nan"), 4), (0, 0, -1, 2), ("a", 0, 1, 1)]
)
def test_what_is_no_box_is_refused(box):
    coco = PedestrianCoco()
    coco.add_image("a.png", (10, 10))
    for boxes in ((box, None), ((0, 0, 5, 5), box)):
        with pytest.raises(ValueError, match="four finite numbers|could not convert"):
            coco.add_person(*boxes)
    assert not coco.annotations
