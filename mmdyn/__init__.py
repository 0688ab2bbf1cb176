"""mmdyn: stock vision networks that spend arithmetic where the picture needs it.

Importing this package imports neither mmcv, mmdet nor mmseg: public names are fetched on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "BlockCopyConfig": "mmdyn.conversion",
    "ConversionReport": "mmdyn.conversion",
    "DynConvConfig": "mmdyn.conversion",
    "calibrate": "mmdyn.conversion",
    "SegBlocksConfig": "mmdyn.conversion",
    "convert_model": "mmdyn.conversion",
    "is_converted": "mmdyn.conversion",
    "load_policy": "mmdyn.policies",
    "reset": "mmdyn.conversion",
    "restore_model": "mmdyn.conversion",
    "save_policy": "mmdyn.policies",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'mmdyn' has no attribute '{name}'; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
