"""CSP's training: Adam, two steps, and a teacher that is the moving average of the weights.

For 8 GPUs with 4 images each; the teacher (alpha 0.999) is what is validated and tested.
"""

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4))
param_scheduler = [
    dict(type="ConstantLR", factor=1.0 / 3, begin=0, end=500, by_epoch=False),
    dict(type="MultiStepLR", milestones=[110, 160], gamma=0.1, begin=0, end=240, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=240, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
custom_hooks = [
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.001, update_buffers=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
