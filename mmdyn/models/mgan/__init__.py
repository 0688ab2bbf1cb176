"""MGAN: a detector of occluded pedestrians that looks at what of them is visible."""

from mmdyn.models.mgan.attention import MGANAttention, visible_share
from mmdyn.models.mgan.roi_head import MGANRoIHead
from mmdyn.models.mgan.rpn_head import AutocastRPNHead
from mmdyn.models.mgan.vgg import PlainVGG

__all__ = ["AutocastRPNHead", "MGANAttention", "MGANRoIHead", "PlainVGG", "visible_share"]
