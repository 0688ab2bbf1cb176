"""From an image with a person to a crop of one size, with mmpose's names and keys."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmdyn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GetBBoxCenterScale(BaseTransform):
    """The box (x1, y1, x2, y2) as its centre and its padded sides.

    Args:
        padding (float): Factor of the sides. Default 1.25.
    """

    def __init__(self, padding: float = 1.25) -> None:
        if padding <= 0:
            raise ValueError(f"padding must be positive, got {padding}.")
        self.padding = padding

    def transform(self, results: dict) -> dict:
        """Adds ``bbox_center`` (1, 2) and ``bbox_scale`` (1, 2) in pixels."""
        if "bbox" not in results:
            raise ValueError(
                f"{results.get('img_path')}: no bbox and no visible joint to make one of; leave "
                "such people out of the dataset."
            )
        box = np.asarray(results["bbox"], np.float32).reshape(1, 4)
        results["bbox_center"] = (box[:, :2] + box[:, 2:]) / 2
        results["bbox_scale"] = np.maximum(box[:, 2:] - box[:, :2], 1) * np.float32(self.padding)
        return results


@TRANSFORMS.register_module()
class RandomPoseFlip(BaseTransform):
    """Mirrors image, joints and box; left and right joints change places. mmpose's ``RandomFlip``.

    Args:
        prob (float): Share of the images mirrored. Default 0.5.
        direction (str): Must be 'horizontal'. Default 'horizontal'.
    """

    def __init__(self, prob: float = 0.5, direction: str = "horizontal") -> None:
        if not 0 <= prob <= 1 or direction != "horizontal":
            raise ValueError(
                f"expected prob 0 to 1 and direction 'horizontal', got {prob} and {direction!r}."
            )
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Sets ``flip`` and ``flip_direction``."""
        results["flip"] = bool(np.random.rand() < self.prob)
        results["flip_direction"] = "horizontal" if results["flip"] else None
        if not results["flip"]:
            return results
        right = results["img"].shape[1] - 1
        order = results["flip_indices"]
        results["img"] = np.ascontiguousarray(results["img"][:, ::-1])
        keypoints = results["keypoints"][:, order].copy()
        keypoints[..., 0] = right - keypoints[..., 0]
        results["keypoints"] = keypoints
        results["keypoints_visible"] = results["keypoints_visible"][:, order]
        if "bbox" in results:
            x1, y1, x2, y2 = np.asarray(results["bbox"], np.float32).reshape(4)
            results["bbox"] = np.array([[right - x2, y1, right - x1, y2]], np.float32)
        if "bbox_center" in results:
            center = results["bbox_center"].copy()
            center[:, 0] = right - center[:, 0]
            results["bbox_center"] = center
        return results


@TRANSFORMS.register_module()
class RandomBBoxTransform(BaseTransform):
    """Scales and turns the box at random; what follows cuts the image accordingly.

    Args:
        scale_factor (tuple): Least and greatest factor of the sides. Default (0.75, 1.25).
        rotate_factor (float): Greatest angle in degrees. Default 30.
        rotate_prob (float): Share of the boxes turned. Default 0.6.
        shift_prob (float): Must be 0: centres are not moved. Default 0.
    """

    def __init__(
        self,
        scale_factor: tuple[float, float] = (0.75, 1.25),
        rotate_factor: float = 30.0,
        rotate_prob: float = 0.6,
        shift_prob: float = 0.0,
    ) -> None:
        low, high = scale_factor
        if not 0 < low <= high or rotate_factor < 0 or not 0 <= rotate_prob <= 1 or shift_prob:
            raise ValueError(
                "expected 0 < scale_factor[0] <= scale_factor[1], rotate_factor >= 0, rotate_prob "
                f"0 to 1 and shift_prob 0, got {scale_factor}, {rotate_factor}, {rotate_prob} and "
                f"{shift_prob}."
            )
        self.scale_factor, self.rotate_factor = (low, high), rotate_factor
        self.rotate_prob = rotate_prob

    def transform(self, results: dict) -> dict:
        """Changes ``bbox_scale`` and sets ``bbox_rotation`` (1,) in degrees."""
        factor, turn = np.random.uniform(*self.scale_factor), np.random.rand() < self.rotate_prob
        results["bbox_scale"] = results["bbox_scale"] * np.float32(factor)
        angle = np.random.uniform(-self.rotate_factor, self.rotate_factor) if turn else 0.0
        results["bbox_rotation"] = np.array([angle], np.float32)
        return results


@TRANSFORMS.register_module()
class TopdownAffine(BaseTransform):
    """Cuts the box out of the image, its sides made to fit the input's.

    Args:
        input_size (tuple): Width and height of the crop in pixels.
    """

    def __init__(self, input_size: tuple[int, int]) -> None:
        if len(input_size) != 2 or min(input_size) < 1:
            raise ValueError(f"expected input_size (width, height) in pixels, got {input_size}.")
        self.input_size = tuple(input_size)

    def transform(self, results: dict) -> dict:
        """Sets ``input_size``, ``input_center``, ``input_scale``, ``transformed_keypoints``."""
        width, height = self.input_size
        side_x, side_y = results["bbox_scale"][0]
        ratio = width / height
        scale = np.array([max(side_x, side_y * ratio), max(side_y, side_x / ratio)], np.float32)
        center, angle = results["bbox_center"][0], float(results.get("bbox_rotation", [0.0])[0])
        warp = crop_matrix(center, scale, angle, self.input_size)
        results["img"] = cv2.warpAffine(results["img"], warp, self.input_size)
        keypoints = results["keypoints"]
        ones = np.ones((*keypoints.shape[:2], 1), keypoints.dtype)
        moved = np.concatenate([keypoints, ones], 2) @ warp.T.astype(np.float32)
        results["transformed_keypoints"] = moved
        results.update(
            input_size=self.input_size,
            input_center=center.tolist(),
            input_scale=scale.tolist(),
            img_shape=(height, width),
        )
        return results


def crop_matrix(
    center: np.ndarray, scale: np.ndarray, angle: float, size: tuple[int, int]
) -> np.ndarray:
    """(2, 3): from the image to the crop of a box, turned by `angle` degrees about its centre.

    Without a turn, the box's left upper corner lies on 0, 0 and its right lower one on `size`.
    """
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    stretch = np.asarray(size, np.float64) / np.asarray(scale, np.float64)
    linear = stretch[:, None] * rotation
    offset = np.asarray(size) / 2 - linear @ np.asarray(center, np.float64)
    return np.concatenate([linear, offset[:, None]], 1)
