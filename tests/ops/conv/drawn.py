"""Numbers for the tests of convolutions, and how near to each other results are."""

import torch

from mmdyn.ops.conv import Windows


def draw(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(got, wanted) -> None:
    assert got.shape == wanted.shape
    scale = max([1.0, *wanted[wanted.isfinite()].abs().flatten().tolist()])
    near = 2e-5 if got.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(
        got.double(), wanted.double(), rtol=0, atol=near * scale, equal_nan=True
    )


def exact(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.double()


def located(n: int, channels: int, side, halo, means: bool, dtype: torch.dtype) -> Windows:
    """Blocks, and halos drawn from a store of 50 rows."""
    blocks = draw(n, channels, *side).to(dtype).to(memory_format=torch.channels_last)
    height, width = side[0] + halo[0] + halo[1], side[1] + halo[2] + halo[3]
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[halo[0] : halo[0] + side[0], halo[2] : halo[2] + side[1]] = True
    places = (~inside).flatten().nonzero().flatten()
    count = len(places)
    shape = (n, count, 4) if means else (n, count)
    index = torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(1))
    all_places = (torch.arange(n)[:, None] * height * width + places).flatten()
    return Windows(blocks, draw(50, channels, seed=2).to(dtype), index, all_places, halo)
