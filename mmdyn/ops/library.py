"""The operators ``torch.ops.mmdyn.*``: defined here, and PyTorch picks each call's backend.

Every operator has its reference for all devices, as a composite of PyTorch's own operators:
autograd and fake tensors follow it, and a recorded stretch of a network holds those operators
themselves. A backend that does better is registered beside it, for its device.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from mmdyn.ops.compiled import load as load_compiled

logger = logging.getLogger(__name__)

LIBRARY = torch.library.Library("mmdyn", "FRAGMENT")
load_compiled()
_OFF = "MMDYN_TRITON"


def define(schema: str, reference: Callable) -> Callable:
    """Defines an operator; what it returns takes positional arguments only.

    Args:
        schema: Name, arguments and results, as in PyTorch's operator schemas.
        reference: The plain PyTorch function, of the same arguments.

    Returns:
        The operator. Where autograd may record, the reference itself.
    """
    LIBRARY.define(schema)
    name = schema.partition("(")[0]
    LIBRARY.impl(name, reference, "CompositeImplicitAutograd")
    operator = getattr(torch.ops.mmdyn, name).default

    def call(*args):
        return reference(*args) if torch.is_grad_enabled() else operator(*args)

    call.__name__, call.__doc__ = name, reference.__doc__
    return call


@contextmanager
def undisturbed() -> Iterator[None]:
    """Plain PyTorch, for a trial whose verdict is kept: whatever mode the caller is in.

    Without autograd, autocast, tracing, fake tensors or a default device.
    """
    plain = torch.autocast("cpu", enabled=False), torch.no_grad()
    with _disable_current_modes(), torch._C.DisableTorchFunction(), plain[0], plain[1]:
        yield


def is_plain(x: Tensor) -> bool:
    """Whether it is a tensor of PyTorch's own class: a fake one must leave nothing in a cache."""
    return type(x) in (Tensor, torch.nn.Parameter)


@lru_cache(maxsize=1)
def triton_is_there() -> bool:
    """Whether Triton is installed and not switched off with ``MMDYN_TRITON=0``."""
    if os.environ.get(_OFF, "1") == "0":
        return False
    return importlib.util.find_spec("triton") is not None


def serve_cuda(name: str, module: str, reference: Callable) -> None:
    """Lets a Triton kernel serve an operator on CUDA tensors, once it agrees with the reference.

    Args:
        name: The operator's.
        module: Where the kernel's launcher of that name is; imported at the first call. Its
            function ``example_of_<name>(device, dtype)`` gives the arguments of a small trial.
        reference: See `define`.
    """
    if not triton_is_there():
        return

    def launch(*args):
        first = next(arg for arg in args if isinstance(arg, Tensor))
        if agrees(name, module, reference, first.device, first.dtype):
            return getattr(importlib.import_module(module), name)(*args)
        return reference(*args)

    LIBRARY.impl(name, launch, "CUDA")


@lru_cache(maxsize=64)
def agrees(
    name: str, module: str, reference: Callable, device: torch.device, dtype: torch.dtype
) -> bool:
    """Whether a kernel runs on a device and gives there what its reference gives.

    Tried once for each type: no kernel serves a user before it was right on that user's device.
    """
    try:
        kernels = importlib.import_module(module)
        example = getattr(kernels, f"example_of_{name}")
        ours, theirs = example(device, dtype), example(device, dtype)
        got, wanted = getattr(kernels, name)(*ours), reference(*theirs)
        if not isinstance(got, Tensor):
            got, wanted = ours[0], theirs[0]  # written in place
    except Exception as error:  # whatever Triton's compiler raises
        logger.warning("%s in %s: no Triton kernel on %s (%s: %s)", name, dtype, device,
                       type(error).__name__, str(error)[:200])  # fmt: skip
        return False
    scale = float(wanted.abs().max()) if wanted.is_floating_point() else 0.0
    if torch.allclose(got.double(), wanted.double(), rtol=0.0, atol=2e-2 * scale):
        return True
    logger.warning("%s in %s: the Triton kernel is wrong on %s and not used", name, dtype, device)
    return False
