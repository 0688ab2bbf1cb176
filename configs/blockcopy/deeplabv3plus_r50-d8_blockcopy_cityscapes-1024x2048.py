"""DeepLabV3+ with BlockCopy on Cityscapes' snippets: 20 frames each, the last one labelled.

Needs ``leftImg8bit_sequence_trainvaltest`` and ``gtFine_trainvaltest`` in data/cityscapes/. The
``mmseg::`` base is read by mmdyn's own tools; see ``mmdyn.compat`` for others.
"""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024.py"
model = dict(type="mmdyn.BlockCopy", host="EncoderDecoder", budget=0.3)
test_dataloader = dict(
    sampler=dict(_delete_=True, type="mmdyn.ClipSampler"),
    dataset=dict(
        type="mmdyn.CityscapesVideoDataset",
        clip_length=20,
        test_mode=True,
        data_prefix=dict(img_path="leftImg8bit_sequence/val", seg_map_path="gtFine/val"),
    ),
)
test_evaluator = [
    dict(type="mmdyn.VideoIoUMetric", iou_metrics=["mIoU"]),
    dict(type="mmdyn.BlockStatsMetric"),
]
