"""Holds converted stock networks to their dense selves: a row per config, random weights.

    python tools/check_hosts.py CONFIG… | --zoo mmdet [--zoo mmseg] [--json F] [--markdown F]

CONFIG is a file or 'mmdet::folder/name.py'. A zoo is one config a folder, the one with the
smallest backbone. Each runs in a process of its own. Ends with 1 if a row fails.

Errors are relative to an output's largest value (of one number: its head's): all blocks executed
against the dense network (fp32, at most 1e-4), all of another image copied against the last output
(at most 1e-6), a random half of the blocks executed against the dense network (1e-4).
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from mmdyn import compat
from mmdyn.conversion.hosts import parity, zoo

STATUSES = {
    "ok": "passes; most MACs run on blocks",
    "dense": "passes; most MACs run on the dense frame, as it says",
    "refused": "conversion refuses the network by name and says what to do",
    "skipped": "the stock network itself does not run here on an image alone",
    "failed": "wrong",
}
OPTIONAL = ("not installed", "lease install", "No module named", "device cpu not found")


@dataclass
class Row:
    """One config's result, as it stands in the JSON file."""

    config: str
    status: str = "failed"
    reason: str = ""
    error_all: float | None = None
    error_none: float | None = None
    error_some: float | None = None
    error_replay: float | None = None
    sparse_mac_share: float | None = None
    dense_ops: list[str] = field(default_factory=list)
    ms: float | None = None


def check(config: str, size: tuple[int, int], block: int) -> Row:
    """Builds, measures and judges one config; never raises.

    A network that does not run at this size is tried at 512 and 640 px and 128 px blocks,
    for which many are made.
    """
    row = Row(config)
    for trial, side in ((size, block), ((512, 512), 128), ((640, 640), 128)):
        try:
            found = parity.measure(_built(config), trial, side)
        except Exception as error:
            row.status = row.status if row.reason else _status_of(error)
            row.reason = row.reason or _first_line(error)
            if _status_of(error) == "failed":
                row.status, row.reason = "failed", _first_line(error)
                traceback.print_exc()
            if isinstance(error, parity.StockFailure) and not _is_missing(error):
                continue
            return row
        for name in vars(row).keys() & vars(found).keys():
            setattr(row, name, getattr(found, name))
        row.reason = "; ".join([*found.faults, found.remark]).strip("; ")
        row.status = "failed" if found.faults else "ok" if row.sparse_mac_share >= 0.5 else "dense"
        return row
    return row


def _built(config: str):
    try:
        return zoo.build(config)
    except (FileNotFoundError, zoo.Unsupported):
        raise
    except Exception as error:
        raise Unbuilt(f"{type(error).__name__}: {error}") from error


class Unbuilt(RuntimeError):
    """The stock package cannot build the config here."""


def _is_missing(error: Exception) -> bool:
    return any(word in str(error) for word in OPTIONAL)


def _status_of(error: Exception) -> str:
    if isinstance(error, zoo.Unsupported):
        return "refused"
    return "skipped" if isinstance(error, (Unbuilt, parity.StockFailure)) else "failed"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _child(pipe, log: str, *args) -> None:
    with open(log, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        pipe.send(asdict(check(*args)))


@cache
def _context():
    """Children of a server that has imported much and computed nothing: quick, and no lock or
    thread pool of this process is inherited half used."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mmdyn.conversion.hosts.parity", "mmdet.models", "mmseg.models"]
    )
    return context


def check_apart(config: str, size: tuple[int, int], block: int, timeout: float) -> Row:
    """`check` in a process of its own: neither a crash nor a hang ends the run."""
    context = _context()
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(theirs, log, config, size, block))
        process.start()
        theirs.close()
        found = None
        try:
            if ours.poll(timeout):
                found = ours.recv()
            reason = f"no result within {timeout:.0f} s"
        except EOFError:
            process.join()
            reason = f"the process died (exit code {process.exitcode})"
        process.kill()
        process.join()
        if found is None:
            return Row(config, reason=reason)
        if found["status"] == "failed" and found["error_all"] is None:
            sys.stderr.write("".join(Path(log).read_text().splitlines(keepends=True)[-8:]))
        return Row(**found)


def _numbers(row: Row) -> list[str]:
    """The four errors, the share of MACs and the time, as both tables show them."""
    errors = [
        "" if error is None else f"{error:.1e}" if error else "0"
        for error in (row.error_all, row.error_none, row.error_some, row.error_replay)
    ]
    share = "" if row.sparse_mac_share is None else f"{row.sparse_mac_share:.0%}"
    return [*errors, share, "" if row.ms is None else f"{row.ms:.0f}"]


def line(row: Row) -> str:
    """A row of the printed table."""
    numbers = [f"{n:>{width}s}" for n, width in zip(_numbers(row), (8, 8, 8, 8, 5, 7))]
    notes = [row.reason] if row.reason else []
    notes += [f"dense: {op}" for op in row.dense_ops]
    head = f"{row.status:8s} {row.config:66s} {' '.join(numbers)}"
    return "\n".join([head, *(f"           {note}" for note in notes)])


HEAD = f"{'status':8s} {'config':66s} " + "     all     none     some   replay  MACs      ms"


def markdown(rows: list[Row], command: str) -> str:
    """The committed table: command, versions, date, machine, then a line per config."""
    return "\n".join([*_preamble(rows, command), *_table(rows), ""])


def _versions() -> str:
    names = ["torch", "onedl-mmengine", "mmengine", "onedl-mmcv", "mmcv", "onedl-mmdetection"]
    names += ["mmdet", "onedl-mmsegmentation", "mmsegmentation", "onedl-mmpretrain", "mmpretrain"]
    installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return ", ".join(f"{n} {installed[n]}" for n in names if n in installed)


def _preamble(rows: list[Row], command: str) -> list[str]:
    counts = ", ".join(f"{sum(r.status == s for r in rows)} {s}" for s in STATUSES)
    cores = os.cpu_count()
    return [
        "# Which stock networks run on blocks\n",
        "Written by the tool over one config of each family of both zoos:",
        "",
        f"    {command}",
        "",
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {_versions()},",
        f"{cores}-core CPU ({platform.machine()}) shared with other work: `ms` says what is slow, "
        "not how fast mmdyn is.",
        "",
        "Weights are random; batch norms have random statistics; constant parameters get noise, "
        "so that no scale of zero hides its branch. Errors are relative to the largest value of an "
        "output (of one number: its head's), over backbone, neck, dense heads and the outputs of "
        "`mode='tensor'`. What top-k, NMS and masked attention pick is not continuous: it is kept "
        "from the first frame, and RoI heads get the same proposals.",
        "",
        "- **all**: all blocks executed against the dense network; passes up to 1e-4 in fp32. "
        "Where a row fails, it says what the stock network makes of a last bit of its pixels.",
        "- **none**: another image, all blocks copied, against the last output; passes up to 1e-6.",
        "- **some**: the same image again, a random half of the blocks executed, against the dense "
        "network; passes up to 1e-4. **replay**: so again after frames of other images there, the "
        "modules replayed where they can be.",
        "- **MACs**: share of the multiply-accumulates of convolutions and linear layers that ran "
        "on blocks; RoI heads, whose work is per proposal and not per pixel, are left out. It "
        "depends on the size where a head resizes to a fixed grid (SOLO, SOLOv2: 40x40): blocks "
        "that do not become whole pixels there leave the head dense.",
        "",
        *(f"- `{name}`: {text}" for name, text in STATUSES.items()),
        f"\n{len(rows)} configs: {counts}.\n",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(rows: list[Row]) -> list[str]:
    lines = ["| config | status | all | none | some | replay | MACs | ms | dense, and why |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|---|")
    for row in rows:
        notes = [row.reason] if row.reason else []
        notes += row.dense_ops[:4]
        if len(row.dense_ops) > 4:
            notes.append(f"{len(row.dense_ops) - 4} more kinds")
        cells = [row.config, row.status, *_numbers(row), _cell("; ".join(notes))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", metavar="CONFIG")
    parser.add_argument("--zoo", action="append", choices=zoo.PACKAGES, default=[])
    parser.add_argument(
        "--size", type=int, nargs="+", default=[256, 256], help="image height [and width], px"
    )
    parser.add_argument("--block-size", type=int, default=64, help="image px, divides the size")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one config")
    parser.add_argument("--json", help="write the rows here, after each config")
    parser.add_argument("--markdown", help="write the table here")
    parser.add_argument(
        "--read", action="append", default=[], metavar="JSON",
        help="rows of earlier runs: their configs are not run again",
    )  # fmt: skip
    args = parser.parse_args()
    args.size = tuple(args.size * 2 if len(args.size) == 1 else args.size)
    if len(args.size) != 2 or any(side % args.block_size for side in args.size):
        parser.error(f"--size {args.size} must be one or two multiples of {args.block_size}")
    if not (args.configs or args.zoo or args.read):
        parser.error("name configs, or a zoo with --zoo")
    return args


def main() -> int:
    args = parse_args()
    warnings.filterwarnings("ignore")
    compat.prepare()
    rows = {r["config"]: Row(**r) for f in args.read for r in json.loads(Path(f).read_text())}
    names = [
        *args.configs,
        *(name for package in args.zoo for name in zoo.representatives(package)),
    ]
    zoo.preload(names)
    print(HEAD, flush=True)
    for name in names:
        if name in rows:
            continue
        rows[name] = check_apart(name, args.size, args.block_size, args.timeout)
        print(line(rows[name]), flush=True)
        if args.json:
            Path(args.json).write_text(json.dumps([asdict(r) for r in rows.values()], indent=1))
    done = sorted(rows.values(), key=lambda row: row.config)
    print(", ".join(f"{sum(r.status == s for r in done)} {s}" for s in STATUSES))
    if args.markdown:
        Path(args.markdown).parent.mkdir(parents=True, exist_ok=True)
        words = ["python tools/check_hosts.py", *(f"--zoo {z}" for z in zoo.PACKAGES)]
        words += [f"--size {' '.join(map(str, args.size))}", f"--block-size {args.block_size}"]
        text = markdown(done, " ".join([*words, f"--markdown {args.markdown}"]))
        Path(args.markdown).write_text(text)
    return int(any(row.status == "failed" for row in done))


if __name__ == "__main__":
    sys.exit(main())
