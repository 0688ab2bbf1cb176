"""Clips known from paths alone."""

import pytest

from mmdyn.video.clip_id import any_frame, build_clip_id, cityscapes_frame, folder_frame, mot_frame


@pytest.mark.parametrize(
    "function, path, wanted",
    [
        (cityscapes_frame, "x/lindau/lindau_000003_000019_leftImg8bit.png", ("lindau_000003", 19)),
        (cityscapes_frame, "x/lindau_000003.png", None),
        (mot_frame, "MOT15/train/PETS09-S2L1/img1/000012.jpg", ("MOT15/train/PETS09-S2L1", 12)),
        (mot_frame, "MOT15/img2/000012.jpg", None),
        (mot_frame, "MOT15/img1/cover.jpg", None),
        (folder_frame, "clips/one/frame_0007.png", ("clips/one/frame_", 7)),
        (folder_frame, "clips/one/7.png", ("clips/one", 7)),
        (folder_frame, "clips/one/cover.png", None),
        (folder_frame, "clips/v2x10.png", ("clips/v2x", 10)),
    ],
)
def test_paths(function, path, wanted):
    found = function(path)
    assert (None if wanted is None else (found.clip, found.frame)) == wanted or found == wanted


def test_auto_tries_the_stricter_ones_first():
    assert any_frame("a/lindau_000003_000019_leftImg8bit.png").clip == "lindau_000003"
    assert any_frame("S/img1/000012.jpg").clip == "S"
    assert any_frame("a/b_3.png").frame == 3
    assert any_frame("a/b.png") is None


def test_neighbouring_clips_of_one_folder_are_kept_apart():
    assert any_frame("a/left_003.png").clip != any_frame("a/right_003.png").clip
    assert any_frame("a/x/1.png").clip != any_frame("a/y/1.png").clip


def test_names_functions_and_unknown_names():
    assert build_clip_id("mot") is mot_frame
    assert build_clip_id(len) is len
    with pytest.raises(ValueError, match="unknown clip_id 'nope'; known: .*cityscapes"):
        build_clip_id("nope")
