"""mIoU over the labelled frames of videos."""

from __future__ import annotations

from mmseg.evaluation.metrics import IoUMetric

from mmdyn.metrics.labelled_frames import LabelledFrames
from mmdyn.registry import METRICS


@METRICS.register_module()
class VideoIoUMetric(LabelledFrames, IoUMetric):
    """mmseg's ``IoUMetric`` that skips frames without labels; arguments and results are its own."""
