"""Records which tensor operations a stretch of a network ran on its packed blocks.

A `Recorder` sees every operator below the rules. It writes an ``fx.Graph`` in which each tensor is
named by where it comes from: an input, an index table of the grid, a store of the memory, a
constant, or an operator before it. What cannot be named, or depends on pixel values, is refused.
"""

from __future__ import annotations

import operator
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_REFUSED_TAGS = {
    torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
}  # fmt: skip
_INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}
_LIFTED = {torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default}

_local = threading.local()


class NotRecordable(RuntimeError):
    """The stretch does something that a list of operators cannot repeat."""


@dataclass(frozen=True)
class TableRef:
    """An index table of the frame's grid: the key of its plan and the place in what it holds."""

    key: tuple
    part: int


@dataclass
class StoreRef:
    """A tensor of the memory, and how a rule asked for it."""

    kind: str  # the method of `Frame`: 'rows' or 'maps'
    key: str
    wanted: dict  # its keyword arguments
    like: Tensor  # of the store's type and device, empty
    shape: torch.Size

    def __eq__(self, other: object) -> bool:
        mine = (self.kind, self.key, self.wanted, self.shape, self.like.dtype, self.like.device)
        return isinstance(other, StoreRef) and mine == (
            other.kind, other.key, other.wanted, other.shape, other.like.dtype, other.like.device
        )  # fmt: skip


@dataclass(frozen=True)
class InputRef:
    """A tensor that is handed to the stretch."""

    index: int


@dataclass
class ConstantRef:
    """A tensor that is the same in every frame, or whose place is: weights, fixed tables."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConstantRef):
            return False
        a, b = self.tensor, other.tensor
        kind = _kind(a)
        return a is b or (kind is not None and kind == _kind(b) and bool(torch.equal(a, b)))


def _kind(x: Tensor) -> tuple | None:
    """What two tensors must share to be compared; None for packed ones, which cannot be."""
    return (x.shape, x.dtype, x.device) if x.layout == torch.strided else None


Source = TableRef | StoreRef | InputRef | ConstantRef


def fixed(tensor: Tensor) -> Tensor:
    """Marks a tensor that depends on geometry alone: a constant wherever it is met."""
    tensor.mmdyn_fixed = True  # type: ignore[attr-defined]
    return tensor


def recorder() -> Recorder | None:
    """The recorder at work in this thread, unless paused."""
    return getattr(_local, "recorder", None)


@contextmanager
def unrecorded():
    """What runs inside makes constants, tables or stores: their makers name the results."""
    active = recorder()
    if active is None:
        yield
        return
    _local.recorder = None
    active.paused = True
    try:
        yield
    finally:
        active.paused = False
        _local.recorder = active


@dataclass
class Recording:
    """A graph and what its placeholders stand for, in their order."""

    graph: fx.Graph
    sources: list[Source] = field(default_factory=list)
    kept: list = field(default_factory=list)  # entries of `Constants` that were used

    def same(self, other: Recording) -> bool:
        """Whether two frames ran the same operators on the same things."""
        return self.sources == other.sources and _steps(self.graph) == _steps(other.graph)


def _steps(graph: fx.Graph) -> list[tuple]:
    number = {node: i for i, node in enumerate(graph.nodes)}

    def plain(value):
        return fx.node.map_arg(value, lambda node: f"%{number[node]}")

    return [
        (node.op, node.target if node.op != "placeholder" else "", repr(plain(node.args)),
         repr(plain(node.kwargs)))
        for node in graph.nodes
    ]  # fmt: skip


class Recorder(TorchDispatchMode):
    """See the module.

    Args:
        grid: The frame's grid, whose tables are recognised.
        inputs: Tensors handed to the stretch.
        constants: Tensors by id that never move: parameters, buffers, attributes of modules.
    """

    def __init__(self, grid, inputs: list[Tensor], constants: dict[int, Tensor]) -> None:
        super().__init__()
        self.grid = grid
        self.recording = Recording(fx.Graph())
        self.paused = False
        self.reason = ""  # why the stretch cannot be repeated; empty if it can
        self._constants = dict(constants)
        self._nodes: dict[int, fx.Node] = {}
        self._held: list[Any] = list(inputs)  # so that no id is used twice
        self._named: dict[int, Source] = {id(x): InputRef(i) for i, x in enumerate(inputs)}
        self._last: fx.Node | None = None
        for tensor in inputs:
            self.node_of(tensor)

    def __enter__(self):
        _local.recorder = self
        return super().__enter__()

    def __exit__(self, *args):
        _local.recorder = None
        return super().__exit__(*args)

    def note_store(self, data: Tensor, kind: str, key: str, wanted: dict) -> None:
        """A rule got `data` from the memory."""
        with unrecorded():
            like = data.new_empty(0)
        self._held.append(data)
        self._named[id(data)] = StoreRef(kind, key, wanted, like, data.shape)

    def note_kept(self, entry) -> None:
        """A rule got what is made of weights: a constant as long as they are."""
        for source in entry.sources:
            if id(source()) not in self._constants:
                self.reason = self.reason or "weights that are computed for every frame"
        self.recording.kept.append(entry)
        self.note_constants(entry.made)

    def note_constants(self, made: object) -> None:
        """Tensors in `made`, nested in tuples or attributes of objects, are constants."""
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._held.append(leaf)
                self._constants[id(leaf)] = leaf
            elif hasattr(leaf, "__dict__"):
                self.note_constants(tuple(vars(leaf).values()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        fresh = args[0].clone() if func in _LIFTED else None
        out = func(*args, **kwargs)
        if not self.paused and not self.reason:
            try:
                self._record(func, args, kwargs, out, fresh)
            except NotRecordable as error:
                self.reason = str(error)
        return out

    def _record(self, func, args, kwargs, out, fresh: Tensor | None) -> None:
        if func in _INDEXED:
            if any(_is_mask(x) for x in args[1]):
                raise NotRecordable("indexing by a mask")
        elif _REFUSED_TAGS.intersection(func.tags):
            raise NotRecordable(f"{func} depends on pixel values or chance")
        for given in _written(func, args):
            if isinstance(given, Tensor) and id(given) in self._constants:
                raise NotRecordable("a buffer or weight that it writes")
        if fresh is not None:  # a tensor made of Python numbers
            self._nodes[id(args[0])] = self._placeholder(ConstantRef(fresh))
        nodes = tree_map_only(Tensor, self.node_of, (list(args), dict(kwargs)))
        self._note_result(out, self.recording.graph.call_function(func, tuple(nodes[0]), nodes[1]))
        self._held.append((args, kwargs, out))

    def _note_result(self, out, node: fx.Node) -> None:
        if isinstance(out, Tensor):
            self._nodes[id(out)] = node
        elif isinstance(out, (tuple, list)):
            for i, part in enumerate(out):
                if isinstance(part, Tensor):
                    call = self.recording.graph.call_function(operator.getitem, (node, i))
                    self._nodes[id(part)] = call

    def finish(self, outputs: list[Tensor]) -> Recording:
        """Ends the graph with its outputs; only of use while there is no `reason`."""
        if not self.reason:
            try:
                self.recording.graph.output(tuple(self.node_of(x) for x in outputs))
            except NotRecordable as error:
                self.reason = str(error)
        self._held.clear()
        return self.recording

    def node_of(self, tensor: Tensor) -> fx.Node:
        """The graph's name of a tensor.

        Raises:
            NotRecordable: If it comes from elsewhere.
        """
        node = self._nodes.get(id(tensor))
        if node is None:
            node = self._nodes[id(tensor)] = self._placeholder(self._source_of(tensor))
            self._held.append(tensor)
        return node

    def _placeholder(self, source: Source) -> fx.Node:
        graph, count = self.recording.graph, len(self.recording.sources)
        with graph.inserting_after(self._last):
            self._last = graph.placeholder(f"x{count}")
        self.recording.sources.append(source)
        return self._last

    def _source_of(self, tensor: Tensor) -> Source:
        named = self._named.get(id(tensor))
        if named is not None:
            return named
        if id(tensor) in self._constants or getattr(tensor, "mmdyn_fixed", False):
            return ConstantRef(tensor)
        for key, made in self.grid.tables():
            for part, table in enumerate(made if isinstance(made, tuple) else (made,)):
                if table is tensor:
                    return TableRef(key, part)
        raise NotRecordable(f"a tensor {tuple(tensor.shape)} made elsewhere")


def _written(func, args: tuple) -> list:
    """Arguments that an operator writes, running averages among them, of which no schema tells."""
    given = {formal.name: (formal, value) for formal, value in zip(func._schema.arguments, args)}
    written = [v for f, v in given.values() if f.alias_info is not None and f.alias_info.is_write]
    if "running_mean" in given and given.get("training", (None, False))[1] is True:
        written.append(given["running_mean"][1])
    return written


def _is_mask(x: object) -> bool:
    return isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)
