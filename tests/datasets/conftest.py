"""A small generated data set that the tests of this folder read."""

from pathlib import Path

import pytest

from mmdyn.datasets.street_layouts import StreetDataset

SIZE = (64, 96)


@pytest.fixture(scope="session")
def street_root(tmp_path_factory) -> Path:
    """Two clips (moving, still) of six frames, labelled on frame 4, with mp4s."""
    root = tmp_path_factory.mktemp("street")
    dataset = StreetDataset(str(root), "val", size=SIZE, frames=6, labelled=(4,), video=True)
    dataset.write([3, 4])
    return root
