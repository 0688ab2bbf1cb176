"""CIFAR-10. MMDYN_CIFAR10 names the folder that tools/dataset_converters/cifar10.py wrote."""

dataset_type = "mmdyn.CIFAR10"
data_root = "{{$MMDYN_CIFAR10:work_dirs/cifar10}}"
data_preprocessor = dict(
    type="mmdyn.ClsDataPreprocessor",
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=False,  # the arrays are RGB
)
train_pipeline = [
    dict(type="mmdyn.RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="mmdyn.PackInputs"),
]
test_pipeline = [dict(type="mmdyn.PackInputs")]
train_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split="test", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmdyn.Accuracy", topk=(1,))
test_evaluator = val_evaluator
