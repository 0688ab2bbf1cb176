"""Samplers that keep clips whole and frames in order, on one GPU or many."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmdyn.registry import DATA_SAMPLERS

Clip = tuple[int, int]


def clips_of(dataset: Sized) -> list[Clip]:
    """(start, end) of the clips among a dataset's samples.

    They are the dataset's ``clips``, those of the datasets a ``ConcatDataset`` joins, or the
    stretches of equal ``video_id`` in ``get_data_info``.

    Raises:
        TypeError: If the dataset has neither.
    """
    clips = getattr(dataset, "clips", None)
    if clips is not None:
        return [tuple(clip) for clip in clips]
    if hasattr(dataset, "datasets"):
        found, before = [], 0
        for part in dataset.datasets:
            found += [(start + before, end + before) for start, end in clips_of(part)]
            before += len(part)
        return found
    found = []
    for index in range(len(dataset)):
        name = _video_of(dataset, index)
        if not found or found[-1][0] != name:
            found.append([name, index, index])
        found[-1][2] = index + 1
    return [(start, end) for _, start, end in found]


def _video_of(dataset: Sized, index: int):
    info = dataset.get_data_info(index) if hasattr(dataset, "get_data_info") else {}
    if "video_id" not in info:
        raise TypeError(
            f"{type(dataset).__name__} does not say which clip sample {index} is of: expected an "
            "attribute 'clips' or a 'video_id' in get_data_info; use one of mmdyn's video datasets."
        )
    return info["video_id"]


def share_clips(clips: list[Clip], ranks: int) -> list[list[Clip]]:
    """Whole clips for each rank: the longest first, each to the rank with the least to do."""
    shares: list[list[Clip]] = [[] for _ in range(ranks)]
    frames = [0] * ranks
    for clip in sorted(clips, key=lambda clip: (clip[0] - clip[1], clip[0])):
        rank = frames.index(min(frames))
        shares[rank].append(clip)
        frames[rank] += clip[1] - clip[0]
    return [sorted(share) for share in shares]


@DATA_SAMPLERS.register_module()
class ClipSampler(Sampler):
    """Whole clips on each rank, frame by frame; every frame once, on one rank.

    With fewer clips than ranks the last ranks have nothing to do. Samples are never repeated to
    even the ranks out, so use it for validation and test, not for training.

    Args:
        dataset (Sized): See ``clips_of``.
        seed (int | None): Not used: the order is fixed. mmengine passes it. Default None.
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        rank, ranks = get_dist_info()
        self.clips = share_clips(clips_of(dataset), ranks)[rank]

    def __iter__(self) -> Iterator[int]:
        return (index for start, end in self.clips for index in range(start, end))

    def __len__(self) -> int:
        """Frames on this rank."""
        return sum(end - start for start, end in self.clips)

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: every epoch is the same. mmengine calls it."""


@DATA_SAMPLERS.register_module()
class ClipBatchSampler(Sampler):
    """Batches of several clips at once: the next frame of each, never two of one clip.

    For a dataloader: ``sampler=dict(type='mmdyn.ClipSampler')``,
    ``batch_sampler=dict(type='mmdyn.ClipBatchSampler')`` and ``batch_size`` clips at a time. A
    clip that ends makes room for the next; the last batches are smaller.

    Args:
        sampler (ClipSampler): Whose clips to batch.
        batch_size (int): Clips at a time.
    """

    def __init__(self, sampler: ClipSampler, batch_size: int) -> None:
        if not isinstance(sampler, ClipSampler):
            raise TypeError(
                f"expected a ClipSampler, got {type(sampler).__name__}; set the dataloader's "
                "sampler to dict(type='mmdyn.ClipSampler')."
            )
        if batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {batch_size}.")
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting = [range(start, end) for start, end in self.sampler.clips]
        running: list[Iterator[int]] = []
        while True:
            batch, alive = [], []
            for frames in running:
                index = next(frames, None)
                if index is None and waiting:
                    frames = iter(waiting.pop(0))
                    index = next(frames)
                if index is not None:
                    batch.append(index)
                    alive.append(frames)
            while len(batch) < self.batch_size and waiting:
                alive.append(iter(waiting.pop(0)))
                batch.append(next(alive[-1]))
            if not batch:
                return
            running = alive
            yield batch

    def __len__(self) -> int:
        """Batches on this rank."""
        ends = [0] * self.batch_size
        for start, end in self.sampler.clips:
            ends[ends.index(min(ends))] += end - start
        return max(ends)
