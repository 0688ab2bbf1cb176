"""Simple baseline for pose: ResNet-18 and three deconvolutions of 128 channels, 256x256."""

codec = dict(
    type="mmdyn.MSRAHeatmap", input_size=(256, 256), heatmap_size=(64, 64), sigma=2, unbiased=True
)
model = dict(
    type="TopdownPoseEstimator",
    data_preprocessor=dict(
        type="PoseDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        out_indices=(3,),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/pretrained/resnet18.pth"),
    ),
    head=dict(
        type="HeatmapHead",
        in_channels=512,
        out_channels=16,
        deconv_out_channels=(128, 128, 128),
        decoder=codec,
    ),
)
