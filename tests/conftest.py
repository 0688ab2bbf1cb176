"""What all tests share: repaired OpenMMLab packages, fixed seeds, and the folder of real data."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from mmdyn import compat

ROOT = Path(__file__).resolve().parent.parent
POISONED_ROOMS = ("blocks", "ops")

# Triton's kernels run in its interpreter where there is no GPU; it looks when they are imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

compat.prepare()
torch.set_num_threads(min(2, os.cpu_count() or 1))

# The same examples on every machine, and no failure for a slow one.
settings.register_profile(
    "mmdyn",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("mmdyn")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _poisoned(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def filled(*args: object, **kwargs: object) -> torch.Tensor:
        tensor = allocate(*args, **kwargs)
        if tensor.is_floating_point() and not tensor.is_meta:
            with torch.no_grad():
                tensor.fill_(float("nan"))
        return tensor

    return filled


@pytest.fixture(autouse=True)
def poisoned_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that the engine allocates and does not fill is NaN, not whatever lay there."""
    room = request.path.relative_to(ROOT / "tests").parts[0]
    if room in POISONED_ROOMS:
        for owner in (torch, torch.Tensor):
            for name in ("empty", "empty_like", "empty_strided", "new_empty"):
                if hasattr(owner, name):
                    monkeypatch.setattr(owner, name, _poisoned(getattr(owner, name)))


@pytest.fixture(autouse=True)
def blocks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the clock: blocks are executed however slow they are."""
    from mmdyn.conversion.fallback import DenseFallback

    monkeypatch.setattr(DenseFallback, "_times", lambda *args: None)


@pytest.fixture(autouse=True)
def default_scope() -> Iterator[None]:
    """No test inherits the registry scope that another one set."""
    yield
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real clips and weights, `MMDYN_DATA` or `../shared/data`; skips without one."""
    root = Path(os.environ.get("MMDYN_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"needs real data: no folder {root}; name it with MMDYN_DATA")
    return root
