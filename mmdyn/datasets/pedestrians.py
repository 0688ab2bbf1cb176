"""Data sets of pedestrians: who is to be found, who is ignored, what of them is visible."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping

from mmdet.datasets.base_det_dataset import BaseDetDataset
from mmengine.fileio import load

from mmdyn.datasets.caltech_files import read_caltech
from mmdyn.datasets.citypersons_files import read_citypersons
from mmdyn.datasets.cityscapes_clips import (
    frames_present,
    require_frames,
    split_name,
    stems_below,
    windows,
)
from mmdyn.datasets.pedestrian_coco import PedestrianCoco, checked_box, visibility
from mmdyn.datasets.video_frames import VideoFrames, count_frames
from mmdyn.registry import DATASETS

_IMAGE = "_leftImg8bit.png"


@DATASETS.register_module()
class PedestrianDataset(VideoFrames, BaseDetDataset):
    """A COCO-style json with ``vis_bbox``, ``vis_ratio``, ``ignore`` and ``kind`` at its people.

    An instance has ``bbox``, ``bbox_label``, ``visible_bbox`` (both x1, y1, x2, y2), ``vis_ratio``
    (0 to 1) and ``ignore_flag``. Its label is the place of its ``kind`` (or, without one, of its
    category's name) in the classes; whose kind is not among them, or who is marked ``ignore`` or
    ``iscrowd``, is ignored: neither an example nor a counter-example. Kinds that are classes are
    not ignored, so classes=('pedestrian', 'rider') learns both from CityPersons.

    Args:
        min_height (float): In training, people below are ignored; pixels of the original image.
            Default 0.
        min_visibility (float): In training, people of whom less is visible are ignored. Default 0.
        data_prefix (dict | None): Folder of the images as ``img``. Default that of ``data_root``.
        **kwargs: See ``mmdet.datasets.BaseDetDataset``; ``filter_cfg`` takes ``filter_empty_gt``.

    Raises:
        ValueError: If the annotations are not as described.
    """

    METAINFO = dict(classes=("pedestrian",), palette=[(220, 20, 60)])

    def __init__(
        self,
        *args,
        min_height: float = 0.0,
        min_visibility: float = 0.0,
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        self.min_height, self.min_visibility = min_height, min_visibility
        super().__init__(*args, data_prefix=data_prefix or dict(img=""), **kwargs)

    def read(self) -> Mapping:
        """The COCO-style content of ``ann_file``."""
        try:
            return load(self.ann_file, backend_args=self.backend_args)
        except ValueError as error:
            raise ValueError(f"{self.ann_file} is not a json file ({error}).") from error

    def load_data_list(self) -> list[dict]:
        """An entry an image, in the order of the annotations; clips sorted and counted."""
        content = self.read()
        try:
            names = {c["id"]: c["name"] for c in content["categories"]}
            people = defaultdict(list)
            for annotation in content["annotations"]:
                people[annotation["image_id"]].append(annotation)
            frames = [self._entry(image, people[image["id"]], names) for image in content["images"]]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(
                f"{self.ann_file}: expected COCO-style images, annotations and categories, but: "
                f"{type(error).__name__} {error}; repair the file or make it again "
                "(tools/dataset_converters)."
            ) from error
        if not frames:
            raise ValueError(f"{self.ann_file} lists no images; check that it is the right file.")
        kinds = set(names.values()) | {a.get("kind") for a in content["annotations"]}
        if not kinds & set(self.metainfo["classes"]):
            raise ValueError(
                f"{self.ann_file} has {sorted(filter(None, kinds))}, none of which is among the "
                f"classes {self.metainfo['classes']}; set metainfo=dict(classes=...)."
            )
        return self.clips_of(frames)

    def clips_of(self, frames: list[dict]) -> list[dict]:
        """The frames as clips: here each image is one of its own, unless it names its video."""
        for frame in frames:
            frame.setdefault("video_id", os.path.splitext(os.path.basename(frame["img_path"]))[0])
            frame.setdefault("frame_id", 0)
        if any(frame["frame_id"] for frame in frames):
            frames = sorted(frames, key=lambda frame: (frame["video_id"], frame["frame_id"]))
        return count_frames(frames)

    def filter_data(self) -> list[dict]:
        """In training, labelled images, and only those with people if ``filter_empty_gt``."""
        frames = super().filter_data()
        if self.test_mode or not (self.filter_cfg or {}).get("filter_empty_gt", False):
            return frames
        return [frame for frame in frames if any(not x["ignore_flag"] for x in frame["instances"])]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels on an image, for samplers that balance classes."""
        return [x["bbox_label"] for x in self.get_data_info(idx)["instances"]]

    def _entry(self, image: dict, people: list[dict], names: dict) -> dict:
        name = image["file_name"] if "file_name" in image else self.file_name(image["im_name"])
        entry = dict(
            img_path=os.path.join(self.data_prefix["img"], name), img_id=image["id"],
            height=image["height"], width=image["width"], labelled=image.get("labelled", True),
            instances=[self._instance(person, names) for person in people],
        )  # fmt: skip
        return {**entry, **{k: image[k] for k in ("video_id", "frame_id") if k in image}}

    def file_name(self, im_name: str) -> str:
        """Where an image that has no path is, below the images' folder."""
        return im_name

    def _instance(self, person: dict, names: dict) -> dict:
        classes = self.metainfo["classes"]
        category = names[person["category_id"]]
        kind = person.get("kind", category)
        box = checked_box(person["bbox"])
        visible = checked_box(person.get("vis_bbox", box))
        ratio = person.get("vis_ratio", visibility(box, visible))
        # Another kind than its category's is flagged for that alone, and may be a class here.
        flagged = kind == category and bool(person.get("ignore", person.get("iscrowd", 0)))
        ignored = flagged or kind not in classes or not box[2] * box[3]
        if not self.test_mode:
            ignored |= person.get("height", box[3]) < self.min_height
            ignored |= ratio < self.min_visibility
        return dict(
            bbox=_corners(box), visible_bbox=_corners(visible), vis_ratio=ratio,
            bbox_label=classes.index(kind) if kind in classes else 0, ignore_flag=int(ignored),
            instance_id=person.get("instance_id", -1),
        )  # fmt: skip


@DATASETS.register_module()
class CityPersonsDataset(PedestrianDataset):
    """CityPersons on Cityscapes: stills, or the clips that lead up to them.

    Layout, below ``data_root``::

        leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
        leftImg8bit_sequence/<split>/…               (for clips)
        annotations/anno_val.mat  or  gtBboxCityPersons/<split>/<city>/….json

    With ``clip_length`` above 1 the images are those of ``leftImg8bit_sequence``; a clip ends on
    the labelled frame (number 19 of a snippet's 30), whose ``img_id`` is that of the annotations.
    The other frames are not labelled, and theirs is negative.

    Args:
        ann_file (str): ``.mat``, a split's folder of jsons, or one COCO-style json (the published
            ``val_gt.json`` with ``im_name`` too).
        clip_length (int): Frames of a clip with its labelled one. Default 1: stills.
        frames_after (int): Frames behind the labelled one. Default 0.
        **kwargs: See ``PedestrianDataset``.

    Raises:
        FileNotFoundError: If a frame of a clip is missing.
    """

    def __init__(self, *args, clip_length: int = 1, frames_after: int = 0, **kwargs) -> None:
        if clip_length < 1 or frames_after < 0:
            raise ValueError(
                "expected clip_length >= 1 and frames_after >= 0, got "
                f"clip_length={clip_length} and frames_after={frames_after}."
            )
        self.clip_length, self.frames_after = clip_length, frames_after
        super().__init__(*args, **kwargs)

    def read(self) -> Mapping:
        """The COCO-style content of any of CityPersons' layouts."""
        return read_citypersons(self.ann_file)

    def file_name(self, im_name: str) -> str:
        """Cityscapes' folder of an image is its city."""
        return f"{im_name.split('_', 1)[0]}/{im_name}"

    def clips_of(self, frames: list[dict]) -> list[dict]:
        """Stills as clips of one frame, or the snippets' frames around the labelled ones."""
        if self.clip_length == 1 and not self.frames_after:
            return super().clips_of(frames)
        folder = self.data_prefix["img"]
        present = frames_present(stems_below(folder, _IMAGE, self.backend_args))
        labelled: dict[str, dict[int, dict]] = defaultdict(dict)
        for frame in frames:
            stem = os.path.relpath(frame["img_path"], folder).removesuffix(_IMAGE)
            sequence, number, _ = split_name(stem.replace(os.sep, "/"))
            labelled[sequence][number] = frame
        found: list[dict] = []
        for sequence in sorted(labelled):
            digits = present.get(sequence, {})
            clips = windows(labelled[sequence], digits, self.clip_length - 1, self.frames_after)
            for start, end in clips:
                path = os.path.join(folder, sequence)
                require_frames(start, end, digits, path + "_{number}" + _IMAGE)
                name = f"{os.path.basename(sequence)}_{start:0{digits[start]}d}"
                for number in range(start, end):
                    frame = labelled[sequence].get(number) or dict(
                        img_path=f"{path}_{number:0{digits[number]}d}{_IMAGE}",
                        img_id=-1 - len(found), labelled=False, instances=[],
                        height=frames[0]["height"], width=frames[0]["width"],
                    )  # fmt: skip
                    found.append({**frame, "video_id": name, "frame_id": number - start})
        return count_frames(found)


@DATASETS.register_module()
class CaltechPedestrianDataset(PedestrianDataset):
    """Caltech Pedestrian: every so many frames of its videos, or all of them.

    Args:
        ann_file (str): The json made of the ``.vbb`` files, or a folder of ``bbGt`` text files
            (``set06_V000_I00029.txt``); see ``mmdyn.datasets.caltech_files``.
        sets (Sequence[str]): Such as ('set06', …, 'set10') for testing; empty for all. Default ().
        every (int): 30: frames 29, 59, … as in the benchmark; 1 for videos. Default 30.
        file_format (str): Path of an image below ``data_prefix``'s ``img``, of group ('set06'),
            video ('V000') and frame (from 0). Default '{group}_{video}_{frame}.png'; for the
            toolbox's images '{group}/{video}/I{frame:05d}.jpg'.
        **kwargs: See ``PedestrianDataset``. Boxes are taken as they are.
    """

    METAINFO = dict(classes=("person",), palette=[(220, 20, 60)])
    SIZE = (480, 640)

    def __init__(
        self,
        *args,
        sets: tuple[str, ...] = (),
        every: int = 30,
        file_format: str = "{group}_{video}_{frame}.png",
        **kwargs,
    ) -> None:
        if every < 1:
            raise ValueError(f"expected every >= 1, got {every}.")
        self.sets, self.every, self.file_format = tuple(sets), every, file_format
        super().__init__(*args, **kwargs)

    def read(self) -> Mapping:
        """The COCO-style content of the chosen frames."""
        return caltech_to_coco(self.ann_file, self.sets, self.every, self.file_format).as_dict()


def caltech_to_coco(
    path: str, sets: tuple[str, ...] = (), every: int = 30,
    file_format: str = "{group}_{video}_{frame}.png",
) -> PedestrianCoco:  # fmt: skip
    """The chosen frames of Caltech Pedestrian; arguments as in ``CaltechPedestrianDataset``."""
    coco = PedestrianCoco("person")
    found = read_caltech(path)
    for group, video, number in sorted(found):
        if (sets and group not in sets) or number % every != every - 1:
            continue
        coco.add_image(
            file_format.format(group=group, video=video, frame=number),
            CaltechPedestrianDataset.SIZE, video_id=f"{group}_{video}", frame_id=number // every,
        )  # fmt: skip
        for person in found[group, video, number]:
            coco.add_person(
                person.box, person.visible, ignore=person.ignored, kind=person.kind,
                instance_id=person.instance,
            )  # fmt: skip
    if not coco.images:
        groups = sorted({group for group, _, _ in found})
        raise ValueError(
            f"{path}: none of its frames is in sets {sets or groups} and the {every}th of its "
            f"video; it has {groups}. Choose other sets, or every=1."
        )
    return coco


def _corners(box) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]
