"""SwiftNet's decoder and preprocessing; leaves add the encoder.

Mean and deviation are Cityscapes' own, in RGB, as SwiftNet was published with.
"""

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[73.1584, 82.9090, 72.3924],
        std=[44.9149, 46.1529, 45.3192],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(1024, 1024),
    ),
    decode_head=dict(
        type="mmdyn.SwiftNetHead",
        channels=128,
        num_classes=19,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
