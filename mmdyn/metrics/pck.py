"""Share of joints that are found near enough, in parts of a person's torso, head or box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdyn.registry import METRICS


@METRICS.register_module()
class PCKAccuracy(BaseMetric):
    """PCK in per cent: each joint over the people where it is visible, and the joints' mean.

    A joint counts where its distance is at most ``thr`` of the person's size. The size is the
    torso (between the first visible pair of the dataset's ``torso`` that lies apart), the head
    (``head_size`` of the item) or the longer side of the box. People without such a size are left
    out; ``people`` says how many counted.

    Args:
        thr (float): Share of the size. Default 0.2.
        norm_item (str): 'torso', 'head' or 'bbox'. Default 'torso'.
        collect_device (str): 'cpu' or 'gpu'. Default 'cpu'.
        prefix (str | None): Of the keys. Default 'pck'.
    """

    default_prefix = "pck"

    def __init__(
        self,
        thr: float = 0.2,
        norm_item: str = "torso",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        if thr <= 0 or norm_item not in ("torso", "head", "bbox"):
            raise ValueError(
                f"expected thr > 0 and norm_item 'torso', 'head' or 'bbox', got {thr} and "
                f"{norm_item!r}."
            )
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.thr, self.norm_item = thr, norm_item

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps each person's distances in sizes (K,), not a number where not visible."""
        for sample in data_samples:
            truth = sample["gt_instances"]
            joints = np.asarray(truth["keypoints"], np.float64)[0]
            found = np.asarray(sample["pred_instances"]["keypoints"], np.float64)[0]
            if joints.shape != found.shape:
                raise ValueError(
                    f"expected {joints.shape[0]} joints, the dataset's, got {found.shape[0]}; "
                    "compare the head's out_channels with it."
                )
            visible = np.asarray(truth["keypoints_visible"])[0] > 0
            size = self._size(sample, joints, visible)
            distance = np.linalg.norm(found - joints, axis=1) / size
            # A joint predicted as NaN is as far as can be, not absent.
            distance = np.where(np.isnan(distance), np.inf, distance)
            self.results.append(np.where(visible & np.isfinite(size), distance, np.nan))

    def _size(self, sample: dict, joints: np.ndarray, visible: np.ndarray) -> float:
        """In pixels; not a number where the item does not say."""
        if self.norm_item == "head":
            if "head_size" not in sample:
                raise ValueError(
                    "norm_item 'head' needs head_size in the items; give MpiiDataset headbox_file "
                    "and keep head_size in PackPoseInputs' meta_keys."
                )
            lengths = [float(sample["head_size"])]
        elif self.norm_item == "bbox":
            box = np.asarray(sample["gt_instances"]["bboxes"], np.float64)[0]
            lengths = [float((box[2:] - box[:2]).max())]
        else:
            lengths = [
                float(np.linalg.norm(joints[first] - joints[second]))
                for first, second in self.dataset_meta["torso"]
                if visible[first] and visible[second]
            ]
        return next((length for length in lengths if length > 0), np.nan)

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not results:
            return dict(mean=0.0, people=0)
        distances = np.stack(results)
        near, counted = distances <= self.thr, ~np.isnan(distances)
        shares = self._share(near, counted)
        names = self.dataset_meta["keypoint_names"]
        scores = {name: shares[k] for k, name in enumerate(names) if counted[:, k].any()}
        present = list(scores.values())
        scores["mean"] = float(np.mean(present)) if present else 0.0
        scores["people"] = int(counted.any(1).sum())
        return scores

    @staticmethod
    def _share(near: np.ndarray, counted: np.ndarray) -> list[float]:
        return (100 * near.sum(0) / np.maximum(counted.sum(0), 1)).tolist()


# Joints of MPII that are reported together.
_GROUPS = dict(
    Head=("head_top",), Shoulder=("left_shoulder", "right_shoulder"),
    Elbow=("left_elbow", "right_elbow"), Wrist=("left_wrist", "right_wrist"),
    Hip=("left_hip", "right_hip"), Knee=("left_knee", "right_knee"),
    Ankle=("left_ankle", "right_ankle"),
)  # fmt: skip
_NOWHERE = ("pelvis", "thorax")


@METRICS.register_module()
class MpiiPCKAccuracy(PCKAccuracy):
    """PCKh as MPII reports it: groups of joints, and all counted joints together.

    Keys: Head (its top), Shoulder, Elbow, Wrist, Hip, Knee, Ankle, PCKh and PCKh@0.1. The upper
    neck counts in the last two alone, pelvis and thorax nowhere. A group that is never visible has
    no key.

    Args:
        thr (float): Share of the head's length. Default 0.5.
        norm_item (str): Default 'head'.
        **kwargs: See ``PCKAccuracy``.
    """

    default_prefix = "pckh"

    def __init__(self, thr: float = 0.5, norm_item: str = "head", **kwargs) -> None:
        super().__init__(thr, norm_item, **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not results:
            return {"PCKh": 0.0, "PCKh@0.1": 0.0}
        distances = np.stack(results)
        names = list(self.dataset_meta["keypoint_names"])
        scores = {}
        for group, members in _GROUPS.items():
            sides = [distances[:, [names.index(name)]] for name in members]
            # Each side's share first, as MPII's own evaluation does.
            shares = [self._within(s, self.thr) for s in sides if not np.isnan(s).all()]
            if shares:
                scores[group] = float(np.mean(shares))
        used = distances[:, [k for k, name in enumerate(names) if name not in _NOWHERE]]
        scores["PCKh"], scores["PCKh@0.1"] = (self._within(used, t) for t in (self.thr, 0.1))
        return scores

    @staticmethod
    def _within(distances: np.ndarray, thr: float) -> float:
        counted = int((~np.isnan(distances)).sum())
        return float(100 * (distances <= thr).sum() / counted) if counted else 0.0
