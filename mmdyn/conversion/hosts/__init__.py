"""What differs between the kinds of network that are converted."""

from mmdyn.conversion.hosts.base import Call, Host
from mmdyn.conversion.hosts.openmmlab import DetectorHost, SegmentorHost, host_for

__all__ = ["Call", "DetectorHost", "Host", "SegmentorHost", "host_for"]
