"""SegBlocks against what one would do instead, on a config's test images, each through all in turn.

    python tools/compare_segblocks.py CONFIG CHECKPOINT --dense DENSE_CHECKPOINT --block-size 64

CONFIG is a stock (dense) config. CHECKPOINT was trained with SegBlocks, DENSE_CHECKPOINT without.
Without --dense the dense rows run CHECKPOINT's weights, which is not what dense training gives.
"""

import argparse
import copy

from common.arguments import count, one_usage_error, share
from common.comparing import Converted, Dense, Scaled, add_arguments, block_size, compare

import mmdyn
from mmdyn.engine.inference import load_weights
from mmdyn.engine.memory_format import to_channels_last
from mmdyn.policies import build_resolution_policy


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--dense", help="checkpoint of the network trained densely")
    parser.add_argument("--budgets", type=share, nargs="*", default=[0.4, 0.2])
    parser.add_argument(
        "--policies", nargs="*", default=["reinforce", "heuristic", "random"],
        help="each at every budget; all-full and all-half once",
    )  # fmt: skip
    parser.add_argument("--seeds", type=count, default=3, help="of the random policy")
    args = parser.parse_args(argv)
    with one_usage_error(parser):
        for config in configs(args).values():
            build_resolution_policy(config.policy)
    return args


def configs(args: argparse.Namespace) -> dict[str, mmdyn.SegBlocksConfig]:
    """The config of each converted variant, by its name."""
    found: dict[str, mmdyn.SegBlocksConfig] = {}

    def add(name: str, budget: float, policy: str | dict) -> None:
        size = block_size(args)
        found[name] = mmdyn.SegBlocksConfig(budget=budget, policy=policy, block_size=size)

    for policy in args.policies:
        if policy.startswith("all-"):
            add(policy, 1.0, policy)
            continue
        for budget in args.budgets:
            if policy != "random":
                add(f"{policy} {budget:g}", budget, policy)
                continue
            for seed in range(args.seeds):
                add(f"random {budget:g}, seed {seed}", budget, dict(type="random", seed=seed))
    return found


def build_variants(model, args: argparse.Namespace) -> dict[str, Dense]:
    model = to_channels_last(model).eval()
    dense = copy.deepcopy(model)
    if args.dense:
        load_weights(dense, args.dense)
    variants: dict[str, Dense] = {"dense": Dense(dense)}
    for scale in args.scales:
        variants[f"dense at scale {scale:g}"] = Scaled(dense, scale)
    for name, config in configs(args).items():
        converted = copy.deepcopy(model)
        mmdyn.convert_model(converted, config, trial=False)
        # Again, for the policy's own weights, which the stock network has no place for.
        load_weights(converted, args.checkpoint)
        variants[name] = Converted(converted, warm=True)
    return variants


def main() -> None:
    compare(parse_args(), build_variants)


if __name__ == "__main__":
    main()
