"""BlockCopy against what one would do instead, on a config's test clip, frame by frame in turn.

    python tools/compare_video.py CONFIG CHECKPOINT [--budgets 0.7 0.5 0.3] [--skip 2 3]

CONFIG is a stock (dense) config with a clip as test set. Every frame goes through all variants one
after the other, so that all are timed under the same conditions; each has its own evaluator.
"""

import argparse
import copy
from itertools import product

import torch
from common.arguments import count, count_or_none, one_usage_error, share
from common.comparing import Converted, Dense, Scaled, add_arguments, block_size, compare
from common.models import fused
from mmengine.config import DictAction

import mmdyn
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.policies import build_policy


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--budgets", type=share, nargs="*", default=[0.5, 0.3])
    parser.add_argument("--policies", nargs="*", default=["reinforce"])
    parser.add_argument(
        "--seeds", type=count_or_none, nargs="*", default=[], help="of the policies"
    )
    parser.add_argument("--blockcopy", nargs="*", action=DictAction, default={}, help="KEY=VALUE")
    parser.add_argument(
        "--skip", type=count, nargs="*", default=[2, 3], help="run every k-th frame"
    )
    args = parser.parse_args(argv)
    with one_usage_error(parser):
        for config in configs(args).values():
            build_policy(config.policy)
    return args


def configs(args: argparse.Namespace) -> dict[str, mmdyn.BlockCopyConfig]:
    """The config of each converted variant, by its name."""
    found = {}
    for policy, budget, seed in product(args.policies, args.budgets, args.seeds or [None]):
        name = f"BlockCopy {budget:g}, {policy}" + ("" if seed is None else f", seed {seed}")
        found[name] = mmdyn.BlockCopyConfig(
            budget=budget,
            policy=policy if seed is None else dict(type=policy, seed=seed),
            block_size=block_size(args),
            **{"dense_fallback": False, **args.blockcopy},
        )
    return found


class Skipping(Dense):
    """The network on every k-th frame; between them the last output is kept."""

    def __init__(self, model, every: int) -> None:
        super().__init__(model)
        self.every, self.seen, self.last = every, 0, None

    def prepare(self, data: dict) -> None:
        super().prepare(data)
        self.seen, self.last, self.shares = 0, None, []

    def __call__(self, data: dict):
        run = self.seen % self.every == 0
        self.seen += 1
        self.shares.append(float(run))
        if run:
            self.last = self.model.test_step(data)
            return self.last
        samples = [sample.new() for sample in data["data_samples"]]
        for sample, last in zip(samples, self.last):
            for name in ("pred_sem_seg", "seg_logits", "pred_instances"):
                if name in last:
                    setattr(sample, name, getattr(last, name))
        return samples


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ... 11th, ... 21st."""
    tens, ones = divmod(number % 100, 10)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(ones, "th") if tens != 1 else "th"
    return f"{number}{ending}"


def build_variants(model, args: argparse.Namespace) -> dict[str, Dense]:
    model = to_channels_last(model).eval()
    best = fused(model)
    variants = {"dense": Dense(model), "dense, fused": Dense(best)}
    for every in args.skip:
        variants[f"every {ordinal(every)} frame"] = Skipping(best, every)
    for scale in args.scales:
        variants[f"scale {scale:g}"] = Scaled(fused(model), scale)
    for name, config in configs(args).items():
        converted = copy.deepcopy(model)
        torch.manual_seed(0)
        mmdyn.convert_model(converted, config, trial=False)
        variants[name] = Converted(converted)
    return variants


def main() -> None:
    compare(parse_args(), build_variants)


if __name__ == "__main__":
    main()
