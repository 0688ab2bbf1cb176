"""Cityscapes' official scores over the labelled frames of videos."""

from __future__ import annotations

from mmseg.evaluation.metrics import CityscapesMetric

from mmdyn.metrics.labelled_frames import LabelledFrames
from mmdyn.registry import METRICS


@METRICS.register_module()
class VideoCityscapesMetric(LabelledFrames, CityscapesMetric):
    """mmseg's ``CityscapesMetric`` that skips frames without labels; all else is its own."""
