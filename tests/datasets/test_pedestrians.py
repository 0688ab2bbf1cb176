"""Data sets of pedestrians: labels, ignored people, clips of Cityscapes, Caltech's frames."""

import json

import pytest

pytest.importorskip("mmdet.datasets")

import cv2
import numpy as np

from mmdyn.datasets.pedestrian_coco import PedestrianCoco
from mmdyn.datasets.pedestrians import CityPersonsDataset, PedestrianDataset
from mmdyn.registry import DATASETS
from tests.datasets.citypersons import NAMES, ROWS, write_images, write_jsons, write_mat

PIPELINE = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="mmdyn.PackVisibleBoxes", meta_keys=("img_id", "ori_shape")),
]


@pytest.fixture
def root(tmp_path):
    write_mat(tmp_path / "anno_val.mat", [ROWS, []])
    write_jsons(tmp_path / "gt", [ROWS, []])
    write_images(tmp_path / "stills")
    write_images(tmp_path / "sequence", 15, 20)
    return tmp_path


def city(root, **kwargs):
    options = dict(
        type="mmdyn.CityPersonsDataset", data_root=str(root), ann_file="anno_val.mat",
        data_prefix=dict(img="stills"), test_mode=True, pipeline=PIPELINE,
    )  # fmt: skip
    return DATASETS.build({**options, **kwargs})


def test_stills_have_people_ignored_people_and_visible_boxes(root):
    dataset = city(root)
    assert isinstance(dataset, CityPersonsDataset) and len(dataset) == 2
    walker, rider, _ = dataset.get_data_info(0)["instances"]
    assert walker["bbox"] == [10, 5, 30, 55] and walker["visible_bbox"] == [10, 5, 30, 30]
    assert (walker["ignore_flag"], rider["ignore_flag"]) == (0, 1)
    sample = dataset[0]["data_samples"]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[10, 5, 30, 55]]
    assert sample.gt_instances.visible_bboxes.tolist() == [[10, 5, 30, 30]]
    assert len(sample.ignored_instances.bboxes) == 2 and sample.img_id == 1
    empty = dataset[1]["data_samples"]
    assert len(empty.gt_instances.bboxes) == 0 and empty.gt_instances.visible_bboxes.shape == (0, 4)
    assert dataset.clips == [(0, 1), (1, 2)]


def test_all_layouts_give_the_same_data(root):
    mat, folder = city(root), city(root, ann_file="gt")
    path = root / "val_gt.json"
    content = json.loads(json.dumps(mat.read()))
    for image in content["images"]:
        image["im_name"] = image.pop("file_name").split("/")[1]
    path.write_text(json.dumps(content))
    published = city(root, ann_file="val_gt.json")
    for index in range(2):
        assert mat.get_data_info(index) == folder.get_data_info(index)
        assert mat.get_data_info(index) == published.get_data_info(index)


def test_riders_are_learnt_where_they_are_a_class(root):
    dataset = city(root, metainfo=dict(classes=("pedestrian", "rider")))
    flags = [x["ignore_flag"] for x in dataset.get_data_info(0)["instances"]]
    labels = [x["bbox_label"] for x in dataset.get_data_info(0)["instances"]]
    assert flags == [0, 0, 1] and labels[:2] == [0, 1]


def test_training_ignores_the_small_and_the_hidden_and_may_drop_empty_images(root):
    assert len(city(root, test_mode=False)) == 2
    dropped = city(root, test_mode=False, filter_cfg=dict(filter_empty_gt=True))
    assert len(dropped) == 1 and dropped.get_cat_ids(0) == [0, 0, 0]
    for limit in (dict(min_height=51), dict(min_visibility=0.6)):
        flags = [
            x["ignore_flag"]
            for x in city(root, test_mode=False, **limit).get_data_info(0)["instances"]
        ]
        assert flags == [1, 1, 1]
        tested = city(root, **limit).get_data_info(0)["instances"]
        assert tested[0]["ignore_flag"] == 0


def test_clips_end_on_the_labelled_frame(root):
    dataset = city(root, clip_length=4, data_prefix=dict(img="sequence"))
    assert dataset.clips == [(0, 4), (4, 8)]
    first = [dataset.get_data_info(k) for k in range(4)]
    assert [f["labelled"] for f in first] == [False, False, False, True]
    assert [f["frame_id"] for f in first] == [0, 1, 2, 3]
    assert first[3]["img_id"] == 1 and all(f["img_id"] < 0 for f in first[:3])
    assert len({f["img_id"] for f in first}) == 4
    assert first[0]["img_path"].endswith("frankfurt_000000_000016_leftImg8bit.png")
    assert first[0]["video_id"] == "frankfurt_000000_000016"
    sample = dataset[3]
    assert sample["inputs"].unique().tolist() == [19]
    assert sample["data_samples"].video_length == 4
    assert len(sample["data_samples"].gt_instances.bboxes) == 1
    assert "bboxes" not in dataset[0]["data_samples"].gt_instances
    longer = city(root, clip_length=20, frames_after=1, data_prefix=dict(img="sequence"))
    assert longer.clips == [(0, 6), (6, 12)] and longer.get_data_info(5)["labelled"] is False
    trained = city(root, test_mode=False, clip_length=4, data_prefix=dict(img="sequence"))
    assert [trained.get_data_info(k)["img_id"] for k in range(len(trained))] == [1, 2]


def test_missing_frames_and_files_are_named(root):
    path = root / "sequence" / "frankfurt" / "frankfurt_000000_000017_leftImg8bit.png"
    path.unlink()
    with pytest.raises(FileNotFoundError, match="frankfurt_000000_000017"):
        city(root, clip_length=4, data_prefix=dict(img="sequence"))
    (root / "stills" / "lindau" / f"{NAMES[1]}_leftImg8bit.png").write_bytes(b"")
    with pytest.raises(OSError, match="lindau.*is empty"):
        city(root)[1]
    with pytest.raises(FileNotFoundError, match="none is missing"):
        city(root, clip_length=4, data_prefix=dict(img="none"))
    with pytest.raises(ValueError, match="clip_length"):
        city(root, clip_length=0)


def test_content_that_is_not_as_described_is_refused(root):
    path = root / "a.json"
    for content, words in (
        (dict(images=[]), "KeyError"),
        (dict(images=[], annotations=[], categories=[dict(id=1, name="pedestrian")]), "no images"),
        ({**city(root).read(), "annotations": [dict(image_id=1, category_id=1)]}, "'bbox'"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            city(root, ann_file="a.json")
    path.write_text("{")
    with pytest.raises(ValueError, match="a.json is not a json file"):
        PedestrianDataset(ann_file=str(path))
    with pytest.raises(ValueError, match=r"none of which is among the classes \('person',\)"):
        city(root, metainfo=dict(classes=("person",)))


def test_a_box_without_area_is_ignored_and_a_broken_one_named(tmp_path):
    coco = PedestrianCoco("person")
    coco.add_image("a.png", (10, 20))
    coco.add_person((1, 2, 0, 4))
    path = tmp_path / "a.json"
    coco.save(str(path))
    options = dict(ann_file=str(path), metainfo=dict(classes=("person",)), pipeline=[])
    (person,) = PedestrianDataset(**options).get_data_info(0)["instances"]
    assert person["ignore_flag"] == 1
    coco.annotations[0]["bbox"] = [1, 2, -3, 4]
    coco.save(str(path))
    with pytest.raises(ValueError, match="a.json.*four finite numbers"):
        PedestrianDataset(**options)


def test_a_coco_video_json_keeps_its_clips(tmp_path):
    images = [
        dict(id=k, file_name=f"{k}.png", height=8, width=8, video_id=k % 2, frame_id=k // 2)
        for k in range(4)
    ]
    people = [dict(id=1, image_id=2, category_id=1, bbox=[1, 1, 4, 6], iscrowd=0)]
    content = dict(images=images, annotations=people, categories=[dict(id=1, name="person")])
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(
            type="mmdyn.PedestrianDataset", data_root=str(tmp_path), ann_file="a.json",
            metainfo=dict(classes=("person",)), test_mode=True,
        )
    )  # fmt: skip
    assert [dataset.get_data_info(k)["img_id"] for k in range(4)] == [0, 2, 1, 3]
    assert dataset.clips == [(0, 2), (2, 4)]
    person = dataset.get_data_info(1)["instances"][0]
    assert person["visible_bbox"] == person["bbox"] and person["vis_ratio"] == 1


def test_caltech_takes_every_so_many_frames(tmp_path):
    person = dict(lbl="person", pos=[10, 20, 10, 40], occl=1, posv=[10, 20, 10, 20])
    video = dict(nFrame=90, frames={"59": [person]})
    content = dict(set06=dict(V001=video, V000=dict(nFrame=30, frames={})), set00=dict(V000=video))
    (tmp_path / "a.json").write_text(json.dumps(content))
    options = dict(
        type="mmdyn.CaltechPedestrianDataset", data_root=str(tmp_path), ann_file="a.json",
        data_prefix=dict(img="images"), pipeline=PIPELINE,
    )  # fmt: skip
    dataset = DATASETS.build(dict(**options, test_mode=True, sets=["set06"]))
    assert dataset.clips == [(0, 1), (1, 4)]
    info = dataset.get_data_info(2)
    assert info["img_path"].endswith("images/set06_V001_59.png") and info["frame_id"] == 1
    assert info["instances"][0]["vis_ratio"] == 0.5
    assert len(DATASETS.build(dict(**options, test_mode=True, every=1))) == 210
    (tmp_path / "images" / "set06" / "V001").mkdir(parents=True)
    path = tmp_path / "images" / "set06" / "V001" / "I00059.jpg"
    cv2.imwrite(str(path), np.zeros((480, 640, 3), np.uint8))
    named = dict(sets=["set06"], file_format="{group}/{video}/I{frame:05d}.jpg")
    sample = DATASETS.build(dict(**options, test_mode=True, **named))[2]
    assert sample["data_samples"].gt_instances.visible_bboxes.tolist() == [[10, 20, 20, 40]]
    with pytest.raises(ValueError, match="it has .'set00', 'set06'."):
        DATASETS.build(dict(**options, test_mode=True, sets=["set09"]))
