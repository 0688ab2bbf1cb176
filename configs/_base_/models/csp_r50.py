"""CSP on a dilated ResNet-50: features at strides 8, 16 and 16, a head at stride 4."""

model = dict(
    type="SingleStageDetector",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    neck=dict(type="mmdyn.CSPNeck", in_channels=(512, 1024, 2048), strides=(8, 16, 16)),
    bbox_head=dict(type="mmdyn.CSPHead", in_channels=768, feat_channels=256, num_classes=1),
    train_cfg=None,
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.1,
        nms=dict(type="nms", iou_threshold=0.5),
        max_per_img=100,
    ),
)
