"""tools/benchmark_layers.py: parts cover the network; their shares are the executed ones."""

import json
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn


class Container(nn.Module):
    """A module list inside a module that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 1)) for _ in range(2)])

    def forward(self, x):
        return self.stages[1](self.stages[0](x))


def test_parts_are_modules_that_are_called(tool: ModuleType) -> None:
    model = nn.ModuleDict(dict(a=Container(), b=nn.Conv2d(3, 3, 1)))
    assert [path for path, _ in tool.parts(model, 1)] == ["a", "b"]
    assert [path for path, _ in tool.parts(model, 2)] == ["a.stages.0", "a.stages.1", "b"]
    deep = [path for path, _ in tool.parts(model, 3)]
    assert deep == ["a.stages.0.0", "a.stages.1.0", "b"]


@pytest.mark.parametrize("method", ["blockcopy", "segblocks"])
def test_rows_cover_the_network(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path, method: str
) -> None:
    out = tmp_path / "layers.json"
    words = [tiny.config, "--shape", "64", "128", "--block-size", "32", "--active", "0.25"]
    tool.main([*words, "--method", method, "--repeats", "1", "--threads", "1", "--json", str(out)])
    found = json.loads(out.read_text())
    rows = {row["part"]: row for row in found["parts"]}
    assert {"backbone.layer1", "backbone.layer4", "rest"} <= rows.keys()
    share = 0.25 if method == "blockcopy" else 0.25 + 0.75 / 4
    assert rows["backbone.layer1"]["share"] == pytest.approx(share)
    assert rows["rest"]["frac"] is None
    assert found["config"] == "tiny.py" and found["provenance"]["versions"]["mmdyn"]
    assert all(row["dense_ms"] > 0 and row["sparse_ms"] > 0 for row in found["parts"])


def test_a_network_that_cannot_be_folded_is_timed_as_it_is(tool: ModuleType) -> None:
    first = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)).eval()
    nn.init.constant_(first[2].running_mean, 1.0)
    frame = torch.randn(1, 3, 8, 8)
    assert torch.allclose(tool.dense_twin(first, frame)(frame), first(frame), atol=1e-5)
    swapped = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    nn.init.constant_(swapped[2].running_mean, 1.0)
    assert torch.equal(tool.dense_twin(swapped, frame)(frame), swapped(frame))
