"""Top-down human pose on mmengine alone, under mmpose's names: its configs move over."""

from mmdyn.models.pose.codec import MSRAHeatmap
from mmdyn.models.pose.estimator import PoseDataPreprocessor, TopdownPoseEstimator
from mmdyn.models.pose.heads import CPMHead, HeatmapHead, KeypointMSELoss
from mmdyn.models.pose.hourglass import InvertedResidual, MobileHourglass

__all__ = [
    "CPMHead",
    "HeatmapHead",
    "InvertedResidual",
    "KeypointMSELoss",
    "MSRAHeatmap",
    "MobileHourglass",
    "PoseDataPreprocessor",
    "TopdownPoseEstimator",
]
