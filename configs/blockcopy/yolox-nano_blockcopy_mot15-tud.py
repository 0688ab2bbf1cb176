_base_ = "./yolox-nano_mot15-tud.py"
model = dict(type="mmdyn.BlockCopy", host="YOLOX", budget=0.3, block_size=64)
test_evaluator = [_base_.test_evaluator, dict(type="mmdyn.BlockStatsMetric")]
