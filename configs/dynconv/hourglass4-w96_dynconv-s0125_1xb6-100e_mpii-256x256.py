"""An eighth of the MACs of its residual blocks."""

_base_ = ["./hourglass4-w96_dynconv-s025_1xb6-100e_mpii-256x256.py"]
model = dict(budget=0.125)
