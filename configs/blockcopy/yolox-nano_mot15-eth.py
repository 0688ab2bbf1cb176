"""The dense YOLOX-nano on ETH-Sunnyday, moving camera, 14 Hz."""

_base_ = "./yolox-nano_mot15-pets.py"
test_dataloader = dict(dataset=dict(ann_file="work_dirs/mot15/ETH-Sunnyday.json"))
test_evaluator = dict(ann_file="work_dirs/mot15/ETH-Sunnyday.json")
