"""The host check: what it judges, what it writes, and that it sees a wrong network."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmdyn.conversion import is_converted
from mmdyn.conversion.hosts import parity, zoo
from mmdyn.conversion.hosts.errors import relative_error, worst_error

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))  # a process of its own imports the tool by name


def _load_tool():
    spec = importlib.util.spec_from_file_location("check_hosts", ROOT / "tools" / "check_hosts.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _load_tool()


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x):
        return self.second(self.first(x).relu())


class Drifting(Small):
    """Says something else whenever it is asked: no conversion of it can be right."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + self.calls


def test_a_network_equals_its_dense_self():
    found = parity.measure(Small().eval(), (64, 64), 16)
    assert not found.faults
    assert found.error_none == 0.0 and found.error_all < 1e-5
    assert found.error_some < 1e-5 and found.error_replay < 1e-5
    assert found.sparse_mac_share == 1.0 and not found.dense_ops


def test_a_wrong_network_is_seen():
    faults = parity.measure(Drifting().eval(), (64, 64), 16).faults
    assert [fault.split()[0] for fault in faults] == ["error_all", "error_some", "error_replay"]


@pytest.mark.parametrize(
    "ours, error",
    [
        ([1.0, 2.0], 0.0),
        ([1.0, 1.0], 0.5),
        ([1.0, float("nan")], float("inf")),
        ([1.0], float("inf")),
    ],
)
def test_relative_error(ours, error):
    assert relative_error(torch.tensor(ours), torch.tensor([1.0, 2.0])) == error


def test_a_stock_config_passes_and_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mmseg")
    config = "mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py"
    rows, table = tmp_path / "rows.json", tmp_path / "hosts.md"
    arguments = [config, "--size", "128", "--block-size", "32"]
    monkeypatch.setattr(
        sys, "argv", ["check_hosts.py", *arguments, "--json", str(rows), "--markdown", str(table)]
    )
    assert tool.main() == 0
    (row,) = json.loads(rows.read_text())
    assert row["config"] == config and row["status"] == "ok" and row["error_all"] <= 1e-4
    assert {"error_none", "sparse_mac_share", "dense_ops", "ms"} <= set(row)
    assert f"| {config} | ok |" in table.read_text()
    assert "1 ok" in capsys.readouterr().out


def test_a_config_with_the_line_is_checked_as_its_host(tmp_path):
    pytest.importorskip("mmdet")
    config = tmp_path / "line.py"
    line = 'dict(type="mmdyn.BlockCopy", host="YOLOX", budget=0.3)'
    config.write_text(f'_base_ = "mmdet::yolox/yolox_nano_8xb8-300e_coco.py"\nmodel = {line}\n')
    model = zoo.build(str(config))
    assert type(model).__name__ == "YOLOX" and not is_converted(model)


def test_a_tracker_is_refused_by_name():
    pytest.importorskip("mmdet")
    row = tool.check("mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py", (64, 64), 32)
    assert row.status == "refused" and "QDTrack is a tracker" in row.reason


def test_an_unknown_config_fails():
    row = tool.check("mmdet::nowhere/nothing.py", (64, 64), 32)
    assert row.status == "failed" and "nothing.py" in row.reason


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "wants_it.py").write_text("import package_that_nobody_has\n")
    config = tmp_path / "config.py"
    config.write_text("custom_imports = dict(imports=['wants_it'], allow_failed_imports=False)\n")
    sys.path.insert(0, str(tmp_path))
    try:
        row = tool.check(str(config), (64, 64), 32)
    finally:
        sys.path.remove(str(tmp_path))
    assert row.status == "skipped"
    assert row.reason == "Unbuilt: ImportError: No module named 'package_that_nobody_has'"


def test_a_zoo_has_one_config_a_family():
    pytest.importorskip("mmseg")
    names = zoo.representatives("mmseg")
    assert len(names) == len(set(names)) and any("::deeplabv3plus/" in n for n in names)
    assert all(zoo.resolve(name).is_file() for name in names)


def test_an_image_that_blocks_do_not_divide_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["check_hosts.py", "x.py", "--size", "100"])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert "multiples of 64" in capsys.readouterr().err


def test_an_output_of_one_number_is_held_to_its_head() -> None:
    levels = [torch.tensor([[[[4.0, 1.0]]]]), torch.tensor([[[[1e-5]]]])]
    ours = [levels[0], levels[1] + 4e-6]
    assert worst_error(dict(head=ours), dict(head=levels))[0] == pytest.approx(1e-6, rel=0.01)
    apart = [levels[0] + 4e-3, levels[1]]
    assert worst_error(dict(head=apart), dict(head=levels))[0] == pytest.approx(1e-3, rel=0.01)
