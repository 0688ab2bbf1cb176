"""COCO's scores over the labelled frames of videos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.evaluation.metrics import CocoMetric
from mmengine.fileio import load

from mmdyn.registry import METRICS


@METRICS.register_module()
class VideoCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` for a COCO video json.

    Frames whose image is marked ``labelled: false``, or is not in the json, are skipped. Labels
    are matched to categories by name: predictions of classes the json does not have (a detector
    for COCO's 80 on a json with persons) are left out.

    Args:
        ann_file (str): The COCO video json; without it the ground truth is made from the data
            samples, as in mmdet. Default None.
        ap50_classes (Sequence[str]): Classes whose AP at IoU 0.5 is reported each, as
            ``bbox_<class>_AP50`` (and ``segm_<class>_AP50``), 0 to 1. Default ().
        **kwargs: See ``mmdet.evaluation.CocoMetric``.
    """

    def __init__(
        self, ann_file: str | None = None, ap50_classes: Sequence[str] = (), **kwargs
    ) -> None:
        super().__init__(ann_file=ann_file, **kwargs)
        self.ap50_classes = tuple(ap50_classes)
        known = [c["name"] for c in self._coco_api.cats.values()] if self._coco_api else None
        unknown = [name for name in self.ap50_classes if known is not None and name not in known]
        if unknown:
            raise ValueError(
                f"ap50_classes has {unknown}, but the categories of {ann_file} are "
                f"{', '.join(known)}; name some of these."
            )

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """The stock metric's, on the labelled ones of ``data_samples``."""
        labelled = [sample for sample in data_samples if self._is_labelled(sample)]
        if labelled:
            super().process(data_batch, labelled)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The stock metric's, and AP50 of the classes asked for.

        Raises:
            ValueError: If no frame was labelled.
        """
        if not results:
            raise ValueError(
                "VideoCocoMetric saw no labelled frame: no predicted image is in its json, or all "
                "are marked 'labelled: false'; use the json of the evaluated split as ann_file."
            )
        if self._coco_api is not None:
            self.cat_ids = self._category_ids()
            results = [(truth, self._named(found)) for truth, found in results]
            self.img_ids = [k for k in self._coco_api.get_img_ids() if self._truth(k)]
        scores = super().compute_metrics(results)
        if self.ap50_classes and not self.format_only:
            scores.update(self._ap50([found for _, found in results]))
        return scores

    def _truth(self, img_id: int) -> bool:
        """Whether somebody annotated this image."""
        image = self._coco_api.imgs.get(img_id)
        return image is not None and image.get("labelled", True)

    def _is_labelled(self, sample: dict) -> bool:
        if self._coco_api is None:
            return sample.get("labelled", "instances" in sample)
        return self._truth(sample["img_id"])

    def _named(self, found: dict) -> dict:
        """Predictions of known classes, their labels counted among the json's categories."""
        names = [self._coco_api.cats[k]["name"] for k in self.cat_ids]
        classes = self.dataset_meta["classes"]
        place = np.array([names.index(c) if c in names else -1 for c in classes])
        labels = place[found["labels"]] if len(found["labels"]) else found["labels"]
        kept = np.flatnonzero(labels >= 0)
        named = {**found, "labels": labels[kept]}
        for key in ("bboxes", "scores", "mask_scores"):
            if key in found:
                named[key] = found[key][kept]
        if "masks" in found:
            named["masks"] = [found["masks"][k] for k in kept]
        return named

    def _category_ids(self) -> list[int]:
        """The json's categories that the model knows, in the json's order."""
        known = set(self.dataset_meta["classes"])
        cats = self._coco_api.cats
        found = [k for k in self._coco_api.get_cat_ids() if cats[k]["name"] in known]
        if not found:
            raise ValueError(
                f"none of the json's categories ({', '.join(c['name'] for c in cats.values())}) is "
                f"a class of the dataset ({', '.join(sorted(known))}); set the dataset's "
                "metainfo=dict(classes=...) to the model's."
            )
        return found

    def _ap50(self, found: list[dict]) -> dict[str, float]:
        scores = {}
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json(found, f"{folder}/results")
            for kind in (m for m in self.metrics if m in ("bbox", "segm")):
                predictions = load(files[kind])
                for name in self.ap50_classes:
                    scores[f"{kind}_{name}_AP50"] = self._class_ap50(kind, name, predictions)
        return scores

    def _class_ap50(self, kind: str, name: str, predictions: list[dict]) -> float:
        """AP at IoU 0.5 of one class, 0 to 1; NaN where it has no truth."""
        category = next(k for k, c in self._coco_api.cats.items() if c["name"] == name)
        own = [p for p in predictions if p["category_id"] == category]
        if kind == "segm":
            own = [{key: p[key] for key in p if key != "bbox"} for p in own]
        truths = self._coco_api.get_ann_ids(img_ids=self.img_ids, cat_ids=[category])
        if not any(not a.get("iscrowd") for a in self._coco_api.load_anns(truths)):
            return float("nan")
        if not own:
            return 0.0
        evaluation = COCOeval(self._coco_api, self._coco_api.loadRes(own), kind)
        evaluation.params.catIds, evaluation.params.imgIds = [category], self.img_ids
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
        return round(float(evaluation.eval["precision"][0, :, 0, 0, -1].mean()), 4)
