"""ResNet-32 for 32x32 images, with projection shortcuts as DynConv publishes it."""

model = dict(
    type="ImageClassifier",
    backbone=dict(type="CIFARResNet", depth=32, shortcut="projection"),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
