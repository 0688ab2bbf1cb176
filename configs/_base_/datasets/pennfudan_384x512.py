"""Penn-Fudan's stills, 136 to train and 34 to validate; people as small as MOT15's by resizing.

MMDYN_DATA names the folder that holds pennfudan/ (default ../shared/data). The annotations are
made once:

    python tools/dataset_converters/pennfudan2coco.py ${MMDYN_DATA:-../shared/data}/pennfudan \\
        --out work_dirs/pennfudan
"""

classes = ("person",)
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
pennfudan_images = "{{$MMDYN_DATA:../shared/data}}/pennfudan"
pennfudan_val_json = "work_dirs/pennfudan/val.json"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="RandomResize", scale=(512, 384), ratio_range=(0.5, 1.3), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(384, 512), allow_negative_crop=True),
    dict(type="Pad", size=(512, 384), pad_val=dict(img=(124, 116, 104))),
    dict(type="mmdyn.PackVisibleBoxes", meta_keys=(*meta_keys, "flip", "flip_direction")),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(512, 384), keep_ratio=True),
    dict(type="mmdyn.LoadVisibleBoxes", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="mmdyn.PedestrianDataset",
        metainfo=dict(classes=classes),
        ann_file="work_dirs/pennfudan/train.json",
        data_prefix=dict(img=pennfudan_images),
        min_visibility=0.2,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmdyn.PedestrianDataset",
        metainfo=dict(classes=classes),
        ann_file=pennfudan_val_json,
        data_prefix=dict(img=pennfudan_images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="mmdyn.MissRateMetric", ann_file=pennfudan_val_json, subsets=["Reasonable", "All"]),
    dict(type="mmdyn.VideoCocoMetric", ann_file=pennfudan_val_json, metric="bbox"),
]
test_evaluator = val_evaluator
