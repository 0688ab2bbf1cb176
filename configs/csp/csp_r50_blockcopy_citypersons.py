"""BlockCopy on CSP: the snippets' 20 frames up to each labelled one."""

_base_ = "./csp_r50_citypersons.py"
model = dict(type="mmdyn.BlockCopy", host="SingleStageDetector", budget=0.3)
test_dataloader = dict(
    dataset=dict(clip_length=20, data_prefix=dict(img="leftImg8bit_sequence/val"))
)
test_evaluator = [
    dict(type="mmdyn.MissRateMetric", ann_file=_base_.val_json),
    dict(type="mmdyn.VideoCocoMetric", ann_file=_base_.val_json, metric="bbox"),
    dict(type="mmdyn.BlockStatsMetric"),
]
