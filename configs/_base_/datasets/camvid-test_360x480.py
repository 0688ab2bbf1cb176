"""CamVid, 480x360: all of `train` is trained on, `test` is evaluated; `val` is not looked at.

The height is padded to 384, which every stride of the networks divides.
"""

_base_ = "./camvid_360x480.py"
crop_size = (384, 480)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.75, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(dataset=dict(ann_file="train.txt", pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        img_suffix=".jpg",
        ann_file="test.txt",
        data_prefix=dict(img_path="test", seg_map_path="testannot"),
    )
)
test_dataloader = val_dataloader
