"""A quarter of the arithmetic, tuned from td-hm_res18_dynconv-s05_1xb16-400_lspet-256x256.py."""

_base_ = ["./td-hm_res18_dynconv-s05_1xb16-400_lspet-256x256.py"]
model = dict(budget=0.25)
load_from = "work_dirs/td-hm_res18_dynconv-s05_1xb16-400_lspet-256x256/iter_400.pth"
