"""Networks that the zoos lack; what needs an absent package is left out."""

from mmdyn.models import classification, pose
from mmdyn.optional import import_available

import_available(__name__, mmseg=("swiftnet",), mmdet=("csp", "mgan"))

__all__ = ["classification", "pose"]
