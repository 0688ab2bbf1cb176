"""The light MGAN on a clip of MOT15, what BlockCopy on it is compared with."""

_base_ = [
    "./mgan_r18-d8_1xb4-300_pennfudan-384x512.py",
    "../_base_/datasets/mot15_512x384.py",
]
model = dict(backbone=dict(init_cfg=None))
test_dataloader = dict(_delete_=True, **_base_.mot15_dataloader)
test_dataloader["dataset"]["ann_file"] = "work_dirs/mot15/TUD-Stadtmitte.json"
test_dataloader["dataset"]["metainfo"] = dict(classes=("person",))
test_evaluator = [
    dict(
        type="mmdyn.MissRateMetric",
        ann_file="work_dirs/mot15/TUD-Stadtmitte.json",
        subsets=["Reasonable", "All"],
    ),
    dict(_base_.mot15_evaluator, ann_file="work_dirs/mot15/TUD-Stadtmitte.json"),
]
val_cfg = None
val_dataloader = None
val_evaluator = None
