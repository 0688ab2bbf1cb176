"""Small datasets of people in the published formats."""

import json

import cv2
import numpy as np


def image(path, size=(60, 80), seed=0):
    """A picture of noise (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 256, (*size, 3), np.uint8))


def lspet(folder, count=4):
    """People with 14 joints each; every second one is of the test split."""
    rng, entries = np.random.default_rng(0), []
    for k in range(count):
        image(folder / "images" / f"im{k}.png", seed=k)
        joints = np.column_stack([rng.uniform(5, 75, 14), rng.uniform(5, 55, 14), np.ones(14)])
        split = "train" if k % 2 == 0 else "test"
        entries.append(
            dict(file=f"im{k}.png", width=80, height=60, split=split, joints=joints.tolist())
        )
    (folder / "joints.json").write_text(json.dumps(entries))
    return entries


def coco(folder, people):
    """`people` are (image id, box, keypoints (17, 3), further keys)."""
    images = sorted({p[0] for p in people})
    for number in images:
        image(folder / "images" / f"{number}.png", seed=number)
    content = dict(
        images=[dict(id=n, file_name=f"{n}.png", width=80, height=60) for n in images],
        categories=[dict(id=1, name="person")],
        annotations=[
            dict(
                id=k + 1, image_id=number, category_id=1, bbox=list(box), iscrowd=0,
                area=box[2] * box[3], keypoints=np.asarray(joints).ravel().tolist(),
                num_keypoints=int((np.asarray(joints)[:, 2] > 0).sum()), **more,
            )
            for k, (number, box, joints, more) in enumerate(people)
        ],
    )  # fmt: skip
    (folder / "people.json").write_text(json.dumps(content))
    return folder / "people.json"
