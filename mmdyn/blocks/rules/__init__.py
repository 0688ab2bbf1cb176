"""One rule a torch function: how it runs on blocks. Importing this registers them all."""

from mmdyn.blocks.rules import (  # noqa: F401
    convolution,
    dropout,
    elementwise,
    factories,
    layout,
    normalization,
    pooling,
    reduction,
    resampling,
    shape,
)
