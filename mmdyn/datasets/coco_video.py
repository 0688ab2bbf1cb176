"""COCO json whose images are frames of videos."""

from __future__ import annotations

from mmdet.datasets import CocoDataset

from mmdyn.datasets.video_frames import VideoFrames, count_frames
from mmdyn.registry import DATASETS


@DATASETS.register_module()
class CocoVideoDataset(VideoFrames, CocoDataset):
    """``mmdet.CocoDataset`` that keeps which video and frame an image is, in the right order.

    The json is COCO's with ``video_id`` and ``frame_id`` at every image and, optionally,
    ``instance_id`` at every annotation and ``labelled`` (false where nobody annotated the frame)
    at every image. Frames are sorted by video, then by frame. Labels follow the names of the
    categories, so that a json with one category serves a detector with COCO's 80. In training only
    labelled frames are kept.

    Args:
        data_prefix (dict | None): Folder of the images as ``img``; None for ``data_root`` itself.
            Default None.
        **kwargs: See ``mmdet.datasets.CocoDataset``.

    Raises:
        KeyError: If an image has no ``video_id`` or ``frame_id``.
    """

    def __init__(self, *args, data_prefix: dict | None = None, **kwargs) -> None:
        super().__init__(*args, data_prefix=data_prefix or dict(img=""), **kwargs)

    def load_data_list(self) -> list[dict]:
        """The frames, sorted, each with the length of its video."""
        frames = super().load_data_list()
        if not frames:
            raise ValueError(f"{self.ann_file} lists no images; check that it is the right file.")
        frames.sort(key=lambda frame: (frame["video_id"], frame["frame_id"]))
        return count_frames(frames)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """CocoDataset's, with the identities of frame and objects."""
        image = raw_data_info["raw_img_info"]
        for key in ("video_id", "frame_id"):
            if key not in image:
                raise KeyError(
                    f"image {image['img_id']} of {self.ann_file} has no '{key}'; write a COCO "
                    "video json (tools/dataset_converters), or use mmdet.CocoDataset for stills."
                )
        self.cat2label = self._labels()
        frame = super().parse_data_info(dict(raw_img_info=image, raw_ann_info=[]))
        for annotation in raw_data_info["raw_ann_info"]:
            parsed = super().parse_data_info(dict(raw_img_info=image, raw_ann_info=[annotation]))
            for instance in parsed["instances"]:
                instance["instance_id"] = annotation.get("instance_id", -1)
                frame["instances"].append(instance)
        frame["video_id"], frame["frame_id"] = image["video_id"], image["frame_id"]
        frame["labelled"] = image.get("labelled", True)
        return frame

    def _labels(self) -> dict[int, int]:
        """Category id to label, by name."""
        classes = list(self.metainfo["classes"])
        names = {key: category["name"] for key, category in self.coco.cats.items()}
        return {key: classes.index(name) for key, name in names.items() if name in classes}
