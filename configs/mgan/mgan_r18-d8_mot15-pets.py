"""The trained light MGAN on the second half of PETS09-S2L1."""

_base_ = "./mgan_r18-d8_1xb4-2000_pedestrian-clips-480x640.py"
test_json = "work_dirs/mot15/PETS09-S2L1-test.json"
test_dataloader = dict(dataset=dict(ann_file=test_json))
test_evaluator = [
    dict(type="mmdyn.MissRateMetric", ann_file=test_json, subsets=("Reasonable", "All")),
    dict(type="mmdyn.VideoCocoMetric", ann_file=test_json, metric="bbox", ap50_classes=("person",)),
]
