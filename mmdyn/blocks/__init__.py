"""What flows through a converted network: BlockGrid, BlockTensor and the rules between them."""

from mmdyn.blocks import rules  # noqa: F401
from mmdyn.blocks.frame import Constants, Frame, StaleMemoryError, Tracker
from mmdyn.blocks.grid import BlockGrid, Level
from mmdyn.blocks.laid_out import LaidOutBlocks
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
    "split",
]
