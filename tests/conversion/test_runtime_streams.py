"""What a converted network forgets and keeps: clips, streams in a batch, sizes and scene cuts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mmdyn
from mmdyn.conversion.hosts.base import Call, Host
from tests.blocks.clips import assert_close
from tests.conversion.networks import clip, converted, dense, named, share


def change_size(net, frames):
    return F.interpolate(frames[2], scale_factor=2)


def call_reset(net, frames):
    mmdyn.reset(net)
    return frames[2]


def call_reset_of_the_stream(net, frames):
    mmdyn.reset(net, "stream 0")
    return frames[2]


def cut(net, frames):
    return 1 - 2 * frames[2].flip(3)


@pytest.mark.parametrize("event", [change_size, call_reset, call_reset_of_the_stream, cut])
def test_what_starts_anew(event):
    net, frames = converted(budget=0.25, scene_cut=0.5), clip(4)
    net(frames[0])
    net(frames[1])
    assert share(net) < 0.5
    image = event(net, frames)
    assert_close(net(image), dense(image))
    assert share(net) == 1.0
    net(image)
    assert share(net) < 1.0


def test_a_new_clip_and_a_frame_number_going_back_start_anew():
    net, frames = converted(budget=0.25), clip(6)
    names, shares = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 1), ("b", 5)], []
    for image, name in zip(frames, names, strict=True):
        out = named(net, image, name)
        shares.append(share(net))
        if shares[-1] == 1.0:
            assert_close(out, dense(image))
    assert [s == 1.0 for s in shares] == [True, False, True, False, True, False]


def test_streams_may_change_their_place_in_the_batch():
    clips = {name: clip(4, seed) for seed, name in enumerate("ab")}
    together, apart = converted(budget=0.5), {name: converted(budget=0.5) for name in "ab"}
    for t, order in enumerate(["ab", "ba", "ab", "b"]):
        image = torch.cat([clips[name][t] for name in order])
        got = named(together, image, *[(name, t) for name in order])
        wanted = [named(apart[name], clips[name][t], (name, t)) for name in order]
        assert_close(got, torch.cat(wanted))
    assert share(together) < 1.0


def test_interleaved_streams_keep_their_memory():
    clips = {name: clip(6, seed) for seed, name in enumerate("ab")}
    net, shares = converted(budget=0.25), []
    for t in range(6):
        for name in "ab":
            named(net, clips[name][t], (name, t))
            shares.append(share(net))
    assert all(s < 1.0 for s in shares[4:])


def test_more_streams_than_slots_run_whole_frames_and_stay_right(caplog):
    net, image = converted(policy="none", max_streams=2), clip(1)[0]
    for _ in range(2):
        for name in "abc":
            assert_close(named(net, image, (name, None)), dense(image))
    assert "raise max_streams" in caplog.text
    with pytest.raises(ValueError, match="max_streams"):
        net(torch.cat([image] * 3))


def test_two_frames_of_one_stream_in_a_batch_are_refused():
    net = converted()
    with pytest.raises(ValueError, match="batch size 1"):
        named(net, torch.cat(clip(2)), ("a", 0), ("a", 1))


def test_an_unknown_stream_is_refused_and_a_forgotten_one_is_not():
    net, frames = converted(), clip(2)
    named(net, frames[0], ("a", 0))
    with pytest.raises(KeyError, match="known: a"):
        mmdyn.reset(net, "b")
    named(net, frames[1], ("b", 0))
    mmdyn.reset(net, "a")


def test_a_size_that_returns_starts_anew():
    net, frames = converted(policy="none"), clip(2)
    net(frames[0])
    net(F.interpolate(frames[0], scale_factor=2))
    assert_close(net(frames[1]), dense(frames[1]))


@pytest.mark.parametrize("video_id", [3, "a", np.int64(3), torch.tensor(3), np.array([3]), (1, 2)])
def test_names_of_streams_are_compared_by_value(video_id):
    call = Call(torch.zeros(1, 3, 8, 8), 0, (), {}, [dict(video_id=video_id, frame_id=np.int32(4))])
    wanted = 3 if hasattr(video_id, "item") else video_id
    assert Host().streams(call, None) == [(wanted, 4)]
    assert hash(Host().streams(call, None)[0][0]) == hash(wanted)


@pytest.mark.parametrize(
    "meta", [dict(video_id=[1]), dict(video_id=torch.ones(2)), dict(video_id=1, frame_id="a")]
)
def test_other_names_are_refused_with_the_field(meta):
    call = Call(torch.zeros(1, 3, 8, 8), 0, (), {}, [meta])
    field = "frame_id" if "frame_id" in meta else "video_id"
    with pytest.raises(ValueError, match=f"{field} in the metainfo must be"):
        Host().streams(call, None)
