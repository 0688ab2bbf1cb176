"""Half of the MACs of the residual blocks."""

_base_ = ["./hourglass4-w48_dynconv-s025_1xb6-20e_lspet-256x256.py"]
model = dict(budget=0.5)
