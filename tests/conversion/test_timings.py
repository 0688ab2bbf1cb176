"""Files of times: what their keys tell apart, and what becomes of files that do not serve."""

import json
import platform

import pytest
import torch
from torch import nn

from mmdyn.conversion import timings
from mmdyn.conversion.timings import TimesFile, machine_key, network_key

CPU = torch.device("cpu")


def net(width=4, **options) -> nn.Module:
    options = {"kernel_size": 3, **options}
    return nn.Sequential(nn.Conv2d(3, width, **options), nn.BatchNorm2d(width))


def test_the_networks_key_is_of_what_it_is_made_and_not_of_its_values():
    assert network_key(net()) == network_key(net().requires_grad_(False))
    assert network_key(net()).startswith("Sequential ")
    others = [net(5), net(stride=2), net(dilation=2), net().half(), net().append(nn.ReLU())]
    more = net()
    more[1].register_buffer("seen", torch.zeros(3))
    keys = {network_key(x) for x in [net(), *others, more]}
    assert len(keys) == 7


def test_addresses_in_descriptions_are_no_part_of_the_key():
    class Described(nn.Module):
        def extra_repr(self) -> str:
            return repr(object())

    assert network_key(Described()) == network_key(Described())


def test_a_network_without_sizes_yet_has_a_key():
    assert network_key(nn.LazyConv2d(4, 3)) == network_key(nn.LazyConv2d(4, 3))


def test_the_machines_key(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(
        "model name\t: Chip 9\nflags\t\t: fpu avx512f amx_tile\n\nmodel name : Chip 9\n"
    )
    monkeypatch.setattr(timings, "_CPUINFO", info)
    timings._processor.cache_clear()
    try:
        key = machine_key(CPU)
        assert key.startswith("Chip 9 AVX-512 AMX, ") and f"torch {torch.__version__}" in key
        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)
        other = machine_key(CPU)
        torch.set_num_threads(before)
        assert other != key == machine_key(CPU)
        info.unlink()
        timings._processor.cache_clear()
        assert machine_key(CPU).startswith(platform.processor() or platform.machine())
    finally:
        timings._processor.cache_clear()


def numbers(entry: dict) -> list[float]:
    return [entry["ms"]]


def test_entries_survive_and_others_stay(tmp_path, caplog):
    path = tmp_path / "times.json"
    TimesFile(path, "option", numbers).update({"a": {"ms": 1.0}})
    TimesFile(path, "option", numbers).update({"b": {"ms": 2.0}})
    with caplog.at_level("INFO"):
        assert TimesFile(path, "option", numbers).get("a") == {"ms": 1.0}
        assert not caplog.text
        again = TimesFile(path, "option", numbers)
        assert again.get("c") is None and again.get("d") is None
    assert caplog.text.count("has no times of this network") == 1
    assert json.loads(path.read_text()).keys() == {"a", "b"}


def test_without_a_path_nothing_is_kept():
    file = TimesFile(None, "option", numbers)
    file.update({"a": {"ms": 1.0}})
    assert file.path is None


def test_a_bad_file_is_told_by_its_option(tmp_path):
    (tmp_path / "times.json").write_text('{"a": {"ms": Infinity}}')
    with pytest.raises(ValueError, match="option=.*not finite.*delete the file"):
        TimesFile(tmp_path / "times.json", "option", numbers)
