"""The log-average miss rate of a COCO-style detection file, as CityPersons' evaluation gives it.

    python tools/eval_miss_rate.py val_gt.json detections.json [--subsets Reasonable Heavy]

Annotations: COCO-style json (``bbox``, ``vis_ratio`` or ``vis_bbox``, ``height``, ``ignore``) or
CityPersons' anno_val.mat. Detections: a list of ``image_id``, ``category_id``, ``bbox`` (x, y,
width, height) and ``score``.
"""

from __future__ import annotations

import argparse
import json
import sys

from mmdyn.metrics.miss_rate import check_limits, chosen_subsets, evaluate, load_truths
from mmdyn.metrics.miss_rate_curve import FPPI, SUBSETS, MissRate
from mmdyn.metrics.miss_rate_files import read_found, read_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", help="COCO-style json, or CityPersons' .mat")
    parser.add_argument("detections", help="json with a list of detections")
    parser.add_argument(
        "--subsets", nargs="+", default=list(SUBSETS), metavar="NAME",
        help=f"of {', '.join(SUBSETS)} (all)",
    )  # fmt: skip
    parser.add_argument("--category", help="name of the category (the one with id 1)")
    parser.add_argument("--max-dets", type=int, default=1000, help="detections an image (1000)")
    parser.add_argument("--iou", type=float, default=0.5, help="least overlap of a hit (0.5)")
    parser.add_argument("--curve", action="store_true", help="print the nine points too")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args()


def table(results: dict[str, MissRate], curve: bool) -> str:
    """Rows of percentages."""
    lines = [f"{'subset':12s} {'MR^-2 %':>9s} {'people':>8s} {'counted':>8s}"]
    if curve:
        lines[0] += "  missed % at FPPI " + " ".join(f"{x:6.4f}" for x in FPPI)
    for name, result in results.items():
        value = f"{100 * result.value:9.4f}" if result.people else f"{'nobody':>9s}"
        line = f"{name:12s} {value} {result.people:8d} {result.detections:8d}"
        if curve:
            line += " " * 19 + " ".join(f"{100 * x:6.2f}" for x in result.missed)
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    args = parse_args()
    try:
        check_limits(args.max_dets, args.iou)
        annotated = load_truths(args.annotations, args.category)
        detections = read_json(args.detections)
        found = read_found(detections, annotated, args.max_dets, args.detections)
        results = evaluate(annotated, found, chosen_subsets(args.subsets), args.iou)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(results, args.curve))
    if args.json:
        rows = {
            name: dict(
                miss_rate=r.value if r.people else None, people=r.people, detections=r.detections,
                missed=r.missed.tolist() if r.people else None,
            )
            for name, r in results.items()
        }  # fmt: skip
        try:
            with open(args.json, "w") as file:
                json.dump(rows, file, indent=1)
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
