"""SwiftNet: a residual encoder, a small pyramid pooling and a light decoder with skips."""

from mmdyn.models.swiftnet.efficientnet_lite import EfficientNetLite
from mmdyn.models.swiftnet.head import SwiftNetHead
from mmdyn.models.swiftnet.resnet import SwiftNetResNet
from mmdyn.models.swiftnet.spatial_pyramid import SpatialPyramidPooling

__all__ = ["EfficientNetLite", "SpatialPyramidPooling", "SwiftNetHead", "SwiftNetResNet"]
