"""CSP on Caltech Pedestrian, 8 GPUs with 4 images each: every third frame of set00 to set05.

``data/caltech/annotations.json`` is the json made of the .vbb files, images are
``data/caltech/images/set00_V000_0.png`` and so on. The test's truth is written once by

    python tools/dataset_converters/caltech2coco.py data/caltech/annotations.json \\
        --sets set06 set07 set08 set09 set10 --out data/caltech/test.json

The miss rate follows CityPersons' rules: it is not the number of Caltech's own toolbox, which
papers report.
"""

_base_ = [
    "mmdet::_base_/default_runtime.py",
    "../_base_/models/csp_r50.py",
    "../_base_/schedules/csp.py",
]

data_root = "data/caltech/"
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Brightness", prob=0.5, min_mag=0.5, max_mag=2.0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(640, 480), ratio_range=(0.4, 1.5), keep_ratio=True),
    dict(type="mmdyn.CropAroundBox", size=(352, 448), min_width=8),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(640, 480), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
dataset_type = "mmdyn.CaltechPedestrianDataset"
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations.json",
        data_prefix=dict(img="images"),
        sets=("set00", "set01", "set02", "set03", "set04", "set05"),
        every=3,
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
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations.json",
        data_prefix=dict(img="images"),
        sets=("set06", "set07", "set08", "set09", "set10"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmdyn.MissRateMetric", ann_file=data_root + "test.json")
test_evaluator = val_evaluator
