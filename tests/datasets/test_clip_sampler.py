"""Clips stay whole and in order, and ranks share them without a rest."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.runner import Runner

from mmdyn.datasets import clip_sampler
from mmdyn.datasets.clip_sampler import ClipBatchSampler, ClipSampler, clips_of, share_clips

LENGTHS = st.lists(st.integers(1, 9), max_size=8)


class Clips:
    """A dataset of clips of given lengths."""

    def __init__(self, lengths):
        ends = [sum(lengths[: k + 1]) for k in range(len(lengths))]
        self.clips = [(end - n, end) for end, n in zip(ends, lengths, strict=True)]

    def __len__(self):
        return self.clips[-1][1] if self.clips else 0


class Named(BaseDataset):
    """A dataset that only names the video of each sample."""

    def __init__(self, names, **kwargs):
        self.names = names
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(video_id=name, frame_id=k) for k, name in enumerate(self.names)]


def samplers(lengths, ranks, monkeypatch) -> list[ClipSampler]:
    made = []
    for rank in range(ranks):
        monkeypatch.setattr(clip_sampler, "get_dist_info", lambda rank=rank: (rank, ranks))
        made.append(ClipSampler(Clips(lengths)))
    return made


@given(LENGTHS, st.integers(1, 5))
def test_ranks_share_every_frame_once_in_whole_ordered_clips(lengths, ranks):
    with pytest.MonkeyPatch.context() as patch:
        parts = samplers(lengths, ranks, patch)
    frames = [index for part in parts for index in part]
    assert sorted(frames) == list(range(sum(lengths)))
    assert [len(list(part)) for part in parts] == [len(part) for part in parts]
    for part in parts:
        assert list(part) == sorted(part)
    for start, end in Clips(lengths).clips:
        holders = [part for part in parts if start in list(part)]
        assert len(holders) == 1 and set(range(start, end)) <= set(holders[0])
    if len(lengths) >= ranks:
        assert all(len(part) for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= max(lengths, default=0)


@given(LENGTHS, st.integers(1, 4))
def test_batches_hold_the_next_frame_of_several_clips(lengths, size):
    dataset = Clips(lengths)
    batches = list(ClipBatchSampler(ClipSampler(dataset), size))
    assert sorted(k for batch in batches for k in batch) == list(range(len(dataset)))
    owner = {k: clip for clip in dataset.clips for k in range(*clip)}
    last = {}
    for batch in batches:
        assert len({owner[k] for k in batch}) == len(batch) <= size
        for k in batch:
            assert k == last.get(owner[k], owner[k][0] - 1) + 1
            last[owner[k]] = k
    assert len(ClipBatchSampler(ClipSampler(dataset), size)) == len(batches)


def test_clips_come_from_names_and_through_concatenation():
    first, second = Named(list("aab")), Named(list("bb"))
    assert clips_of(first) == [(0, 2), (2, 3)]
    assert clips_of(ConcatDataset([first, second])) == [(0, 2), (2, 3), (3, 5)]
    assert share_clips([], 2) == [[], []]


def test_a_dataset_without_clips_is_refused():
    with pytest.raises(TypeError, match="list does not say which clip sample 0"):
        clips_of([1, 2])
    with pytest.raises(TypeError, match="expected a ClipSampler"):
        ClipBatchSampler([0, 1], 2)
    with pytest.raises(ValueError, match="batch_size"):
        ClipBatchSampler(ClipSampler(Clips([2])), 0)


def test_mmengine_builds_the_loader():
    config = dict(
        dataset=Named(list("aaab")), num_workers=0, batch_size=1,
        sampler=dict(type="mmdyn.ClipSampler"), collate_fn=dict(type="pseudo_collate"),
    )  # fmt: skip
    loader = Runner.build_dataloader(copy.copy(config), seed=3)
    assert [batch["frame_id"] for batch in loader] == [[0], [1], [2], [3]]
    loader.sampler.set_epoch(1)
    config.update(batch_size=2, batch_sampler=dict(type="mmdyn.ClipBatchSampler"))
    batches = [batch["frame_id"] for batch in Runner.build_dataloader(config)]
    assert batches == [[0, 3], [1], [2]]
