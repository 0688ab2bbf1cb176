"""DynConv's own part: who decides, per layer and pixel, and what the decision costs."""

from mmdyn.gating.branch import Branch, ConvShape, Step
from mmdyn.gating.calibration import find_threshold
from mmdyn.gating.gate import Gate, enlarge
from mmdyn.gating.gumbel import binary_gumbel
from mmdyn.gating.schedule import block_bounds, stepped
from mmdyn.gating.selection import Selection, select_within
from mmdyn.gating.sparsity import Cost, block_shares, network_share, sparsity_loss

__all__ = [
    "Branch",
    "ConvShape",
    "Cost",
    "Gate",
    "Selection",
    "Step",
    "binary_gumbel",
    "block_bounds",
    "block_shares",
    "enlarge",
    "find_threshold",
    "network_share",
    "select_within",
    "sparsity_loss",
    "stepped",
]
