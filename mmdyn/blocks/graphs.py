"""CUDA graphs of recorded stretches: what a stretch launches, launched by one call.

A graph works on memory that does not move. What differs from frame to frame is copied in: the
stretch's inputs and the numbers of the executed cells, of which the graph makes its own index
tables. What it hands out is copied out, because the next frame writes over it. There is one graph
for each count of executed blocks, as there is one recording; all share a pool of memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmdyn.blocks.frame import Frame
from mmdyn.blocks.grid import BlockGrid
from mmdyn.blocks.recording import ConstantRef, InputRef, StoreRef, TableRef

logger = logging.getLogger(__name__)


class GraphPool:
    """Captures graphs that are never replayed side by side, so that they can share memory.

    Belongs to one converted model; a copy of the model gets a pool of its own.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def __deepcopy__(self, memo) -> GraphPool:
        return type(self)()

    def __reduce__(self):
        return type(self), ()

    def serves(self, device: torch.device) -> bool:
        """Whether there are graphs on a device."""
        return device.type == "cuda"

    def capture(
        self, device: torch.device, run: Callable[[], tuple]
    ) -> tuple[tuple, Callable[[], None]]:
        """What `run` will give, and what computes it.

        Raises:
            RuntimeError: If `run` does what a graph cannot hold, such as waiting for the device.
        """
        with torch.cuda.device(device):
            if self._handle is None:
                self._handle = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._handle):
                out = run()
        return out, graph.replay


class StretchGraph:
    """A recorded stretch as a graph.

    Args:
        pool: Where it is captured.
        run: The stretch, a function of the values of its sources.
        sources: What the values stand for.
        values: Those of the frame at hand, which has just run.
        frame: That frame.

    Raises:
        RuntimeError: If the stretch cannot be captured.
    """

    def __init__(
        self, pool: GraphPool, run: Callable[..., tuple], sources: list, values: list[Tensor],
        frame: Frame,
    ) -> None:  # fmt: skip
        self._sources = sources
        self._members = {level: cells.clone() for level, cells in frame.grid.members.items()}
        self._inputs = [i for i, source in enumerate(sources) if isinstance(source, InputRef)]
        self._stores = [
            i for i, s in enumerate(sources) if isinstance(s, StoreRef) and frame.memory is not None
        ]
        self._fixed: list = [
            value if i in self._stores or isinstance(source, ConstantRef) else None
            for i, (source, value) in enumerate(zip(sources, values, strict=True))
        ]
        for i in self._inputs:
            self._fixed[i] = _twin(values[i])
        before = [self._fixed[i]._version for i in self._inputs]
        grid = frame.grid.replica(self._members)  # what comes from the host is there already
        self._out, self._replay = pool.capture(
            grid.device, lambda: run(*self._values(frame, grid.replica(self._members)))
        )
        if before != [self._fixed[i]._version for i in self._inputs]:
            raise RuntimeError("it writes into what it is given")
        if any(torch.empty_like(x, device="meta").stride() != x.stride() for x in self._out):
            raise RuntimeError("pixels of its outputs share memory")
        stores = {self._fixed[i].untyped_storage().data_ptr() for i in self._stores}
        self._lasting = [x.untyped_storage().data_ptr() in stores for x in self._out]

    def _values(self, frame: Frame, grid: BlockGrid) -> list[Tensor]:
        """The values in the graph, which makes the tables, and stores that last one frame."""
        values = list(self._fixed)
        for i, source in enumerate(self._sources):
            if isinstance(source, TableRef):
                made = grid.table(source.key)
                values[i] = made[source.part] if isinstance(made, tuple) else made
            elif isinstance(source, StoreRef) and i not in self._stores:
                make = getattr(frame, source.kind)
                values[i] = make(source.key, like=source.like, **source.wanted)
        return values

    def fits(self, values: list[Tensor]) -> bool:
        """Whether the memory is where it was, and inputs lie as they lay."""
        return all(values[i] is self._fixed[i] for i in self._stores) and all(
            values[i].stride() == self._fixed[i].stride() for i in self._inputs
        )

    def run(self, values: list[Tensor], frame: Frame) -> tuple[Tensor, ...]:
        """The outputs for a frame's values, which are the caller's to keep."""
        mine = [*(self._fixed[i] for i in self._inputs), *self._members.values()]
        theirs = [*(values[i] for i in self._inputs), *frame.grid.members.values()]
        pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a.numel()]
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
        self._replay()
        outs = zip(self._out, self._lasting, strict=True)
        return tuple(x.detach() if lasts else x.clone() for x, lasts in outs)


def _twin(tensor: Tensor) -> Tensor:
    """A copy that lies in memory as the tensor does."""
    twin = torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device
    )
    return twin.copy_(tensor)
