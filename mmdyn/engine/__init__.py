"""Where a config line lands: registered model functions, hooks and optimizer wrappers."""

from mmdyn.engine.compile_hook import CompileHook
from mmdyn.engine.distill_hook import DistillHook
from mmdyn.engine.dynconv_hook import DynConvHook
from mmdyn.engine.hooks import BlockCopyHook
from mmdyn.engine.memory_format import ChannelsLastHook
from mmdyn.engine.models import BlockCopy, DynConv, SegBlocks
from mmdyn.engine.optim import AutocastOptimWrapper

__all__ = [
    "AutocastOptimWrapper",
    "BlockCopy",
    "BlockCopyHook",
    "ChannelsLastHook",
    "CompileHook",
    "DistillHook",
    "DynConv",
    "DynConvHook",
    "SegBlocks",
]
