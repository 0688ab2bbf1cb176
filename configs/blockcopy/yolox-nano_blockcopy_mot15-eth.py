_base_ = "./yolox-nano_mot15-eth.py"
# Measured on blocks, though the clock would leave them: they do not pay for so small a network.
model = dict(type="mmdyn.BlockCopy", host="YOLOX", budget=0.3, block_size=64, dense_fallback=False)
test_evaluator = [_base_.test_evaluator, dict(type="mmdyn.BlockStatsMetric")]
