"""CSP on CityPersons, 8 GPUs with 4 images each: crops of 640x1280, tested at 1024x2048."""

_base_ = [
    "mmdet::_base_/default_runtime.py",
    "../_base_/models/csp_r50.py",
    "../_base_/schedules/csp.py",
    "../_base_/datasets/citypersons_1024x2048.py",
]

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Brightness", prob=0.5, min_mag=0.5, max_mag=2.0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.4, 1.5), keep_ratio=True),
    dict(type="mmdyn.CropAroundBox", size=(640, 1280)),
    dict(type="PackDetInputs", meta_keys=_base_.meta_keys),
]
train_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=train_pipeline))
