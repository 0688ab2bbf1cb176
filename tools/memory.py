"""Peak memory of a training step and of a prediction, dense and with SegBlocks.

    python tools/memory.py CONFIG [--shape 512 1024] [--batch 2] [--budgets 0.4 0.2]

CONFIG is a stock segmentor's. Each number comes from a process of its own: what the pass needed
beyond the model that was already there, weights, gradients and optimizer excluded; on a GPU as
torch counts it, on a CPU the growth of the process' resident memory.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch
from common.arguments import check_stock_config, count, output_file, share
from common.models import load_model
from common.peak import WARM, ChildFailed, in_child, peak_of
from common.provenance import save, without_paths
from mmengine.structures import PixelData
from rich.console import Console
from rich.table import Table

import mmdyn
from mmdyn.engine.memory_format import to_channels_last


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a stock mmseg config, a path or mmseg::…")
    parser.add_argument("--shape", type=count, nargs=2, default=[512, 1024], metavar=("H", "W"))
    parser.add_argument("--batch", type=count, default=2, help="images of a training step")
    parser.add_argument("--block-size", type=count, default=128)
    parser.add_argument("--budgets", type=share, nargs="+", default=[0.4, 0.2])
    parser.add_argument("--json", type=output_file, help="file for the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a child process measures
    args = parser.parse_args(argv)
    model = check_stock_config(parser, args.config, {}).model
    if not model.get("decode_head"):
        parser.error(
            f"the model of {args.config}, {model.get('type')}, has no decode_head; this tool "
            "measures segmentors (mmseg's EncoderDecoder and its kin), name a config of one"
        )
    return args


def samples(size: tuple[int, int], count: int, classes: int) -> list:
    """Labelled samples of noise."""
    from mmseg.structures import SegDataSample

    from mmdyn.conversion.hosts.openmmlab import example_metas

    made = []
    for _ in range(count):
        sample = SegDataSample(metainfo=example_metas(size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, *size)))
        made.append(sample)
    return made


def measure(args: argparse.Namespace, budget: float | None, training: bool) -> list[float]:
    """MiB of a pass after others that filled caches, and the most of those after the first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = to_channels_last(load_model(args.config)).to(device).train(training)
    if budget is not None:
        config = mmdyn.SegBlocksConfig(budget=budget, block_size=args.block_size)
        mmdyn.convert_model(model, config, trial=False)
    size, count = (args.shape[0], args.shape[1]), args.batch if training else 1
    image = torch.randn(count, 3, *size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    labelled = [s.to(device) for s in samples(size, count, model.num_classes)]

    def step() -> None:
        if not training:
            with torch.no_grad():
                model(image, labelled, mode="predict")
            return
        losses = model(image, labelled, mode="loss")
        sum(v for k, v in losses.items() if "loss" in k).backward()

    step()
    passes = [peak_of(step, device) for _ in range(2 if training else WARM)]
    needed = [peak - before for before, peak in passes]
    return [needed[-1], max(needed[:-1])]


def show(found: dict) -> None:
    columns = "training MiB", "of dense", "prediction MiB", "of dense", "while recording MiB"
    table, dense = Table("full resolution", *columns), found["rows"][0]
    for row in found["rows"]:
        table.add_row(
            "dense" if row["budget"] is None else f"{row['budget']:.0%}",
            f"{row['train']:.0f}", f"{row['train'] / dense['train']:.2f}",
            f"{row['test']:.0f}", f"{row['test'] / dense['test']:.2f}",
            f"{row['recording']:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    print(
        f"{found['config']}, {found['shape']}, {found['batch']} images a step, "
        f"torch {torch.__version__}"
    )


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    if args.one:
        print(measure(args, *json.loads(args.one)))
        return
    rows: list[dict] = []
    for budget in [None, *args.budgets]:
        try:
            (train, _), (test, recording) = (
                in_child(__file__, [*words, f"--one={json.dumps([budget, training])}"])
                for training in (True, False)
            )
        except ChildFailed as error:
            raise SystemExit(f"tools/memory.py: {error}") from None
        rows.append(dict(budget=budget, train=train, test=test, recording=recording))
    found = dict(
        config=without_paths(args.config), shape=args.shape, batch=args.batch,
        block_size=args.block_size, rows=rows,
    )  # fmt: skip
    show(found)
    if args.json:
        save(args.json, found)


if __name__ == "__main__":
    main()
