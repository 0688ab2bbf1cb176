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

METHODS = dict(blockcopy="BlockCopy", segblocks="SegBlocks")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="JSON files of tools/benchmark.py --json")
    parser.add_argument("--out", required=True, help="picture to write")
    return parser.parse_args(argv)


def read_rows(files: list[str]) -> dict[str, list[dict]]:
    """Rows by what was measured on what, each list in order of the share executed."""
    found: dict[str, list[dict]] = {}
    for path in sorted(files):
        read = json.loads(Path(path).read_text())
        for row in read if isinstance(read, list) else [read]:
            if (
                isinstance(row, dict)
                and {"sparse_ms", "dense_ms", "active", "config"} <= row.keys()
            ):
                found.setdefault(title_of(row), []).append(row)
    return {name: sorted(rows, key=lambda row: row["active"]) for name, rows in found.items()}


def title_of(row: dict) -> str:
    """All that two rows of one line have in common; in two lines, to stand above a picture."""
    network = Path(row["config"].split("::")[-1]).stem
    size = "x".join(str(side) for side in row["shape"][-2:])
    images, block = row["shape"][0], row.get("block_size")
    blocks = "x".join(map(str, block)) if isinstance(block, list) else block
    how = [
        method_of(row), f"blocks {blocks}", f"{images} image{'s' * (images > 1)}",
        row.get("device", "cpu"), f"{row.get('threads', '?')} threads",
    ]  # fmt: skip
    return f"{network}, {size}, {row['dtype']}\n{', '.join(how)}"


def method_of(row: dict) -> str:
    """Its name; rows from before there were two are BlockCopy's."""
    method = row.get("method", "blockcopy")
    return METHODS.get(method, method)


def draw(networks: dict[str, list[dict]], out: str) -> None:
    """Left of each row time, right the share of the ideal."""
    figure, axes = plt.subplots(
        len(networks), 2, figsize=(10, 3.4 * len(networks)), squeeze=False, layout="constrained"
    )
    for (time, share), (name, rows) in zip(axes, networks.items(), strict=True):
        executed = [100 * row["active"] for row in rows]
        best = min(min(row["dense_ms"].values()) for row in rows)
        time.plot(executed, [row["sparse_ms"] for row in rows], "o-", label=method_of(rows[0]))
        time.axhline(best, color="gray", linestyle="--", label="fastest dense baseline")
        time.plot([0, 100], [0, best], color="gray", linestyle=":", label="ideal")
        time.set_title(name, fontsize=10)
        time.set(ylabel="ms a frame", ylim=(0, None))
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
