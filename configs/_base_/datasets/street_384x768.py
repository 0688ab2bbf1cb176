"""Generated street clips in the layout of Cityscapes, 384x768.

MMDYN_STREET names the folder (default work_dirs/street). It is made with

    STREET="python tools/dataset_converters/make_street_clips.py work_dirs/street --size 384 768"
    $STREET --split train --clips 48 --seed 100 --labelled 15 --stills
    $STREET --split val --clips 1 --seed 7 --labelled all
"""

data_root = "{{$MMDYN_STREET:work_dirs/street}}"
crop_size = (256, 384)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(768, 384), ratio_range=(0.8, 1.3), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CityscapesDataset",
        data_root=data_root,
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="mmdyn.ClipSampler"),
    dataset=dict(
        type="mmdyn.CityscapesVideoDataset",
        data_root=data_root,
        clip_length=30,
        data_prefix=dict(img_path="leftImg8bit_sequence/val", seg_map_path="gtFine/val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmdyn.VideoIoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
