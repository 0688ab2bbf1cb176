"""Lets a stock mmseg metric see the labelled frames of a video alone."""

from __future__ import annotations

from collections.abc import Sequence


class LabelledFrames:
    """Mixed into a mmseg metric: frames without ``gt_sem_seg`` are skipped."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """The stock metric's, on the labelled ones of ``data_samples``."""
        labelled = [sample for sample in data_samples if "gt_sem_seg" in sample]
        if getattr(self, "format_only", False):
            labelled = list(data_samples)
        if labelled:
            super().process(data_batch, labelled)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The stock metric's.

        Raises:
            ValueError: If no frame was labelled.
        """
        if not results and not getattr(self, "format_only", False):
            raise ValueError(
                f"{type(self).__name__} saw no labelled frame: expected 'gt_sem_seg' in at least "
                "one data sample; check the dataset's seg_map_path, that the pipeline has "
                "LoadAnnotations, and that the clips reach the labelled frame."
            )
        return super().compute_metrics(results)
