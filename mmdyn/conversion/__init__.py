"""Stock model to dynamic model and back, with a report of what changed."""

from mmdyn.conversion import blockcopy as _blockcopy  # noqa: F401  its handler
from mmdyn.conversion import dynconv as _dynconv  # noqa: F401  its handler
from mmdyn.conversion import segblocks as _segblocks  # noqa: F401  its handler
from mmdyn.conversion.config import BlockCopyConfig, DynConvConfig, SegBlocksConfig
from mmdyn.conversion.convert import convert_model, reset, restore_model
from mmdyn.conversion.dynamic import is_converted, runtime_of
from mmdyn.conversion.dynconv_runtime import calibrate
from mmdyn.conversion.report import ConversionReport

__all__ = [
    "BlockCopyConfig",
    "ConversionReport",
    "DynConvConfig",
    "SegBlocksConfig",
    "calibrate",
    "convert_model",
    "is_converted",
    "reset",
    "restore_model",
    "runtime_of",
]
