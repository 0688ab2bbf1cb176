"""What flows through a converted network: BlockGrid, BlockTensor and the rules between them."""

from mmdyn.blocks import rules  # noqa: F401
from mmdyn.blocks.frame import Constants, Frame, StaleMemoryError, Tracker
from mmdyn.blocks.grid import BlockGrid, Level
from mmdyn.blocks.laid_out import LaidOutBlocks
from mmdyn.blocks.rules.joint_norm import joint_batch_norm
from mmdyn.blocks.rules.resampling import smooth
from mmdyn.blocks.tensor import BlockTensor, split

__all__ = [
    "BlockGrid",
    "BlockTensor",
    "Constants",
    "Frame",
    "LaidOutBlocks",
    "Level",
    "StaleMemoryError",
    "Tracker",
    "joint_batch_norm",
    "smooth",
    "split",
]
