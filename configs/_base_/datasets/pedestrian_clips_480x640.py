"""People in photographs and in the first parts of three clips, to train; the clips' ends, to test.

136 of Penn-Fudan's stills and the first two fifths of PETS09-S2L1, TUD-Stadtmitte and ETH-Sunnyday
are trained on; the second halves of the clips are tested on. So tests are on places (and some
people) seen in training, never on frames of it. MMDYN_DATA names the folder that holds pennfudan/
and mot15/ (default ../shared/data). The annotations are made once:

    DATA=${MMDYN_DATA:-../shared/data}
    python tools/dataset_converters/pennfudan2coco.py $DATA/pennfudan --out work_dirs/pennfudan
    for clip in PETS09-S2L1 TUD-Stadtmitte ETH-Sunnyday; do
        for part in "train 0 0.4" "test 0.5 1"; do
            set -- $part
            python tools/dataset_converters/mot2coco.py $DATA/mot15/$clip --part $2 $3 \\
                --image-root $DATA/mot15 --frames-to work_dirs/mot15 \\
                --out work_dirs/mot15/$clip-$1.json
        done
    done

All clips are 4:3 and fill 480x640 without padding.
"""

clips_root = "{{$MMDYN_DATA:../shared/data}}/mot15"
clips_test = "work_dirs/mot15/TUD-Stadtmitte-test.json"
clips_meta = dict(classes=("person",), palette=[(220, 20, 60)])
clips_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")

clips_train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Brightness", prob=0.5, min_mag=0.5, max_mag=2.0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(640, 480), ratio_range=(0.5, 1.4), keep_ratio=True),
    dict(type="mmdyn.CropAroundBox", size=(320, 416), min_width=8),
    dict(type="PackDetInputs", meta_keys=clips_keys),
]
clips_test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(640, 480), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=clips_keys),
]
clips_stills = dict(
    type="CocoDataset",
    ann_file="work_dirs/pennfudan/train.json",
    data_prefix=dict(img="{{$MMDYN_DATA:../shared/data}}/pennfudan/"),
    metainfo=clips_meta,
    pipeline=clips_train_pipeline,
)
clips_frames = [
    dict(
        type="CocoDataset",
        ann_file=f"work_dirs/mot15/{clip}-train.json",
        data_prefix=dict(img=clips_root + "/"),
        metainfo=clips_meta,
        pipeline=clips_train_pipeline,
    )
    for clip in ("PETS09-S2L1", "TUD-Stadtmitte", "ETH-Sunnyday")
]
clips_train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="ConcatDataset", datasets=[clips_stills, *clips_frames]),
)
clips_test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="mmdyn.ClipSampler"),
    dataset=dict(
        type="mmdyn.CocoVideoDataset",
        ann_file=clips_test,
        data_prefix=dict(img=clips_root),
        metainfo=clips_meta,
        test_mode=True,
        pipeline=clips_test_pipeline,
    ),
)
clips_evaluator = [
    dict(type="mmdyn.MissRateMetric", ann_file=clips_test, subsets=("Reasonable", "All")),
    dict(
        type="mmdyn.VideoCocoMetric", ann_file=clips_test, metric="bbox", ap50_classes=("person",)
    ),
]
