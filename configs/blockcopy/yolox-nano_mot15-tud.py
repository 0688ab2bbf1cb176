"""The dense YOLOX-nano on TUD-Stadtmitte, still camera, 25 Hz."""

_base_ = "./yolox-nano_mot15-pets.py"
test_dataloader = dict(dataset=dict(ann_file="work_dirs/mot15/TUD-Stadtmitte.json"))
test_evaluator = dict(ann_file="work_dirs/mot15/TUD-Stadtmitte.json")
