"""CityPersons' log-average miss rate as a metric of any detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdyn.metrics.miss_rate_curve import SUBSETS, Found, Subset, miss_rates
from mmdyn.metrics.miss_rate_files import NOTHING, Annotated, read_json, read_truths
from mmdyn.registry import METRICS


@METRICS.register_module()
class MissRateMetric(BaseMetric):
    """MR^-2: the geometric mean of the miss rates at nine numbers of false positives an image.

    Equal to CityPersons' published evaluation: IoU 0.5, ignored people matched by the share of
    the detection that they cover, heights of detections up to 1.25 times out of a subset's. Its
    result has, 0 to 1 and lower is better, ``miss_rate/Reasonable`` and so on; 0 where any of the
    nine points is 0, NaN where a subset has nobody to find (the published one says -1).

    Frames that are not in the annotations, or marked ``labelled: false`` there, are skipped. All
    labelled images count, those that no prediction came for too.

    Args:
        ann_file (str): COCO-style json with ``bbox``, ``vis_ratio`` or ``vis_bbox``, ``height``
            and ``ignore`` (see ``mmdyn.metrics.miss_rate_files``), or CityPersons' ``.mat``.
        subsets (Sequence[str] | Mapping): Names among Reasonable, Small, Heavy, All, Bare and
            Partial, or own ones as {name: dict(height=(50, 75), visibility=(0.65, 1))}. Default
            all six.
        category (str | None): Category of the annotations; None for the one with id 1 or the only
            one. Default None.
        label (str | None): The model's class that is meant; None for the one of the category's
            name, or the only one. Default None.
        max_dets (int): Detections of an image, the best by score. Default 1000.
        iou (float): Least overlap of a hit. Default 0.5.
        collect_device (str): 'cpu' or 'gpu', see mmengine. Default 'cpu'.
        prefix (str | None): Before the names. Default 'miss_rate'.

    Raises:
        ValueError: If a subset is unknown, or the annotations are not as described.
    """

    default_prefix = "miss_rate"

    def __init__(
        self,
        ann_file: str,
        subsets: Sequence[str] | Mapping[str, dict] = tuple(SUBSETS),
        category: str | None = None,
        label: str | None = None,
        max_dets: int = 1000,
        iou: float = 0.5,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.subsets = chosen_subsets(subsets)
        check_limits(max_dets, iou)
        self.label, self.max_dets, self.iou = label, max_dets, iou
        self.annotated = load_truths(ann_file, category)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keeps the detections of the labelled ones of ``data_samples``."""
        for sample in data_samples:
            if sample["img_id"] not in self.annotated.truths:
                continue
            found = sample["pred_instances"]
            corners, scores, labels = (
                found[key].detach().cpu().double().numpy() for key in ("bboxes", "scores", "labels")
            )
            chosen = labels == self._label_id()
            corners = corners.reshape(-1, 4)[chosen]
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
            if not (np.isfinite(boxes).all() and np.isfinite(scores[chosen]).all()):
                raise ValueError(
                    f"the prediction for image {sample['img_id']} has boxes or scores that are no "
                    "finite numbers; look at the network's weights and outputs"
                )
            best = Found.best(boxes, scores[chosen], self.max_dets)
            self.results.append((sample["img_id"], best.boxes, best.scores))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The miss rate of each subset.

        Raises:
            ValueError: If no predicted image was a labelled one.
        """
        if not results:
            raise ValueError(
                "MissRateMetric saw no labelled image: expected img_ids like "
                f"{list(self.annotated.truths)[:3]}; use the annotations of the evaluated split."
            )
        found = {key: Found(boxes, scores) for key, boxes, scores in results}
        scores = evaluate(self.annotated, found, self.subsets, self.iou)
        return {name: result.value for name, result in scores.items()}

    def _label_id(self) -> int:
        classes = list((self.dataset_meta or {}).get("classes", ()))
        if len(classes) <= 1 and self.label is None:
            return 0
        name = self.label or self.annotated.category
        if name not in classes:
            raise ValueError(
                f"expected class '{name}' among the dataset's {classes}; set the metric's label to "
                "the class that is evaluated."
            )
        return classes.index(name)


def chosen_subsets(subsets: Sequence[str] | Mapping[str, dict]) -> dict[str, Subset]:
    """Subsets by name, from names or from own limits."""
    if isinstance(subsets, Mapping) and subsets:
        return {name: _subset(name, limits) for name, limits in subsets.items()}
    names = [subsets] if isinstance(subsets, str) else list(subsets)
    unknown = [name for name in names if name not in SUBSETS]
    if unknown or not names:
        raise ValueError(
            f"unknown subsets {unknown or 'none'}; known: {', '.join(SUBSETS)}, or give limits as "
            "dict(Name=dict(height=(50, 75), visibility=(0.65, 1)))."
        )
    return {name: SUBSETS[name] for name in names}


def _subset(name: str, limits: Subset | Mapping) -> Subset:
    if isinstance(limits, Subset):
        return limits
    try:
        low, high, least, most = (float(x) for key in ("height", "visibility") for x in limits[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"subset '{name}': expected dict(height=(50, 75), visibility=(0.65, 1)), lowest and "
            f"highest of each, got {limits!r}."
        ) from error
    return Subset((low, high), (least, most))


def check_limits(max_dets: int, iou: float) -> None:
    """That an evaluation means something.

    Raises:
        ValueError: If no detection would count, or none could be a hit.
    """
    if max_dets < 1 or not 0.0 < iou <= 1.0:
        raise ValueError(
            f"expected max_dets >= 1 and 0 < iou <= 1, got max_dets={max_dets} and iou={iou}."
        )


def load_truths(ann_file: str, category: str | None = None) -> Annotated:
    """The truths of a json or of CityPersons' ``.mat``."""
    if str(ann_file).endswith(".mat"):
        from mmdyn.datasets.citypersons_files import read_mat

        return read_truths(read_mat(str(ann_file)).as_dict(), category, str(ann_file))
    return read_truths(read_json(str(ann_file)), category, str(ann_file))


def evaluate(
    annotated: Annotated,
    found: Mapping[int, Found],
    subsets: Mapping[str, Subset] = SUBSETS,
    iou: float = 0.5,
):
    """The ``MissRate`` of each subset over all labelled images."""
    images = ((truth, found.get(key, NOTHING)) for key, truth in annotated.truths.items())
    return miss_rates(images, subsets, iou)
