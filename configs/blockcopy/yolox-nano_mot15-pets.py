"""The dense YOLOX-nano that BlockCopy is measured on: PETS09-S2L1, still camera, 7 Hz.

Weights: tools/model_converters/yolox_onnx.py.
"""

_base_ = [
    "mmdet::yolox/yolox_nano_8xb8-300e_coco.py",
    "../_base_/datasets/mot15_512x384.py",
]
test_dataloader = dict(_delete_=True, **_base_.mot15_dataloader)
test_evaluator = dict(_delete_=True, **_base_.mot15_evaluator)
val_cfg = None
val_dataloader = None
val_evaluator = None
