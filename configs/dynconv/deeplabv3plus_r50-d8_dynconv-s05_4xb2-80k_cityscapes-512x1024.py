"""DeepLabV3+ whose backbone runs half of its arithmetic, on tiles of 8 x 8 pixels."""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024.py"
model = dict(type="mmdyn.DynConv", host="EncoderDecoder", budget=0.5, tile=8)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(dynconv_gate=dict(lr_mult=1.0, decay_mult=0.0)))
)
default_hooks = dict(dynconv=dict(type="mmdyn.DynConvHook"))
