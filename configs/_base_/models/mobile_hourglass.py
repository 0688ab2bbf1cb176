"""The stacked hourglass of inverted residuals at 256x256, width 96, 16 joints."""

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
    backbone=dict(type="MobileHourglass", num_joints=16, width=96, num_stacks=4),
    head=dict(
        type="CPMHead",
        in_channels=16,
        out_channels=16,
        num_stages=4,
        # Half the squared error, the sum of 4 stacks.
        loss=dict(type="KeypointMSELoss", use_target_weight=True, loss_weight=0.5),
        decoder=codec,
    ),
)
