"""CityPersons' evaluation by the letter, one box at a time, to hold the fast one to it."""

import math

POINTS = [0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0]
HUGE = 1e10
LIMITS = {  # height from, to, visibility from, to
    "Reasonable": (50, HUGE, 0.65, HUGE),
    "Small": (50, 75, 0.65, HUGE),
    "Heavy": (50, HUGE, 0.2, 0.65),
    "All": (20, HUGE, 0.2, HUGE),
    "Bare": (50, HUGE, 0.9, HUGE),
    "Partial": (50, HUGE, 0.65, 0.9),
}


def overlap(d, g, ignored):
    width = min(d[0] + d[2], g[0] + g[2]) - max(d[0], g[0])
    height = min(d[1] + d[3], g[1] + g[3]) - max(d[1], g[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = d[2] * d[3]
    return width * height / (area if ignored else area + g[2] * g[3] - width * height)


def judge(people, detections, limits):
    """'hit', 'false' or 'ignored' for each detection of one image that is in the heights."""
    h0, h1, v0, v1 = limits

    def ignored(g):
        return bool(g["ignore"] or not h0 <= g["height"] <= h1 or not v0 <= g["vis_ratio"] <= v1)

    wanted = [g for g in people if not ignored(g)]
    neutral = [g for g in people if ignored(g)]
    taken, verdicts = set(), []
    ranked = sorted(enumerate(detections), key=lambda x: (-x[1]["score"], x[0]))[:1000]
    for _, d in ranked:
        if not h0 / 1.25 <= d["bbox"][3] < h1 * 1.25:
            continue
        best, chosen = 0.5, None
        for k, g in enumerate(wanted):
            value = overlap(d["bbox"], g["bbox"], False)
            if k not in taken and value >= best:
                best, chosen = value, k
        if chosen is not None:
            taken.add(chosen)
            verdicts.append((d["score"], "hit"))
        elif any(overlap(d["bbox"], g["bbox"], True) >= 0.5 for g in neutral):
            verdicts.append((d["score"], "ignored"))
        else:
            verdicts.append((d["score"], "false"))
    return verdicts, len(wanted)


def slow_miss_rate(truth, detections, subset):
    """MR^-2 of a COCO-style truth and list of results; None without people."""
    verdicts, people = [], 0
    ids = sorted(image["id"] for image in truth["images"])
    for key in ids:
        own = [g for g in truth["annotations"] if g["image_id"] == key]
        found = [d for d in detections if d["image_id"] == key]
        judged, wanted = judge(own, found, LIMITS[subset])
        verdicts += judged
        people += wanted
    if not people:
        return None
    counted = [v for v in verdicts if v[1] != "ignored"]
    counted = [v for _, v in sorted(enumerate(counted), key=lambda x: (-x[1][0], x[0]))]
    recalls, rates, hits, wrong = [], [], 0, 0
    for _, verdict in counted:
        hits += verdict == "hit"
        wrong += verdict == "false"
        recalls.append(hits / people)
        rates.append(wrong / len(ids))
    missed = []
    for point in POINTS:
        within = [recall for recall, rate in zip(recalls, rates, strict=True) if rate <= point]
        if within:
            missed.append(1 - within[-1])
        else:
            missed.append(1 - recalls[-1] if recalls else 1.0)
    if min(missed) <= 0:
        return 0.0
    return math.exp(sum(math.log(x) for x in missed) / len(missed))
