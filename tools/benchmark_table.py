"""Benchmarks as a Markdown table: what tools/benchmark.py measured, a row a share of blocks.

python tools/benchmark_table.py docs/benchmarks/*_fp32.json docs/benchmarks/*_bf16.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HEAD = (
    "network", "executed", "eager ms", "fused ms", "compile ms", "on blocks ms", "policy ms",
    "speed-up", "ideal", "of the ideal", "first frame ms", "state MiB", "peak MiB", "dense MiB",
)  # fmt: skip


def lines(name: str, rows: list[dict], dense_mib: float | None) -> list[str]:
    """One line a row; the name stands in the first."""
    made = []
    for row in rows:
        dense = [_number(row["dense_ms"].get(kind)) for kind in ("eager", "fused", "compile")]
        cells = [
            name, f"{100 / row['ideal']:.1f} %", *dense, _number(row["sparse_ms"]),
            f"{row['policy_ms']:.1f}", f"{row['speedup']:.2f}x", f"{row['ideal']:.2f}x",
            f"**{row['frac']:.2f}**", _number(row["first_frame_ms"]), _number(row["state_mb"]),
            _number(row.get("peak_rss_mb")), _number(dense_mib),
        ]  # fmt: skip
        made.append("| " + " | ".join(cells) + " |")
        name, dense_mib = "", None
    return made


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="JSON of tools/benchmark.py")
    args = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for path in args.files:
        try:
            found = json.loads(path.read_text())
            made = lines(path.stem, found["rows"], found.get("dense_peak_rss_mb"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path} is no result of tools/benchmark.py ({error!r})")
        print("\n".join(made))


if __name__ == "__main__":
    main()
