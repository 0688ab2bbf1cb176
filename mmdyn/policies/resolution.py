"""Who decides, per image, which blocks run at full resolution: what does not learn."""

from __future__ import annotations

import zlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.ops.pictures import patch_statistics
from mmdyn.registry import RESOLUTION_POLICIES

from .sampling import seeded_uniform


class ResolutionPolicy(nn.Module):
    """Ranks the cells of an image by what full resolution is worth there; the budget picks.

    Keeps nothing of the images before: an image's scores depend on that image alone.

    Attributes:
        name: The name in the registry ``RESOLUTION_POLICIES``.
        learns: Has a ``loss``, see ``ReinforceResolution``.
        needs_gain: ``scores`` wants the measured gain, known from the labels.
        fixed_share: Share of the cells at full resolution, past the budget; None: budgeted.
        reads_pixels: ``scores`` is not finite in a cell with a pixel that is not.
    """

    name = ""
    learns = False
    needs_gain = False
    fixed_share: float | None = None
    reads_pixels = False

    def scores(self, image: Tensor, size: tuple[int, int], gain: Tensor | None = None) -> Tensor:
        """How much full resolution is worth in each cell: (N, GH, GW) float32, larger is more.

        Args:
            image: (N, C, H, W) network input, padded to the grid.
            size: (GH, GW) cells.
            gain: (N, GH, GW) loss at half resolution less loss at full, where `needs_gain`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define scores(image, size).")


@RESOLUTION_POLICIES.register_module(name="heuristic")
class HeuristicResolution(ResolutionPolicy):
    """Full resolution where down-sampling loses most detail of the image."""

    name = "heuristic"
    reads_pixels = True

    def scores(self, image, size, gain=None):
        return F.adaptive_avg_pool2d(patch_statistics(image, 2)[1], size)[:, 0]


@RESOLUTION_POLICIES.register_module(name="random")
class RandomResolution(ResolutionPolicy):
    """Full resolution at random: a function of the seed and the image's own pixels.

    Args:
        seed (int): Default 0.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(seed, int):
            raise ValueError(f"seed must be an int, got {seed!r}")
        self.seed = seed

    def scores(self, image, size, gain=None):
        draws = []
        for pixels in image.detach()[:, :, ::7, ::7].float().cpu():
            number = zlib.crc32(pixels.contiguous().numpy().tobytes())
            draws.append(seeded_uniform(size, self.seed, number, image.device))
        return torch.stack(draws)


@RESOLUTION_POLICIES.register_module(name="centre")
class CentreResolution(ResolutionPolicy):
    """Full resolution in the rows nearest to the image's middle, in a row from its centre on."""

    name = "centre"

    def scores(self, image, size, gain=None):
        y, x = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=image.device) for n in size)
        distance = y.abs()[:, None] + 1e-3 * x.abs()[None, :]
        return -distance.expand(image.shape[0], *size)


@RESOLUTION_POLICIES.register_module(name="oracle")
class OracleResolution(ResolutionPolicy):
    """Full resolution where it lowers the loss most, known from the labels.

    It bounds what choosing blocks can reach and is of no use otherwise: the network runs twice
    more, at full and at half resolution.
    """

    name = "oracle"
    needs_gain = True

    def scores(self, image, size, gain=None):
        if gain is None:
            raise ValueError(
                "the oracle policy expected the measured gain and got None; give it samples with "
                "gt_sem_seg: put LoadAnnotations into the test pipeline"
            )
        return gain.float()


@RESOLUTION_POLICIES.register_module(name="all-full")
class AllFullResolution(ResolutionPolicy):
    """Every block at full resolution: the dense network, by way of blocks."""

    name = "all-full"
    fixed_share = 1.0

    def scores(self, image, size, gain=None):
        return image.new_zeros((image.shape[0], *size), dtype=torch.float32)


@RESOLUTION_POLICIES.register_module(name="all-half")
class AllHalfResolution(AllFullResolution):
    """Every block at half resolution: the dense network on the smaller image."""

    name = "all-half"
    fixed_share = 0.0
