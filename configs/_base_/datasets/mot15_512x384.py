"""A clip of MOT15 at 512x384, frame after frame, for a detector of COCO's classes.

A detector's stock config is the other base and has the plain names, so these begin with ``mot15_``.
MMDYN_DATA names the folder that holds mot15/ (default ../shared/data). The annotations, and the
frames of the clip that is an .avi, are made once:

    DATA=${MMDYN_DATA:-../shared/data}/mot15
    for clip in PETS09-S2L1 TUD-Stadtmitte ETH-Sunnyday; do
        python tools/dataset_converters/mot2coco.py $DATA/$clip --image-root $DATA \\
            --out work_dirs/mot15/$clip.json --frames-to work_dirs/mot15
    done

The clips are 4:3 and fill 512x384, 8 x 6 blocks of 64 px, without padding.
"""

mot15_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(512, 384), keep_ratio=True),
    dict(type="Pad", size_divisor=32, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
mot15_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="mmdyn.ClipSampler"),
    dataset=dict(
        type="mmdyn.CocoVideoDataset",
        ann_file="work_dirs/mot15/PETS09-S2L1.json",
        data_prefix=dict(img="{{$MMDYN_DATA:../shared/data}}/mot15"),
        test_mode=True,
        pipeline=mot15_pipeline,
    ),
)
mot15_evaluator = dict(
    type="mmdyn.VideoCocoMetric",
    ann_file="work_dirs/mot15/PETS09-S2L1.json",
    metric="bbox",
    ap50_classes=("person",),
)
