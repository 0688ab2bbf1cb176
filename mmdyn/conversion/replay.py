"""Modules whose work on blocks is recorded once and replayed: the speed of a small network.

A network's Python (modules, hooks, rules) costs more than the arithmetic of a few small blocks. A
`Segment` stands in for a module's ``forward``. Once it was called a few times alike (same shapes,
same count of executed blocks), it records the tensor operators of two frames; if both ran the same
ones and a rehearsal gives the same output, later frames run the operators alone.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmdyn.blocks import BlockTensor, Frame, Level, Tracker
from mmdyn.blocks.graphs import GraphPool
from mmdyn.blocks.program import Program, agree
from mmdyn.blocks.recording import Recorder
from mmdyn.conversion.fingerprint import Fingerprint, hooked_everywhere
from mmdyn.conversion.tracking import Enter, Leave, runs_compiled

logger = logging.getLogger(__name__)

_FRAMES_BEFORE = 2  # alike, before the first recording
_RECORDINGS = 4  # until two in a row must be the same
_PROGRAMS = 12  # per module: one for each count of executed blocks
_PLAIN = (int, float, str, bool, type(None))


@dataclass
class _Case:
    """One way in which a segment is called."""

    seen: int = 0
    recordings: int = 0
    last: tuple | None = None  # recording and output layout of the frame before
    program: Program | None = None
    layout: tuple | None = None
    fingerprint: Fingerprint | None = None


class Segment:
    """Stands in for ``module.forward``.

    Args:
        module: Whose forward it is.
        path: Its place.
        replayer: Shared by the whole network.
    """

    def __init__(self, module: nn.Module, path: str, replayer: Replayer) -> None:
        self.module, self.path, self.replayer = module, path, replayer
        self.cases: OrderedDict[tuple, _Case] = OrderedDict()
        self.refused = False

    def __getstate__(self) -> dict:
        return {**vars(self), "cases": OrderedDict()}

    def __call__(self, *args, **kwargs):
        replayer = self.replayer
        frame = replayer.tracker.frame
        here = frame is not None and frame.replays and not replayer.busy
        if not here or self.refused or hooked_everywhere():
            return self.stock(args, kwargs)
        return replayer.call(self, frame, args, kwargs)

    def stock(self, args: tuple, kwargs: dict) -> Any:
        """The module's own forward."""
        return type(self.module).forward(self.module, *args, **kwargs)

    def refuse(self, reason: str) -> None:
        """Leaves the module to its own forward from now on; its children may still be replayed."""
        self.refused = True
        self.cases.clear()
        logger.info("'%s' is not replayed: %s", self.path, reason)


def install(model: nn.Module, tracker: Tracker) -> None:
    """Puts a segment before the forward of every module that has children, the model aside."""
    replayer = Replayer(tracker)
    for path, module in model.named_modules():
        own = type(module).forward is not nn.Module.forward and "forward" not in vars(module)
        if module is model or not own or not any(module.children()) or runs_compiled(module):
            continue
        module.__dict__["forward"] = Segment(module, path, replayer)


def remove(model: nn.Module) -> None:
    """Undoes `install`."""
    for module in model.modules():
        if isinstance(vars(module).get("forward"), Segment):
            del module.__dict__["forward"]


class Replayer:
    """Decides which call of which segment is recorded and which replayed.

    Args:
        tracker: Tells the frame.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.graphs = GraphPool()
        self.busy = False
        self.replayed = 0  # segments, since the conversion

    def call(self, segment: Segment, frame: Frame, args: tuple, kwargs: dict) -> Any:
        """Runs a segment that is in no other."""
        inputs = _Inputs.of(frame, args, kwargs)
        if inputs is None:
            return segment.stock(args, kwargs)
        case = self._case(segment, frame, inputs)
        if case.program is not None:
            assert case.fingerprint is not None
            if case.fingerprint.holds() and case.program.holds(frame):
                self.replayed += 1
                return _rebuild(frame, inputs, case.program.run(frame, inputs.tensors), case.layout)
            segment.cases.clear()
        case.seen += 1
        self.busy = True
        frame.rings.scope = case
        try:
            if case.seen <= _FRAMES_BEFORE or case.program is not None:
                return segment.stock(args, kwargs)
            return self._record(segment, case, frame, inputs)
        finally:
            self.busy, frame.rings.scope = False, None

    def _case(self, segment: Segment, frame: Frame, inputs: _Inputs) -> _Case:
        grid = frame.grid
        device = grid.device.type
        name = f"{segment.path}:forward"
        key = (
            self.tracker.path, inputs.key, tuple(grid.slots), tuple(grid.complete), grid.size,
            grid.block_size, grid.count(Level.FULL), grid.count(Level.HALF), frame.calls(name),
            torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        )  # fmt: skip
        case = segment.cases.pop(key, None) or _Case()
        segment.cases[key] = case
        if len(segment.cases) > _PROGRAMS:
            segment.cases.popitem(last=False)
        return case

    def _record(self, segment: Segment, case: _Case, frame: Frame, inputs: _Inputs) -> Any:
        fingerprint = Fingerprint(segment.module, lambda hook: isinstance(hook, (Enter, Leave)))
        before = [x.clone() for x in inputs.tensors] if case.last else []
        args, kwargs = inputs.arguments()
        recorder = Recorder(frame.grid, inputs.tensors, fingerprint.tensors)
        frame.effects = effects = []
        try:
            with recorder:
                out = segment.stock(args, kwargs)
                layout, tensors = _lay_out(out, inputs)
        finally:
            frame.effects = None
        recording = recorder.finish(tensors)
        reason = recorder.reason or fingerprint.alien or ("its outputs" if layout is None else "")
        if reason or not fingerprint.holds():
            segment.refuse(reason or "its forward sets attributes")
            return out
        out = _rebuild(frame, inputs, tuple(tensors), layout)
        last, case.last = case.last, (recording, layout)
        case.recordings += 1
        if last and last[1] == layout and last[0].same(recording):
            program = Program(recording, effects, self.graphs, segment.path)
            self._rehearse(segment, case, frame, before, tensors, program)
            case.fingerprint = fingerprint
        elif case.recordings == _RECORDINGS:
            segment.refuse("it runs other operators from frame to frame")
        return out

    def _rehearse(self, segment, case, frame, before, tensors, program: Program) -> None:
        wanted = [x.clone() for x in tensors]
        if all(map(agree, program.rehearse(frame, before), wanted)):
            case.program, case.layout = program, case.last[1]
            case.last = None
            return
        for slot in frame.grid.slots if frame.memory else ():
            frame.memory.forget(slot)
        segment.refuse("it computes past torch's operators")


@dataclass
class _Inputs:
    """The arguments of a call that hands over blocks, tensors and plain values only."""

    leaves: list
    spec: Any
    tensors: list[Tensor]
    key: tuple
    twins: list = field(default_factory=list)

    @classmethod
    def of(cls, frame: Frame, args: tuple, kwargs: dict) -> _Inputs | None:
        """None if something else is among them, or no blocks."""
        leaves, spec = tree_flatten((args, kwargs))
        tensors: list[Tensor] = []
        key: list = [spec]
        blocks = False
        for leaf in leaves:
            if isinstance(leaf, BlockTensor):
                if leaf.frame is not frame or leaf.is_tied:
                    return None
                blocks = True
                levels = [level for level in leaf.packed if level is not None]
                for level in levels:
                    frame.flush_readers(level)
                tensors += levels
                made = leaf.made_composite
                tensors += [] if made is None else [made]
                key.append((leaf.block, leaf.dtype, leaf.device, tuple(leaf.shape), made is None))
            elif type(leaf) in (Tensor, nn.Parameter):
                tensors.append(leaf)
                key.append((leaf.shape, leaf.stride(), leaf.dtype, leaf.device))
            elif type(leaf) in _PLAIN:
                key.append((type(leaf), leaf))
            else:
                return None
        return cls(leaves, spec, tensors, tuple(key)) if blocks else None

    def arguments(self) -> tuple[tuple, dict]:
        """The call's arguments; blocks under names of their own, with the composites they had."""
        self.twins = [x.like(x.packed) if isinstance(x, BlockTensor) else x for x in self.leaves]
        for leaf, twin in zip(self.leaves, self.twins):
            made = leaf.made_composite if isinstance(leaf, BlockTensor) else None
            if made is not None:
                twin.remember_composite(made)
        return tree_unflatten(self.twins, self.spec)


def _lay_out(out, inputs: _Inputs) -> tuple[tuple | None, list[Tensor]]:
    """How the outputs are put together of tensors (None if of other things too), and those.

    Composites belong to them: whoever asks for one later must not find it missing here and there
    already in a frame whose modules ran.
    """
    leaves, spec = tree_flatten(out)
    tensors: list[Tensor] = []
    kinds: list = []
    late: list = []
    for i, (leaf, twin) in enumerate(zip(inputs.leaves, inputs.twins)):
        if isinstance(twin, BlockTensor) and twin.made_composite is not leaf.made_composite:
            if twin.made_composite is None or twin.is_tied:
                return None, []
            late.append(i)
            tensors.append(twin.made_composite)
    seen = [id(twin) if isinstance(twin, BlockTensor) else 0 for twin in inputs.twins]
    for leaf in leaves:
        if id(leaf) in seen:
            kinds.append(("known", seen.index(id(leaf))))
            continue
        seen.append(id(leaf) if isinstance(leaf, BlockTensor) else 0)
        if isinstance(leaf, BlockTensor) and not leaf.is_tied:
            levels = [level for level in leaf.packed if level is not None]
            made = leaf.made_composite
            kinds.append(("blocks", leaf.block, len(levels), made is not None))
            tensors += levels if made is None else [*levels, made]
        elif type(leaf) is Tensor:
            kinds.append(("tensor",))
            tensors.append(leaf)
        elif type(leaf) in _PLAIN:
            kinds.append(("plain", leaf))
        else:
            return None, []
    return (spec, kinds, late), tensors


def _rebuild(frame: Frame, inputs: _Inputs, tensors: tuple, layout: tuple) -> Any:
    """The outputs of these tensors, and the composites that the inputs got meanwhile."""
    spec, kinds, late = layout
    left = iter(tensors)
    for i in late:
        inputs.leaves[i].remember_composite(next(left))
    known, leaves = list(inputs.leaves), []
    for kind, *what in kinds:
        if kind == "known":
            leaves.append(known[what[0]])
            continue
        leaf = what[0] if kind == "plain" else next(left)
        if kind == "blocks":
            block, levels, composed = what
            leaf = BlockTensor(frame, (leaf, next(left) if levels == 2 else None), block)
            if composed:
                leaf.remember_composite(next(left))
        known.append(leaf)
        leaves.append(leaf)
    return tree_unflatten(leaves, spec)
