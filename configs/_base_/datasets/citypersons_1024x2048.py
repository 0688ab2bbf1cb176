"""CityPersons on Cityscapes: stills to train and to test, clips to test BlockCopy.

The annotations are made once, from the published .mat files or from the folders of jsons:

    for split in train val; do
        python tools/dataset_converters/citypersons2coco.py anno_$split.mat \\
            --out data/cityscapes/annotations/citypersons_$split.json
    done

Clips need leftImg8bit_sequence_trainvaltest: 20 frames up to and with the labelled one.
"""

data_root = "data/cityscapes/"
val_json = data_root + "annotations/citypersons_val.json"
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.8, 1.3), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(832, 1472), allow_negative_crop=True),
    dict(
        type="mmdyn.PackVisibleBoxes",
        meta_keys=(*meta_keys, "flip", "flip_direction"),
    ),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmdyn.CityPersonsDataset",
        data_root=data_root,
        ann_file="annotations/citypersons_train.json",
        data_prefix=dict(img="leftImg8bit/train"),
        min_height=50,
        min_visibility=0.2,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="mmdyn.ClipSampler"),
    dataset=dict(
        type="mmdyn.CityPersonsDataset",
        data_root=data_root,
        ann_file="annotations/citypersons_val.json",
        data_prefix=dict(img="leftImg8bit/val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="mmdyn.MissRateMetric", ann_file=val_json),
    dict(type="mmdyn.VideoCocoMetric", ann_file=val_json, metric="bbox"),
]
test_evaluator = val_evaluator
