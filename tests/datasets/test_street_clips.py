"""Generated clips: exact labels, one seed one clip, objects that move as their labels do."""

import numpy as np
import pytest

from mmdyn.datasets.street.labels import BUILDING, PERSON, ROAD, SKY
from mmdyn.datasets.street_clips import StreetClip

SIZE = (96, 192)


@pytest.fixture(scope="module")
def moving():
    return StreetClip(3, frames=20, size=SIZE, camera="moving", noise=0)


@pytest.fixture(scope="module")
def still():
    return StreetClip(3, frames=20, size=SIZE, camera="still", noise=0)


@pytest.fixture(scope="module", params=["moving", "still"])
def frame(request):
    return StreetClip(5, frames=20, size=SIZE, camera=request.param)[6]


def test_every_pixel_has_a_class_and_a_frame_looks_like_a_street(frame):
    assert frame.image.shape == (*SIZE, 3) and frame.image.dtype == np.uint8
    assert frame.semantic.max() <= 18
    for label in (ROAD, BUILDING, SKY):
        assert (frame.semantic == label).mean() > 0.02
    assert len(np.unique(frame.semantic)) >= 8
    assert frame.image.std() > 25


def test_masks_equal_their_pixels_in_the_class_map_and_boxes_are_tight(frame):
    objects = frame.objects()
    assert objects
    total = np.zeros(SIZE, int)
    for thing in objects:
        assert (frame.semantic[thing.mask] == thing.label).all() and thing.label >= PERSON
        x, y, width, height = thing.box
        assert thing.mask[y : y + height, x : x + width].sum() == thing.mask.sum()
        assert thing.mask[y].any() and thing.mask[y + height - 1].any()
        assert thing.mask[:, x].any() and thing.mask[:, x + width - 1].any()
        total += thing.mask
    assert total.max() == 1
    assert np.array_equal(total > 0, frame.semantic >= PERSON)
    assert all(thing.mask.sum() >= 50 for thing in frame.objects(smallest=50))


def test_a_seed_is_a_clip(moving):
    again = StreetClip(3, frames=20, size=SIZE, camera="moving", noise=0)[7]
    first = moving[7]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.semantic, again.semantic)
    assert np.array_equal(first.instance, again.instance)
    other = StreetClip(4, frames=20, size=SIZE, camera="moving", noise=0)[7]
    assert (first.semantic != other.semantic).mean() > 0.05


def test_noise_belongs_to_the_frame():
    clip = StreetClip(1, frames=2, size=(48, 64), camera="still")
    assert np.array_equal(clip[-1].image, clip[1].image)
    assert not np.array_equal(clip[0].image, clip[1].image)
    assert len(clip) == 2 and len(list(clip)) == 2


def test_a_still_camera_changes_only_where_something_moves(still):
    first, later = still[0], still[10]
    changed = (first.image.astype(int) - later.image).__abs__().max(axis=2) > 12
    assert 0.001 < changed.mean() < 0.35
    houses = (first.semantic == BUILDING) & (later.semantic == BUILDING)
    assert changed[houses].mean() < 0.05


def test_a_moving_camera_comes_nearer(moving):
    near, far = moving[12], moving[0]
    sizes = [{t.instance_id: t.box[3] for t in f.objects(40)} for f in (far, near)]
    grown = [sizes[1][k] >= sizes[0][k] for k in sizes[0].keys() & sizes[1].keys()]
    assert len(grown) >= 3 and np.mean(grown) > 0.6
    assert (np.abs(near.image.astype(int) - far.image).max(axis=2) > 12).mean() > 0.3


@pytest.mark.parametrize("camera", ["moving", "still"])
def test_labels_move_with_their_objects(camera, request):
    clip = request.getfixturevalue(camera)
    checked = 0
    for index in (0, 9, 19):
        seconds = index / clip.fps
        view = clip._scene.camera(*SIZE, seconds)
        seen = {t.instance_id: t for t in clip[index].objects(30)}
        for make in clip._scene.actors:
            thing = make(seconds)
            found = seen.get(getattr(thing, "instance", None))
            if found is None or view.depth(thing.position) < 6:
                continue
            middle = np.asarray(thing.position) + (0, 0.8, 0)
            x, y = view.to_pixels(view.to_camera(middle[None]))[0]
            left, top, width, height = found.box
            reach = max(4.0, 2.6 * view.focal / view.depth(thing.position))
            assert left - reach <= x <= left + width + reach
            assert top - reach <= y <= top + height + reach
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize(
    "wrong", [dict(camera="flying"), dict(frames=0), dict(size=(20, 64)), dict(fps=0)]
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match="|".join(wrong)):
        StreetClip(0, **wrong)
    with pytest.raises(IndexError, match="3 frames"):
        StreetClip(0, frames=3, size=(48, 48))[3]
