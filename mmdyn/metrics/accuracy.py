"""Share of images whose label is among the highest scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmdyn.registry import METRICS


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Top-k accuracy in per cent, under mmpretrain's name and keys (``accuracy/top1``).

    Args:
        topk (int | Sequence[int]): How many of the highest scores count. Default (1,).
        collect_device (str): 'cpu' or 'gpu'. Default 'cpu'.
        prefix (str | None): Of the keys. Default 'accuracy'.
    """

    default_prefix = "accuracy"

    def __init__(
        self,
        topk: int | Sequence[int] = (1,),
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f"expected numbers >= 1 in topk, got {self.topk}.")

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps, per image, the rank of its label."""
        for sample in data_samples:
            score, label = sample["pred_score"], int(sample["gt_label"])
            if max(self.topk) > len(score) or not 0 <= label < len(score):
                raise ValueError(
                    f"top-{max(self.topk)} and label {label} need more than the {len(score)} "
                    "scores that came; compare the head's num_classes with the dataset's."
                )
            # NaN beats every number, so a broken network is not right by chance; nor do ties help.
            beaten = ~(score < score[label])
            self.results.append(int(beaten.sum()) - int(beaten[label]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        ranks = torch.tensor(results)
        return {f"top{k}": float((ranks < k).double().mean() * 100) for k in self.topk}
