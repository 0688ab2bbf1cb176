"""A quarter of the arithmetic, tuned from hourglass2-w48_dynconv-s05_1xb8-800_lspet-128x128.py."""

_base_ = ["./hourglass2-w48_dynconv-s05_1xb8-800_lspet-128x128.py"]
model = dict(budget=0.25)
load_from = "work_dirs/hourglass2-w48_dynconv-s05_1xb8-800_lspet-128x128/iter_800.pth"
