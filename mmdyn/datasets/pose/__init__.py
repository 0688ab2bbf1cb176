"""People with joints: datasets and the pipeline from an image to a crop with targets."""

from mmdyn.datasets.pose.coco import CocoKeypointDataset
from mmdyn.datasets.pose.lspet import LspetDataset
from mmdyn.datasets.pose.mpii import MpiiDataset
from mmdyn.datasets.pose.packing import GenerateTarget, PackPoseInputs
from mmdyn.datasets.pose.transforms import (
    GetBBoxCenterScale,
    RandomBBoxTransform,
    RandomPoseFlip,
    TopdownAffine,
)

__all__ = [
    "CocoKeypointDataset",
    "GenerateTarget",
    "GetBBoxCenterScale",
    "LspetDataset",
    "MpiiDataset",
    "PackPoseInputs",
    "RandomBBoxTransform",
    "RandomPoseFlip",
    "TopdownAffine",
]
