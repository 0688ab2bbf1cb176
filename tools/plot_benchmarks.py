"""Draws what tools/benchmark.py measured: time, and share of the ideal, against share executed.

    python tools/plot_benchmarks.py docs/benchmarks/*.json --out docs/benchmarks.png

A file without rows of tools/benchmark.py is passed over.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="JSON files of tools/benchmark.py --json")
    parser.add_argument("--out", required=True, help="picture to write")
    return parser.parse_args(argv)


def read_rows(files: list[str]) -> dict[str, list[dict]]:
    """Rows by network and input size, each list in order of the share executed."""
    found: dict[str, list[dict]] = {}
    for path in sorted(files):
        read = json.loads(Path(path).read_text())
        for row in read if isinstance(read, list) else [read]:
            if (
                isinstance(row, dict)
                and {"sparse_ms", "dense_ms", "active", "config"} <= row.keys()
            ):
                size = "x".join(str(side) for side in row["shape"][-2:])
                name = f"{Path(row['config'].split('::')[-1]).stem}, {size}, {row['dtype']}"
                found.setdefault(name, []).append(row)
    return {name: sorted(rows, key=lambda row: row["active"]) for name, rows in found.items()}


def draw(networks: dict[str, list[dict]], out: str) -> None:
    """Left of each row time, right the share of the ideal."""
    figure, axes = plt.subplots(
        len(networks), 2, figsize=(10, 3.4 * len(networks)), squeeze=False, layout="constrained"
    )
    for (time, share), (name, rows) in zip(axes, networks.items(), strict=True):
        executed = [100 * row["active"] for row in rows]
        best = min(min(row["dense_ms"].values()) for row in rows)
        time.plot(executed, [row["sparse_ms"] for row in rows], "o-", label="BlockCopy")
        time.axhline(best, color="gray", linestyle="--", label="fastest dense baseline")
        time.plot([0, 100], [0, best], color="gray", linestyle=":", label="ideal")
        time.set(title=name, ylabel="ms a frame", ylim=(0, None))
        share.plot(executed, [row["frac"] for row in rows], "o-")
        share.axhline(1.0, color="gray", linestyle=":")
        share.set(title="share of the ideal speed-up", ylim=(0, 1.1))
        for axis in (time, share):
            axis.set(xlabel="% of the blocks executed", xlim=(0, 102))
            axis.grid(alpha=0.3)
        time.legend()
    figure.savefig(out, dpi=110)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    networks = read_rows(args.files)
    if not networks:
        raise SystemExit(f"no rows of tools/benchmark.py in {', '.join(args.files)}")
    draw(networks, args.out)


if __name__ == "__main__":
    main()
