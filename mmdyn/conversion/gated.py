"""A residual block with a gate: masked in training, on the open pixels alone in evaluation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from mmdyn.conversion.choice import Choice
from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, make_static, runtime_of
from mmdyn.conversion.fingerprint import hooked_everywhere
from mmdyn.conversion.tracking import DenseBoundary, DenseMethod, guard, take_off
from mmdyn.gating import Branch, Gate, enlarge
from mmdyn.gating.branch import folded, run_masked, sources
from mmdyn.gating.sparse import SparseBranch, add_rows

if TYPE_CHECKING:
    from mmdyn.conversion.dynconv_runtime import DynConvRuntime

logger = logging.getLogger(__name__)

GATE = "dynconv_gate"  # the gate's name in its block: what paramwise_cfg.custom_keys can name

# Activations that leave their own results unchanged.
_IDEMPOTENT = (None, "relu", "hardtanh")


class GatedMixin(DynamicMixin):
    """A block that asks its gate first."""

    method = "Gated"

    def forward(self, x: Tensor) -> Tensor:
        self.refuse_export()
        state: GatedBlock = runtime_of(self)
        if state.owner.all_open:
            return super().forward(x)
        gate = self._modules[GATE]
        learns = torch.is_grad_enabled() and (x.requires_grad or gate.weight.requires_grad)
        if gate.training or learns:
            return state.masked(self, super().forward, x)
        return state.infer(self, x)


class MaskBranch:
    """Forward hook of a branch's last module: multiplies by the block's mask."""

    def __init__(self, state: GatedBlock) -> None:
        self.state = state

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        mask = self.state.mask
        if mask is None:
            return None
        self.state.applied = True
        return output * mask.to(output.dtype)


class WithinSequential:
    """Pre-hook and hook of a Sequential: what a block returns is seen by the next one alone.

    Args:
        pairs: Blocks that may overwrite their input, each after the block that makes it.
        running: Whether the Sequential runs from now on.
    """

    def __init__(self, pairs: list[tuple[nn.Module, nn.Module]], running: bool) -> None:
        self.pairs, self.running = pairs, running

    def __call__(self, module: nn.Module, *ignored) -> None:
        alone = self.running and not hooked_everywhere()
        for maker, block in self.pairs:
            seen = maker._forward_hooks or _shows_its_input(block)
            runtime_of(block).in_place = alone and not seen


def _shows_its_input(block: nn.Module) -> bool:
    """Whether a hook gets a block's input, which it may keep."""
    takers = (block, block._modules[GATE])
    return any(m._forward_pre_hooks or m._forward_hooks for m in takers)


@dataclass
class GatedBlock:
    """What a gated block keeps besides its weights.

    Attributes:
        path: Of the block in the model.
        branch: What the block computes.
        owner: The model's runtime.
        choice: Sparse or dense, as timed.
        mask: Of the call in progress, for the branch's end.
        applied: Whether that end saw it.
        in_place: The input may be overwritten now.
        broken: The gate held no numbers when it was last looked at.
    """

    path: str
    branch: Branch
    owner: DynConvRuntime
    choice: Choice
    mask: Tensor | None = None
    applied: bool = False
    in_place: bool = False
    broken: bool = False

    def masked(self, block: nn.Module, forward, x: Tensor) -> Tensor:
        """The stock forward on the whole map, its branch multiplied by the mask."""
        size = (x.shape[2], x.shape[3])
        gate: Gate = block._modules[GATE]  # type: ignore[assignment]
        logits = gate(x)
        if gate.training:
            tiles = self.owner.decide(gate, logits)
        else:
            tiles = self.opened(gate, logits, size).to(logits.dtype)
        mask = enlarge(tiles, gate.tile, self.branch.sizes(size)[-1])
        self.owner.record(self.path, self.branch.executed(mask, size), gate.macs(size),
                          self.branch.macs(size), mask)  # fmt: skip
        if getattr(block, "with_cp", False) and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(
                self._applied, block, forward, x, mask, use_reentrant=False
            )
        return self._applied(block, forward, x, mask)

    def opened(self, gate: Gate, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, 1, h, w) bool, the tiles that evaluation computes for an input of this size."""
        if self.owner.selection is None:
            return logits >= gate.threshold
        after = self.branch.sizes(size)[-1]

        def executed(tiles: Tensor) -> Tensor:
            return self.branch.executed(enlarge(tiles, gate.tile, after).float(), size)

        return self.owner.selection(
            self.path, logits, gate.macs(size), self.branch.macs(size), executed, gate.part
        )

    def watch(self, block: nn.Module) -> None:
        """Puts the hook on the branch's end; again, where somebody put another module there."""
        hooks = block.get_submodule(self.branch.end)._forward_hooks.values()
        if not any(isinstance(hook, MaskBranch) and hook.state is self for hook in hooks):
            block.get_submodule(self.branch.end).register_forward_hook(MaskBranch(self))

    def _applied(self, block: nn.Module, forward, x: Tensor, mask: Tensor) -> Tensor:
        self.watch(block)
        inner = block.__dict__.get("with_cp")  # ours is the only checkpoint
        self.mask, self.applied = mask, False
        try:
            if inner:
                block.with_cp = False  # type: ignore[assignment]
            out = forward(x)
        finally:
            self.mask = None
            if inner:
                block.with_cp = inner
        if not self.applied:
            raise RuntimeError(
                f"{self.path}: {self.branch.end} did not run, so the gate's mask was lost; convert "
                "the model after its forward was changed, or leave the block out with skip"
            )
        return out

    def infer(self, block: nn.Module, x: Tensor) -> Tensor:
        """Evaluation: only what the mask wants, or all of it where that is faster."""
        gate: Gate = block._modules[GATE]  # type: ignore[assignment]
        # Looked at when the weights change: nothing is asked of the device in between.
        read = tuple(gate._parameters.values())
        self.owner.constants.kept("gate of numbers", read, lambda: self._look_at(gate))
        logits, size = gate(x), (x.shape[2], x.shape[3])
        tiles = self.opened(gate, logits, size)
        if self.owner.keep_masks:
            self.owner.masks[self.path] = enlarge(tiles, gate.tile, self.branch.sizes(size)[-1])
        x = x.contiguous(memory_format=torch.channels_last)
        mode = self.owner.config.execution
        if mode == "auto":
            mode = self.choice.wanted(x, float(tiles.float().mean()))
        if mode == "both":
            return self.choice.measure(
                x, logits, lambda: self._dense(block, x, tiles, gate),
                lambda tried: self._sparse(block, x, tried, gate, in_place=False, counted=False),
            )  # fmt: skip
        if mode == "sparse":
            return self._sparse(block, x, tiles, gate, in_place=self.in_place)
        return self._dense(block, x, tiles, gate)

    def _look_at(self, gate: Gate) -> None:
        """Warns once of a gate that holds no numbers: no logit of NaN reaches a threshold."""
        held = [t for t in (*gate.parameters(), *gate.buffers()) if t.is_floating_point()]
        broken = not all(bool(tensor.isfinite().all()) for tensor in held)
        if broken and not self.broken:
            logger.warning(
                "the gate of %s holds NaN or infinite numbers: what it opens means nothing, and "
                "outputs may be finite all the same; look at the checkpoint", self.path,
            )  # fmt: skip
        self.broken = broken

    def _weights(self, block: nn.Module, dtype: torch.dtype) -> list:
        def cast(pair):
            return tuple(None if t is None else t.detach().to(dtype) for t in pair)

        with torch.no_grad():
            return [cast(folded(block, step)) for step in self.branch.steps]

    def _kept(self, block: nn.Module, kind: str, x: Tensor, make):
        read = tuple(s for step in self.branch.steps for s in sources(block, step))
        return self.owner.constants.kept((kind, x.dtype, x.device), read, make)

    def _dense(self, block: nn.Module, x: Tensor, tiles: Tensor, gate: Gate) -> Tensor:
        def make():
            pairs = self._weights(block, x.dtype)
            return [(w.contiguous(memory_format=torch.channels_last), b) for w, b in pairs]

        size = (x.shape[2], x.shape[3])
        mask = enlarge(tiles, gate.tile, self.branch.sizes(size)[-1]).to(x.dtype)
        wanted = self.branch.executed(mask.float(), size)
        self.owner.count(self.path, wanted, gate.macs(size), self.branch.macs(size), dense=True)
        return run_masked(block, self.branch, self._kept(block, "dense", x, make), x, mask)

    def _sparse(
        self, block: nn.Module, x: Tensor, tiles: Tensor, gate: Gate, in_place: bool, counted=True
    ) -> Tensor:
        run = self._kept(
            block, f"sparse {gate.tile}", x,
            lambda: SparseBranch(self.branch, self._weights(block, x.dtype), gate.tile),
        )  # fmt: skip
        rows = run(x, tiles)
        if counted:
            size = (x.shape[2], x.shape[3])
            wanted = rows.macs_of_images(self.branch.steps, x.shape[0])
            self.owner.count(
                self.path, wanted, gate.macs(size), self.branch.macs(size), dense=False
            )
        return add_rows(block, self.branch, x, rows, in_place)


def gate_block(block: nn.Module, path: str, branch: Branch, gate: Gate, owner) -> None:
    """Gives a block its gate and takes over its forward."""
    state = GatedBlock(path, branch, owner, Choice(owner.choices, path))
    block.add_module(GATE, gate)
    state.watch(block)
    make_dynamic(block, GatedMixin, state)


def chain_blocks(model: nn.Module) -> None:
    """Lets a block overwrite its input where only the gated block before it made that."""
    for module in model.modules():
        if not _is_plain_sequential(module):
            continue
        blocks, pairs = list(module), []
        for before, block in zip(blocks, blocks[1:]):
            if all(isinstance(b, GatedMixin) for b in (before, block)):
                one, other = runtime_of(before).branch, runtime_of(block).branch
                repeats = one.after == other.after and other.after.activation in _IDEMPOTENT
                if other.shortcut is None and repeats:
                    pairs.append((before, block))
        if pairs:
            module.register_forward_pre_hook(WithinSequential(pairs, True))
            module.register_forward_hook(WithinSequential(pairs, False), always_call=True)


def _is_plain_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def guard_others(model: nn.Module) -> None:
    """Gated blocks give channels-last maps, which compiled operators of mmcv do not understand."""
    for module in model.modules():
        if not isinstance(module, GatedMixin):
            guard(module)


def ungate(model: nn.Module) -> None:
    """Takes gates and hooks off again."""
    for module in list(model.modules()):
        take_off(module, (MaskBranch, WithinSequential, DenseBoundary), DenseMethod)
        if isinstance(module, GatedMixin):
            make_static(module)
            del module._modules[GATE]
