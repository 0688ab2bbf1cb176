"""Numbers on their way between the host and a device, without waiting for the device's queue."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(values: Sequence, device: torch.device) -> Tensor:
    """A tensor of a few Python numbers: ``torch.tensor(values, device=...)`` waits, this does not.

    Args:
        values: Numbers or truth values, maybe nested.
        device: Where they are wanted.
    """
    return torch.tensor(values).to(device, non_blocking=True)


class Later:
    """A device's numbers for the host, sent off now and asked for later.

    Asking waits until they have come, and not for what was launched after them.

    Args:
        numbers: A small tensor.
    """

    def __init__(self, numbers: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._here = numbers
        if numbers.device.type == "cuda":
            pinned = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            with torch.cuda.device(numbers.device):
                self._here = pinned.copy_(numbers, non_blocking=True)
                self._event = torch.cuda.Event()
                self._event.record()

    def read(self) -> list:
        """The numbers, as lists of Python's."""
        if self._event is not None:
            self._event.synchronize()
        return self._here.tolist()
