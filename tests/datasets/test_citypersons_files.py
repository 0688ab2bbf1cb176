"""CityPersons' two published layouts give the same content."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from mmdyn.datasets.citypersons_files import read_citypersons, read_folder, read_mat
from mmdyn.metrics.miss_rate import load_truths
from tests.datasets.citypersons import ROWS, write_jsons, write_mat


@pytest.fixture
def root(tmp_path):
    write_mat(tmp_path / "anno_val.mat", [ROWS, []])
    write_jsons(tmp_path / "val", [ROWS, []])
    return tmp_path


def test_a_mat_has_pedestrians_ignored_people_and_empty_images(root):
    content = read_mat(str(root / "anno_val.mat")).as_dict()
    assert [image["file_name"] for image in content["images"]] == [
        "frankfurt/frankfurt_000000_000019_leftImg8bit.png",
        "lindau/lindau_000003_000019_leftImg8bit.png",
    ]
    walker, rider, poster = content["annotations"]
    assert walker["bbox"] == [10, 5, 20, 50] and walker["vis_bbox"] == [10, 5, 20, 25]
    assert walker["vis_ratio"] == 0.5 and walker["height"] == 50 and not walker["ignore"]
    assert walker["instance_id"] == 24000 and walker["kind"] == "pedestrian"
    assert rider["ignore"] and rider["kind"] == "rider" and rider["category_id"] == 1
    assert poster["ignore"] and poster["kind"] == "ignore"
    assert {a["image_id"] for a in content["annotations"]} == {1}


def test_the_jsons_say_the_same_as_the_mat(root):
    assert (
        read_folder(str(root / "val")).as_dict() == read_mat(str(root / "anno_val.mat")).as_dict()
    )
    assert read_citypersons(str(root / "val")) == read_citypersons(str(root / "anno_val.mat"))


def test_the_miss_rate_reads_the_mat(root):
    truths = load_truths(str(root / "anno_val.mat")).truths
    assert truths[1].ignored.tolist() == [False, True, True] and len(truths[2].boxes) == 0


def test_broken_and_foreign_mats_are_refused(root):
    broken = root / "broken.mat"
    broken.write_bytes(b"no mat")
    with pytest.raises(ValueError, match="not a readable .mat"):
        read_mat(str(broken))
    savemat(str(broken), dict(something=np.zeros((2, 3))))
    with pytest.raises(ValueError, match="im_name and bbs.*something"):
        read_mat(str(broken))
    write_mat(broken, [[ROWS[0][:6]], []])
    with pytest.raises(ValueError, match="rows of 10 numbers"):
        read_mat(str(broken))
    write_mat(broken, [[[9, *ROWS[0][1:]]], []])
    with pytest.raises(ValueError, match="class 9"):
        read_mat(str(broken))
    write_mat(broken, [[[1.5, *ROWS[0][1:]]], []])
    with pytest.raises(ValueError, match="class 1.5"):
        read_mat(str(broken))
    write_mat(broken, [[[1, float("nan"), *ROWS[0][2:]]], []])
    with pytest.raises(ValueError, match="image 1 .*four finite numbers"):
        read_mat(str(broken))
    with pytest.raises(FileNotFoundError):
        read_mat(str(root / "missing.mat"))


def test_broken_jsons_are_named(root):
    path = root / "val" / "frankfurt" / "frankfurt_000000_000019_gtBboxCityPersons.json"
    content = json.loads(path.read_text())
    content["objects"][0]["label"] = "tree"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="frankfurt_000000_000019.*'tree'"):
        read_folder(str(root / "val"))
    content["objects"][0].update(label="pedestrian", bbox=[1, 2])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="frankfurt_000000_000019.*four finite numbers"):
        read_folder(str(root / "val"))
    path.write_text("{")
    with pytest.raises(ValueError, match="frankfurt_000000_000019"):
        read_folder(str(root / "val"))
    with pytest.raises(FileNotFoundError, match="gtBbox_cityPersons_trainval"):
        read_folder(str(root / "val" / "none"))
