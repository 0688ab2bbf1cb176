"""Joints to heatmaps and back."""

from __future__ import annotations

import numpy as np
import torch

from mmdyn.registry import KEYPOINT_CODECS


@KEYPOINT_CODECS.register_module()
class MSRAHeatmap:
    """A Gaussian per joint; mmpose's codec of that name.

    Pixel 0 of the heatmap lies on pixel 0 of the input.

    Args:
        input_size (tuple): Width and height of the input in pixels.
        heatmap_size (tuple): Width and height of the heatmaps in pixels.
        sigma (float): Of the Gaussian, in heatmap pixels.
        unbiased (bool): Centres between pixels, and decoding by the peak of a parabola through
            the logarithms. Else centres are rounded to pixels, and the highest pixel moves a
            quarter towards its higher neighbours. Default False.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float,
        unbiased: bool = False,
    ) -> None:
        sizes = (*input_size, *heatmap_size)
        if len(sizes) != 4 or min(sizes) < 3 or sigma <= 0:
            raise ValueError(
                "expected (width, height) of input and heatmap in pixels, at least 3, and sigma "
                f"> 0; got {input_size}, {heatmap_size} and {sigma}."
            )
        self.input_size, self.heatmap_size = tuple(input_size), tuple(heatmap_size)
        self.sigma, self.unbiased = sigma, unbiased
        self.scale_factor = np.array(input_size, np.float32) / np.array(heatmap_size, np.float32)

    def encode(self, keypoints: np.ndarray, visible: np.ndarray | None = None) -> dict:
        """Joints (1, K, 2), x and y in input pixels, to targets.

        Returns:
            dict: ``heatmaps`` (K, h, w) float32, and ``keypoint_weights`` (1, K): 0 for joints
            that are not visible or whose Gaussian (3 sigma) lies outside.
        """
        keypoints = np.asarray(keypoints, np.float32)
        count = keypoints.shape[1]
        weights = np.ones((1, count), np.float32) if visible is None else visible.astype(np.float32)
        width, height = self.heatmap_size
        heatmaps = np.zeros((count, height, width), np.float32)
        weights, reach = weights.copy(), 3 * self.sigma
        for k, (x, y) in enumerate(keypoints[0] / self.scale_factor):
            if weights[0, k] <= 0:
                weights[0, k] = 0
                continue
            if not (-reach <= x < width + reach and -reach <= y < height + reach):
                weights[0, k] = 0
                continue
            if not self.unbiased:
                x, y = np.floor(x + 0.5), np.floor(y + 0.5)
            across, along = np.arange(width) - x, np.arange(height) - y
            spread = 2 * self.sigma**2
            heatmaps[k] = np.outer(np.exp(-(along**2) / spread), np.exp(-(across**2) / spread))
        return dict(heatmaps=heatmaps, keypoint_weights=weights)

    def decode(self, heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Heatmaps (N, K, h, w) to joints (N, K, 2) in input pixels and scores (N, K)."""
        count, joints, height, width = heatmaps.shape
        flat = heatmaps.float().flatten(2)
        score, place = flat.max(2)
        x, y = place % width, torch.div(place, width, rounding_mode="floor")
        # Peaks on the border stay where they are.
        inner = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
        at = place.clamp(width + 1, height * width - width - 2)

        def value(offset: int) -> torch.Tensor:
            return flat.gather(2, (at + offset).unsqueeze(2)).squeeze(2)

        refine = self._parabola if self.unbiased else self._quarter
        shifts = [refine(value(-step), value(0), value(step)) * inner for step in (1, width)]
        joints_xy = torch.stack([x + shifts[0], y + shifts[1]], 2)
        return joints_xy * torch.from_numpy(self.scale_factor).to(joints_xy), score

    @staticmethod
    def _quarter(left: torch.Tensor, _: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (right - left).sign() * 0.25

    @staticmethod
    def _parabola(left: torch.Tensor, peak: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """The top of the parabola through the logarithms; at most half a pixel away."""
        low, mid, high = (v.clamp(min=1e-10).log() for v in (left, peak, right))
        bend = 2 * mid - low - high
        return torch.where(bend > 1e-6, (high - low) / (2 * bend), 0.0).clamp(-0.5, 0.5)
