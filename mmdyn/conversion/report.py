"""What a conversion did: shown to the user, asserted by tools."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import torch
from torch import nn

from mmdyn.blocks.frame import Frame, Site


@dataclass
class ConversionReport:
    """What will run on blocks and what on the dense frame.

    Attributes:
        model: Name of the converted class.
        method: What it was converted to.
        modules: Modules watched.
        sparse_mac_share: Share of the trial's multiply-accumulates that ran on blocks, without
            those of RoI heads, whose work is per proposal; None before a frame was seen.
        dense: Places that turn the blocks dense, and why.
        note: Why there was no trial, if there was none.
    """

    model: str
    method: str
    modules: int
    sparse_mac_share: float | None = None
    dense: list[Site] = field(default_factory=list)
    note: str = ""

    def read(self, frame: Frame) -> ConversionReport:
        """Takes over what a frame showed; returns self."""
        self.dense = list(frame.dense_sites.values())
        self.sparse_mac_share = sparse_share(frame) if frame.dense_macs else None
        return self

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        share = self.sparse_mac_share
        title = f"{self.model}: {self.method}, {self.modules} modules watched"
        title += self.note and f"; {self.note}"
        if share is not None:
            title += f"; {share:.1%} of the MACs run on blocks"
        out = io.StringIO()
        console = Console(file=out, width=110)
        console.print(title)
        if self.dense:
            table = Table("runs on the dense frame", "function", "because")
            for site in self.dense:
                table.add_row(site.path or "(model)", site.op, site.reason)
            console.print(table)
        elif share is not None:
            console.print("nothing turns dense before the outputs")
        return out.getvalue().rstrip()


def sparse_share(frame: Frame) -> float:
    """Share of the MACs on blocks in a frame of executed blocks, RoI heads left out."""
    rois = sum(
        macs
        for path, macs in frame.macs.items()
        if path.startswith("roi_head.") and path not in frame.sparse_paths
    )
    return frame.sparse_macs / max(frame.dense_macs - rois, 1.0)


def inspect(model: nn.Module, runtime, trial: bool = True) -> ConversionReport:
    """Runs one frame of noise through a converted model, to see where it turns dense.

    A network that does not take the trial's input is reported without it.
    """
    modules = sum(1 for _ in model.modules()) - 1
    report = ConversionReport(type(model).__name__, type(model).method, modules)
    if not trial:
        return report
    modes = {module: module.training for module in model.modules()}
    gpus = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    try:
        for module in modes:
            module.training = False
        with torch.random.fork_rng(devices=list(gpus)):
            args, kwargs = runtime.host.example(model, runtime.config.blocks_for(256, 256))
            model(*args, **kwargs)
        report.read(runtime.last_frame)
    except Exception as error:  # a trial must not cost the user the conversion
        if runtime.config.strict and isinstance(error, NotImplementedError):
            raise
        said = (str(error).splitlines() or ["no message"])[0]
        report.note = f"no trial frame ({type(error).__name__}: {said[:120]})"
    finally:
        for module, mode in modes.items():
            module.training = mode
        runtime.forget_trial()
    return report
