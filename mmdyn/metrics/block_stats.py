"""What a block-sparse run cost, in the evaluator's result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdyn.registry import METRICS

# Key in ``blockcopy_stats`` to name in the result. All are means over frames but the state.
MEANS = {
    "executed_share": "share",
    "gmacs": "gmacs",
    "ms": "ms",
    "policy_ms": "policy_ms",
}

# A model counts and times the batch; a frame has its part of it.
PER_BATCH = {"gmacs", "dense_gmacs", "ms", "policy_ms"}


@METRICS.register_module()
class BlockStatsMetric(BaseMetric):
    """Share of blocks executed, GMACs and milliseconds a frame of a BlockCopy run.

    Reads ``blockcopy_stats`` from the metainfo of each data sample, which a converted model puts
    there: ``executed_share`` (0 to 1), ``gmacs``, ``dense_gmacs``, ``ms``, ``policy_ms``,
    ``first_frame`` (bool) and ``state_mb``. The result has, each as the mean over all frames
    (``share``: what the budget promises), over the first frames of clips (``share_first``, where
    everything is executed) and over the others (``share_next``):

    * ``share`` of the blocks executed, ``gmacs`` (10^9 multiply-adds), ``ms`` with the policy's
      time in it, and ``policy_ms`` alone;
    * ``gmacs_dense``, what the dense network takes a frame, and ``gmacs_saved``, the share of it
      that was not spent;
    * ``state_mb``, the most memory kept between frames, and ``frames``, ``clips``: their numbers.

    A quantity that the model does not measure is left out.

    Args:
        collect_device (str): 'cpu' or 'gpu', see mmengine. Default 'cpu'.
        prefix (str | None): Before the names. Default 'blocks'.
        **kwargs: See ``mmengine.evaluator.BaseMetric``.
    """

    default_prefix = "blocks"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps the numbers of each sample.

        Raises:
            KeyError: If a sample has no ``blockcopy_stats``.
        """
        for sample in data_samples:
            stats = sample.get("blockcopy_stats")
            if stats is None or "executed_share" not in stats:
                raise KeyError(
                    "expected 'blockcopy_stats' with 'executed_share' in the metainfo of each data "
                    f"sample, got {sorted(sample)}; convert the model (type='mmdyn.BlockCopy' or "
                    "the hook 'mmdyn.BlockCopyHook'), or take BlockStatsMetric out of the "
                    "evaluator."
                )
            known = {key: value for key, value in dict(stats).items() if value is not None}
            for key in PER_BATCH & known.keys():
                known[key] /= len(data_samples)
            self.results.append(known)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over all frames, first frames and the others."""
        if not results:
            raise ValueError(
                "BlockStatsMetric saw no frame; check that the dataset is not empty and that the "
                "model returns data samples."
            )
        first = [bool(stats.get("first_frame", False)) for stats in results]
        groups = {
            "": results,
            "_first": [stats for stats, starts in zip(results, first, strict=True) if starts],
            "_next": [stats for stats, starts in zip(results, first, strict=True) if not starts],
        }
        scores = {}
        for key, name in MEANS.items():
            for ending, frames in groups.items():
                values = [float(stats[key]) for stats in frames if key in stats]
                if values:
                    scores[name + ending] = float(np.mean(values))
        dense = [float(stats["dense_gmacs"]) for stats in results if "dense_gmacs" in stats]
        if dense:
            scores["gmacs_dense"] = float(np.mean(dense))
            if "gmacs" in scores and scores["gmacs_dense"] > 0:
                scores["gmacs_saved"] = 1 - scores["gmacs"] / scores["gmacs_dense"]
        states = [float(stats["state_mb"]) for stats in results if "state_mb" in stats]
        if states:
            scores["state_mb"] = max(states)
        return {**scores, "frames": len(results), "clips": sum(first)}
