"""Leeds Sports Pose, extended, 256x256. MMDYN_DATA names the folder that holds lspet/."""

data_root = "{{$MMDYN_DATA:../shared/data}}/lspet"
target = dict(
    type="mmdyn.MSRAHeatmap", input_size=(256, 256), heatmap_size=(64, 64), sigma=2, unbiased=True
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale", padding=1.25),
    dict(type="mmdyn.RandomPoseFlip"),
    dict(type="mmdyn.RandomBBoxTransform", scale_factor=(0.75, 1.25), rotate_factor=30),
    dict(type="mmdyn.TopdownAffine", input_size=target["input_size"]),
    dict(type="mmdyn.GenerateTarget", encoder=target),
    dict(type="mmdyn.PackPoseInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.GetBBoxCenterScale", padding=1.25),
    dict(type="mmdyn.TopdownAffine", input_size=target["input_size"]),
    dict(type="mmdyn.PackPoseInputs"),
]
people = dict(
    type="mmdyn.LspetDataset",
    data_root=data_root,
    ann_file="joints.json",
    data_prefix=dict(img="images"),
)
train_dataloader = dict(
    batch_size=6,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**people, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=25,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**people, split="test", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmdyn.PCKAccuracy", thr=0.2, norm_item="torso")
test_evaluator = val_evaluator
