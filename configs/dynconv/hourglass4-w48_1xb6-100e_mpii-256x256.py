"""Half the width: 1.826 GMACs."""

_base_ = ["./hourglass4-w96_1xb6-100e_mpii-256x256.py"]
model = dict(backbone=dict(width=48))
