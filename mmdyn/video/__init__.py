"""What survives a frame: feature memory, streams, clip identity."""

from mmdyn.video.clip_id import folder_frame
from mmdyn.video.memory import FeatureMemory
from mmdyn.video.streams import StreamState, StreamTable

__all__ = ["FeatureMemory", "StreamState", "StreamTable", "folder_frame"]
