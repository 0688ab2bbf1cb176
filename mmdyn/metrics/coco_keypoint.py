"""COCO's average precision of poses."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdyn.registry import METRICS

_NAMES = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")

_FAR = -1e6  # pixels, where a joint that is no number counts as


@METRICS.register_module()
class CocoKeypointMetric(BaseMetric):
    """AP and AR by object keypoint similarity, 0 to 1, from pycocotools; mmpose's ``CocoMetric``.

    The score of a person is the mean of its joints' scores.

    Args:
        ann_file (str): The COCO keypoint json that the items come from.
        collect_device (str): 'cpu' or 'gpu'. Default 'cpu'.
        prefix (str | None): Of the keys. Default 'coco'.
    """

    default_prefix = "coco"

    def __init__(
        self, ann_file: str, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not os.path.isfile(ann_file):
            raise FileNotFoundError(f"{ann_file} is missing; give the test dataset's json.")
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(ann_file)
        for person in self.coco.anns.values():  # pycocotools ignores who has no joints
            joints = person.get("keypoints", [])
            person.setdefault("num_keypoints", sum(seen > 0 for seen in joints[2::3]))

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps each person's joints and score."""
        for sample in data_samples:
            found = sample["pred_instances"]
            joints = np.asarray(found["keypoints"], np.float64)[0]
            scores = np.asarray(found["keypoint_scores"], np.float64)[0]
            # pycocotools takes what is no number for a perfect match.
            joints = np.where(np.isfinite(joints), joints, _FAR)
            scores = np.where(np.isfinite(scores), scores, 0.0)
            self.results.append(
                dict(
                    image_id=sample["img_id"],
                    category_id=sample.get("category_id", 1),
                    keypoints=np.column_stack([joints, scores]).ravel().tolist(),
                    score=float(scores.mean()),
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not results:
            return dict.fromkeys(_NAMES, 0.0)
        sigmas = np.asarray(self.dataset_meta["sigmas"], np.float64)
        expected = 3 * len(sigmas)
        wrong = {len(r["keypoints"]) for r in results} - {expected}
        if wrong:
            raise ValueError(
                f"expected {expected // 3} joints, the dataset's sigmas, got "
                f"{sorted(n // 3 for n in wrong)}; compare the head's out_channels with it."
            )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.coco, self.coco.loadRes(results), "keypoints")
            evaluation.params.kpt_oks_sigmas = sigmas
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return dict(zip(_NAMES, evaluation.stats.tolist()))
