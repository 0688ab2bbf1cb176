"""Draws what was measured: time, share of the ideal and memory against the share executed.

    python tools/plot_benchmarks.py docs/benchmarks/*.json --out docs/benchmarks.png
    python tools/plot_benchmarks.py docs/benchmarks/*.json --out docs/layers.png --layers

With --layers it draws the share of the ideal of each part of a network, which
tools/benchmark_layers.py measured. Files of other tools are passed over.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MEMORY = dict(peak_rss_mb="peak of the process", state_mb="kept from frame to frame")
_BAR = 1.5  # largest share of the ideal that is drawn for a part
METHODS = dict(blockcopy="BlockCopy", segblocks="SegBlocks")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="JSON files that the benchmarks wrote")
    parser.add_argument("--out", required=True, help="picture to write")
    parser.add_argument("--layers", action="store_true", help="draw parts of networks")
    return parser.parse_args(argv)


def read_rows(files: list[str]) -> dict[str, list[dict]]:
    """Rows by what was measured on what, each list in order of the share executed."""
    found: dict[str, list[dict]] = {}
    for path in sorted(files):
        for row in rows_of(json.loads(Path(path).read_text())):
            if (
                isinstance(row, dict)
                and {"sparse_ms", "dense_ms", "active", "config"} <= row.keys()
            ):
                found.setdefault(title_of(row), []).append(row)
    return {name: sorted(rows, key=lambda row: row["active"]) for name, rows in found.items()}


def rows_of(read: list | dict) -> list:
    """A file's rows; those from before there was a provenance are a list, or one row alone."""
    if isinstance(read, list):
        return read
    return read.get("rows", [read])


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
    """In each row time, the share of the ideal, and memory."""
    figure, axes = plt.subplots(
        len(networks), 3, figsize=(14, 3.4 * len(networks)), squeeze=False, layout="constrained"
    )
    for (time, share, memory), (name, rows) in zip(axes, networks.items(), strict=True):
        executed = [100 * row["active"] for row in rows]
        best = min(min(row["dense_ms"].values()) for row in rows)
        time.plot(executed, [row["sparse_ms"] for row in rows], "o-", label=method_of(rows[0]))
        time.axhline(best, color="gray", linestyle="--", label="fastest dense baseline")
        time.plot([0, 100], [0, best], color="gray", linestyle=":", label="ideal")
        time.set_title(name, fontsize=10)
        time.set(ylabel="ms a frame", ylim=(0, None))
        share.plot(executed, [row["frac"] for row in rows], "o-")
        share.axhline(1.0, color="gray", linestyle=":")
        highest = max(row["frac"] for row in rows)
        share.set(title="share of the ideal speed-up", ylim=(0, max(1.1, 1.05 * highest)))
        for key, label in MEMORY.items():
            memory.plot(executed, [row.get(key) for row in rows], "o-", label=label)
        memory.set(title="memory, MiB", ylim=(0, None))
        for axis in (time, share, memory):
            axis.set(xlabel="% of the arithmetic executed", xlim=(0, 102))
            axis.grid(alpha=0.3)
        time.legend()
        memory.legend()
    figure.savefig(out, dpi=110)


def read_parts(files: list[str]) -> dict[str, list[dict]]:
    """Parts with an ideal, by what was measured."""
    found = {}
    for path in sorted(files):
        read = json.loads(Path(path).read_text())
        if isinstance(read, dict) and "parts" in read:
            network = Path(read["config"].split("::")[-1]).stem
            size = "x".join(map(str, read["shape"]))
            name = f"{network}, {size}, {method_of(read)} {read['active']:.0%}"
            found[name] = [part for part in read["parts"] if part["frac"] is not None]
    return found


def draw_parts(networks: dict[str, list[dict]], out: str) -> None:
    """A bar for each part: the share of its ideal, and what it takes."""
    heights = [0.26 * len(rows) + 1.0 for rows in networks.values()]
    figure, axes = plt.subplots(
        len(networks), 1, figsize=(9, sum(heights)), squeeze=False, layout="constrained",
        height_ratios=heights,
    )  # fmt: skip
    for (axis,), (name, rows) in zip(axes, networks.items(), strict=True):
        labels = [
            f"{row['part']} ({row['sparse_ms']:.0f} of {row['dense_ms']:.0f} ms)" for row in rows
        ]
        axis.barh(labels, [row["frac"] for row in rows])
        axis.set_xlim(0, _BAR)  # parts that leave their work to the next one are far beyond
        axis.axvline(1.0, color="gray", linestyle=":")
        axis.invert_yaxis()
        axis.tick_params(axis="y", labelsize=8)
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="share of the ideal speed-up")
    figure.savefig(out, dpi=110)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    tool = "tools/benchmark_layers.py" if args.layers else "tools/benchmark.py"
    found = (read_parts if args.layers else read_rows)(args.files)
    if not found:
        raise SystemExit(f"no rows of {tool} in {', '.join(args.files)}")
    (draw_parts if args.layers else draw)(found, args.out)


if __name__ == "__main__":
    main()
