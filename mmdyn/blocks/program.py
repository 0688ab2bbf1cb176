"""A recorded stretch of a network, run again on another frame without the modules' Python."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, fx, nn

from mmdyn.blocks.frame import Frame
from mmdyn.blocks.graphs import GraphPool, StretchGraph
from mmdyn.blocks.recording import ConstantRef, InputRef, Recording, StoreRef, TableRef

logger = logging.getLogger(__name__)

_GRAPHS = 4  # of one stretch, whose memory moved each time, until it does without
_UNSET = {
    torch.ops.aten.empty.memory_format, torch.ops.aten.new_empty.default,
    torch.ops.aten.empty_strided.default, torch.ops.aten.new_empty_strided.default,
    torch.ops.aten.empty_like.default, torch.ops.aten.empty_permuted.default,
}  # fmt: skip


class Program:
    """The operators of a stretch, compiled into one function.

    Args:
        recording: What ran, its outputs set in the graph.
        effects: What the frame counted meanwhile.
        pool: Where graphs are captured on devices that have them.
        path: The stretch's place, for messages.
    """

    def __init__(
        self,
        recording: Recording,
        effects: list[tuple[str, tuple]],
        pool: GraphPool | None = None,
        path: str = "",
    ) -> None:
        recording.graph.eliminate_dead_code()
        self._module = fx.GraphModule(nn.Module(), recording.graph)
        self._sources = recording.sources
        self._kept = recording.kept
        self._effects = effects
        self._pool, self._path = pool, path
        self._graph: StretchGraph | None = None
        self._graphs_left = _GRAPHS

    def holds(self, frame: Frame) -> bool:
        """Whether the weights and the memory's sizes are as they were when it was recorded."""
        if not all(entry.fresh() for entry in self._kept):
            return False
        if frame.memory is None:
            return True
        stores = (s for s in self._sources if isinstance(s, StoreRef))
        return all(_shape(frame.kept(s.key)) == s.shape for s in stores)

    def run(self, frame: Frame, inputs: list[Tensor]) -> tuple:
        """The outputs, in the recorded order.

        Args:
            frame: Its grid has the recorded counts of blocks; its memory is read and written.
            inputs: Tensors of the recorded shapes.

        Raises:
            StaleMemoryError: If the memory is not of the frame before.
        """
        values = [self._value(source, frame, inputs, touch=True) for source in self._sources]
        frame.repeat(self._effects)
        with torch.autocast(frame.grid.device.type, enabled=False):  # its casts are recorded
            if self._graph is not None and self._graph.fits(values):
                return self._graph.run(values, frame)
            out = self._module.forward(*values)
            self._graph = self._captured(values, frame, out)
            return out

    def _captured(self, values: list[Tensor], frame: Frame, out: tuple) -> StretchGraph | None:
        """A graph that gives what was just computed, if there is one."""
        if self._pool is None or not self._graphs_left or not self._pool.serves(frame.grid.device):
            return None
        self._graphs_left -= 1
        try:
            run = self._module.forward
            graph = StretchGraph(self._pool, run, self._sources, values, frame)
            if all(map(agree, graph.run(values, frame), out)):
                return graph
            reason: object = "its results differ"
        except Exception as error:  # whatever a driver says: the operators give the result too
            reason = error
        self._graphs_left = 0
        logger.info("'%s' runs operator by operator, without a graph: %s", self._path, reason)
        return None

    def rehearse(self, frame: Frame, inputs: list[Tensor]) -> tuple:
        """`run` on the frame that was just recorded, with NaN where memory is not initialised:
        shows what was computed past the operators, by compiled code or in NumPy."""
        values = [self._value(source, frame, inputs, touch=False) for source in self._sources]
        return _Rehearsal(self._module).run(*values)

    def _value(self, source, frame: Frame, inputs: list[Tensor], touch: bool) -> Tensor:
        if isinstance(source, ConstantRef):
            return source.tensor
        if isinstance(source, InputRef):
            return inputs[source.index]
        if isinstance(source, TableRef):
            made = frame.grid.table(source.key)
            return made[source.part] if isinstance(made, tuple) else made
        if touch or frame.memory is None:
            store = getattr(frame, source.kind)(source.key, like=source.like, **source.wanted)
            if not touch and store.is_floating_point():
                store[source.kind == "rows" :] = float("nan")  # row 0 is the fill
            return store
        kept = frame.kept(source.key)
        assert kept is not None, source.key
        return kept


def agree(got: Tensor, wanted: Tensor) -> bool:
    """Whether two runs of the same operators gave the same, to rounding."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    if not got.is_floating_point():
        return bool(torch.equal(got, wanted))
    scale = float(wanted.abs().nan_to_num().amax()) if wanted.numel() else 0.0
    close = torch.isclose(got, wanted, rtol=1e-4, atol=1e-5 * scale + 1e-30, equal_nan=True)
    return bool(close.all())


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


class _Rehearsal(fx.Interpreter):
    def call_function(self, target, args, kwargs):
        out = super().call_function(target, args, kwargs)
        if target in _UNSET and out.is_floating_point():
            out.fill_(float("nan"))
        return out
