"""The published gated hourglass: a quarter of the MACs of its residual blocks.

Its gates decide on tiles of 8 pixels, which pay on the clock; the publication's on single pixels.
"""

_base_ = ["./hourglass4-w96_1xb6-100e_mpii-256x256.py"]
model = dict(
    type="mmdyn.DynConv",
    host="TopdownPoseEstimator",
    budget=0.25,
    tile=8,
    temperature=1.0,
    noise_until=0.8,
    weight=0.01,
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=1.0, decay_mult=0.0)))
)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook"))
