"""The schedule that DynConv publishes for CIFAR-10: SGD, 350 epochs of batches of 256."""

optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[150, 250], gamma=0.1)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=350, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
