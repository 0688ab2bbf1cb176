"""The gated hourglass as published: a quarter of the MACs of its residual blocks."""

_base_ = ["./hourglass4-w96_1xb6-100e_mpii-256x256.py"]
model = dict(
    type="mmdyn.DynConv",
    host="TopdownPoseEstimator",
    budget=0.25,
    temperature=1.0,
    noise_until=0.8,
    weight=0.01,
)
