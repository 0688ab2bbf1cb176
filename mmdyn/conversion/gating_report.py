"""What a conversion to DynConv did: the blocks with a gate, and those without and why."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from mmdyn.conversion.report import ConversionReport


@dataclass
class GatingReport(ConversionReport):
    """See `ConversionReport`; `modules` counts the gated blocks, `dense` those that are not.

    Attributes:
        gated: Path of each gated block, and what it is.
    """

    gated: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        out = io.StringIO()
        console = Console(file=out, width=110)
        console.print(f"{self.model}: {self.method}, {self.modules} residual blocks have a gate")
        for path, kind in self.gated.items():
            console.print(f"  {path}: {kind}")
        if self.dense:
            table = Table("stays dense", "block", "because")
            for site in self.dense:
                table.add_row(site.path or "(model)", site.op, site.reason)
            console.print(table)
        return out.getvalue().rstrip()
