"""DynConv's handler: every residual block of a model gets a gate."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mmdyn.blocks.frame import Site
from mmdyn.conversion.config import DynConvConfig
from mmdyn.conversion.convert import handles
from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, runtime_of
from mmdyn.conversion.dynconv_runtime import DynConvRuntime, gates_of
from mmdyn.conversion.folding import fold_norms
from mmdyn.conversion.gated import GATE, GatedMixin, chain_blocks, gate_block, guard_others
from mmdyn.conversion.gating_report import GatingReport
from mmdyn.conversion.residuals import Found, find_residuals
from mmdyn.conversion.timings import network_key
from mmdyn.gating import Gate


class DynConvMixin(DynamicMixin):
    """A call in training mode adds the sparsity loss to what it returns."""

    method = "DynConv"

    def train(self, mode: bool = True):
        gates = [p for gate in gates_of(self) for p in gate.parameters()]
        learned = [p.requires_grad for p in gates]
        super().train(mode)  # which may freeze whole stages
        blocks = [m for m in self.modules() if isinstance(m, GatedMixin)]
        for block in blocks:
            block._modules[GATE].train(mode)
        mine = {id(p) for p in gates}
        if not _learns(self, mine):  # a network that only runs, or whose gates alone learn
            for p, before in zip(gates, learned):
                p.requires_grad_(before)
            return self
        for block in blocks:
            # Gates of frozen stages learn; one frozen in a stage that learns is so on purpose.
            if not _learns(block, mine):
                block._modules[GATE].requires_grad_(True)
        return self

    def forward(self, *args, **kwargs):
        self.refuse_export()
        runtime = runtime_of(self)
        if not self.training:
            runtime.constants.begin()
            runtime.masks.clear()
            runtime.running = True
            try:
                out = super().forward(*args, **kwargs)
            finally:
                runtime.running = False
            if runtime.config.execution == "auto":
                runtime.choices.call_ended()
            return out
        runtime.begin()
        try:
            out = super().forward(*args, **kwargs)
        except BaseException:
            runtime.abandon()
            raise
        losses = runtime.finish(self)
        if isinstance(out, dict):
            out.update(losses)
        return out


def _learns(module: nn.Module, gates: set[int]) -> bool:
    """Whether a parameter that is no gate's learns."""
    return any(p.requires_grad for p in module.parameters() if id(p) not in gates)


@handles(DynConvConfig)
def convert_to_dynconv(model: nn.Module, config: DynConvConfig) -> None:
    """Gives the model's residual blocks their gates."""
    if any(isinstance(m, GatedMixin) for m in model.modules()):
        raise ValueError(
            "the model is part of a network that has gates; call mmdyn.restore_model on that first"
        )
    runtime = DynConvRuntime(config)
    runtime.choices.network = f"{network_key(model)}, tiles of {config.tile}"
    report = GatingReport(type(model).__name__, "DynConv", 0)
    blocks: list[Found] = []
    for found in find_residuals(model):
        reason = _reason(found, config)
        if reason:
            report.dense.append(Site(found.path, type(found.block).__name__, reason))
        else:
            blocks.append(found)
    refused = [f"{site.path}: {site.reason}" for site in report.dense if site.reason != _SKIPPED]
    if not blocks or (config.strict and refused):
        raise ValueError(
            f"{type(model).__name__}: DynConv needs residual blocks that it knows (ResNet's, "
            "ResNeXt's, inverted residuals); "
            + ("refused: " + "; ".join(refused[:8]) if refused else "found none")
            + ("; strict accepts those that skip names" if refused and blocks else "")
        )
    _check_tiles(config, [found.path for found in blocks])
    for found in blocks:
        gate_block(found.block, found.path, found.branch, _gate_for(found, config), runtime)
        first = found.branch.steps[0].shape
        convs = " ".join(f"{'x'.join(map(str, s.shape.kernel))}" for s in found.branch.steps)
        report.gated[found.path] = (
            f"{type(found.block).mmdyn_host.__name__}, convolutions {convs} on "
            f"{first.in_channels} channels, stride {found.branch.stride[0]}"
        )
    report.modules = len(blocks)
    runtime.report = report
    chain_blocks(model)
    sides = [(found.block, found.branch.shortcut) for found in blocks]
    shortcuts = [block.get_submodule(path) for block, path in sides if path is not None]
    fold_norms(model, [found.block for found in blocks], shortcuts, runtime)
    guard_others(model)
    make_dynamic(model, DynConvMixin, runtime)
    report.model = type(model).__name__


_SKIPPED = "skipped by the configuration"


def _reason(found: Found, config: DynConvConfig) -> str:
    """Why a block stays dense; empty if it does not."""
    if any(part in found.path for part in config.skip):
        return _SKIPPED
    if found.branch is None:
        return found.reason
    stride = found.branch.stride
    if stride[0] != stride[1]:
        return f"its stride {stride} differs by direction"
    parameters = list(found.block.parameters())
    if not config.gate_frozen and not any(p.requires_grad for p in parameters):
        return _SKIPPED
    return ""


def _tile_of(path: str, config: DynConvConfig) -> int:
    """Side of a block's tiles."""
    if not isinstance(config.tile, Mapping):
        return config.tile
    return next(side for part, side in config.tile.items() if part in path)


def _check_tiles(config: DynConvConfig, paths: list[str]) -> None:
    """Raises where sides by parts of paths leave out a block, or fit none."""
    if not isinstance(config.tile, Mapping):
        return
    first = {path: next((part for part in config.tile if part in path), None) for path in paths}
    idle = [part for part in config.tile if part not in first.values()]
    left = [path for path, part in first.items() if part is None]
    if idle or left:
        said = [f"no gated block takes {', '.join(idle)} first"] if idle else []
        said += [f"{', '.join(left[:8])} have no tile"] if left else []
        raise ValueError(
            f"tile={dict(config.tile)}: {'; '.join(said)}; name a part of the path of every gated "
            "block, or leave blocks out with skip"
        )


def _gate_for(found: Found, config: DynConvConfig) -> Gate:
    gate = Gate(
        found.branch.steps[0].shape.in_channels, found.branch.stride[0], config.gate,
        _tile_of(found.path, config), config.norm, config.open_init, config.select == "topk",
    )  # fmt: skip
    like = next(found.block.parameters())
    gate.to(like.device, like.dtype if like.is_floating_point() else None)
    gate.train(found.block.training)
    return gate
