"""mmdyn: stock detection and segmentation networks that spend arithmetic where the picture needs it."""

__version__ = "0.1.0"
