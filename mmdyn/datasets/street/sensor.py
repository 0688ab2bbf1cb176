"""From the painted street to what a camera records: exposure, a soft lens, noise."""

from __future__ import annotations

import cv2
import numpy as np


def expose(
    painting: np.ndarray, seed: int, frame: int, seconds: float, noise: float = 2.0
) -> np.ndarray:
    """One recorded frame.

    Args:
        painting (np.ndarray): (H, W, 3) RGB float, 0 to 255.
        seed (int): The clip's; its exposure wanders its own way.
        frame (int): Number of the frame, so that each has its own noise.
        seconds (float): Time of the frame.
        noise (float): Standard deviation of the brightness noise at mid grey, in levels of 255;
            0 also keeps the exposure constant.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.
    """
    height, width = painting.shape[:2]
    picture = cv2.GaussianBlur(painting, (0, 0), 0.45)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    gain = 1.03 - 0.10 * (x * x + y * y) / 2
    if noise:
        gain = gain * (1 + 0.008 * np.sin(0.9 * seconds + seed) + 0.004 * np.sin(5.3 * seconds))
    picture *= gain[..., None]
    if noise:
        rng = np.random.default_rng([seed, frame])
        grain = rng.standard_normal((height, width), np.float32)
        tint = rng.standard_normal((height, width, 3), np.float32)
        strength = noise * (0.6 + 0.8 * np.sqrt(np.clip(picture.mean(axis=2), 0, 255) / 255))
        picture += (grain * strength)[..., None] + tint * (0.35 * noise)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)[..., ::-1].copy()
