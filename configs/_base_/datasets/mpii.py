"""MPII. Images, the json files in common use and mpii_gt_val.mat lie below MMDYN_DATA/mpii."""

data_root = "{{$MMDYN_DATA:../shared/data}}/mpii"
target = dict(
    type="mmdyn.MSRAHeatmap", input_size=(256, 256), heatmap_size=(64, 64), sigma=2, unbiased=True
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale"),
    dict(type="mmdyn.RandomPoseFlip"),
    dict(type="mmdyn.RandomBBoxTransform", scale_factor=(0.75, 1.25), rotate_factor=30),
    dict(type="mmdyn.TopdownAffine", input_size=target["input_size"]),
    dict(type="mmdyn.GenerateTarget", encoder=target),
    dict(type="mmdyn.PackPoseInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale"),
    dict(type="mmdyn.TopdownAffine", input_size=target["input_size"]),
    dict(type="mmdyn.PackPoseInputs"),
]
train_dataloader = dict(
    batch_size=6,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmdyn.MpiiDataset",
        data_root=data_root,
        ann_file="annotations/mpii_train.json",
        data_prefix=dict(img="images"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmdyn.MpiiDataset",
        data_root=data_root,
        ann_file="annotations/mpii_val.json",
        headbox_file="annotations/mpii_gt_val.mat",
        data_prefix=dict(img="images"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmdyn.MpiiPCKAccuracy")
test_evaluator = val_evaluator
