"""CSP learns a handful of pictures by heart, from scratch, and then misses nobody."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdyn.metrics.miss_rate import MissRateMetric
from tests.models.csp.networks import tiny_csp

SIZE = (96, 160)
PICTURES = 5


def pictures() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Noise with figures of a head and a coat in it, and their boxes."""
    made, random = [], np.random.default_rng(0)
    for number in range(PICTURES):
        image = random.integers(60, 120, (3, *SIZE)).astype(np.float32)
        boxes = []
        for place in range(number % 4):  # the first of them is empty
            height = int(random.integers(24, 80))
            width = round(0.41 * height)
            left = 8 + place * 50 + int(random.integers(0, 12))
            top = int(random.integers(2, SIZE[0] - height - 2))
            image[:, top : top + height // 4, left : left + width] = 230
            image[0, top + height // 4 : top + height, left : left + width] = 10
            boxes.append([left, top, left + width, top + height])
        made.append((torch.from_numpy(image), torch.tensor(boxes).float().reshape(-1, 4)))
    return made


def samples_of(made) -> list[DetDataSample]:
    samples = []
    for number, (_, boxes) in enumerate(made):
        meta = dict(img_id=number, img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
        truth = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
        samples.append(DetDataSample(gt_instances=truth, metainfo=meta))
    return samples


def miss_rate(model, made, folder) -> float:
    """MR^-2 over people of any height."""
    people = [
        dict(image_id=i, category_id=1, bbox=[x, y, r - x, b - y], height=b - y, vis_ratio=1.0)
        for i, (_, boxes) in enumerate(made)
        for x, y, r, b in boxes.tolist()
    ]
    content = dict(
        images=[dict(id=i, height=SIZE[0], width=SIZE[1]) for i in range(len(made))],
        annotations=[dict(p, id=k + 1, ignore=0) for k, p in enumerate(people)],
        categories=[dict(id=1, name="person")],
    )
    (folder / "people.json").write_text(json.dumps(content))
    metric = MissRateMetric(
        str(folder / "people.json"), dict(Any=dict(height=(1, 1000), visibility=(0, 2)))
    )
    model.eval()
    with torch.no_grad():
        data = dict(inputs=[image for image, _ in made], data_samples=samples_of(made))
        found = model.test_step(data)
    metric.process({}, [sample.to_dict() for sample in found])
    return metric.evaluate(len(made))["miss_rate/Any"]


def test_a_handful_of_pictures_is_learnt_by_heart(tmp_path):
    model, made = tiny_csp(), pictures()
    model.init_weights()
    assert miss_rate(model, made, tmp_path) > 0.9
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    data = model.data_preprocessor(
        dict(inputs=[image for image, _ in made], data_samples=samples_of(made)), training=True
    )
    for _ in range(75):
        losses = model(**data, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert miss_rate(model, made, tmp_path) < 0.02
