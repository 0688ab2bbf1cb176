"""Simple baseline for pose: ResNet-18 and three deconvolutions of 128 channels, 256x256."""

_base_ = ["./mobile_hourglass.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmdet.ResNet",
        depth=18,
        out_indices=(3,),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/pretrained/resnet18.pth"),
    ),
    head=dict(
        _delete_=True,
        type="HeatmapHead",
        in_channels=512,
        out_channels=16,
        deconv_out_channels=(128, 128, 128),
        decoder=_base_.codec,
    ),
)
