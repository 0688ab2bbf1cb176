"""A config checks itself when it is made."""

import dataclasses

import numpy as np
import pytest

from mmdyn import BlockCopyConfig, DynConvConfig, SegBlocksConfig
from mmdyn.gating import stepped


@pytest.mark.parametrize(
    "options",
    [
        dict(budget=1.5),
        dict(budget=-0.1),
        dict(budget=float("nan")),
        dict(block_size=4),
        dict(block_size=(64, 4)),
        dict(block_size=(64, 64, 64)),
        dict(block_size="big"),
        dict(block_size=64.0),
        dict(max_age=0),
        dict(max_streams=0),
        dict(max_streams=2.5),
        dict(max_age=1.5),
        dict(max_age=None),
        dict(max_age="x"),
        dict(policy=None),
        dict(policy=3),
        dict(clip_id=None),
        dict(motion="x"),
        dict(learning="yes"),
        dict(dense_fallback=3),
        dict(strict="no"),
        dict(replay=None),
        dict(budget="0.3"),
        dict(budget=None),
        dict(budget=True),
        dict(half_budget="0.3"),
        dict(scene_cut=0.0),
        dict(scene_cut=float("nan")),
        dict(scene_cut=None),
        dict(refresh=-0.1),
        dict(refresh=float("nan")),
        dict(refresh="never"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        BlockCopyConfig(**options)


@pytest.mark.parametrize("kind", [BlockCopyConfig, SegBlocksConfig, DynConvConfig])
def test_a_budget_in_quotes_is_refused_and_shown(kind):
    with pytest.raises(ValueError, match="budget must be a share .*, got '0.3'"):
        kind(budget="0.3")


def test_limits_that_switch_a_rule_off():
    config = BlockCopyConfig(scene_cut=float("inf"), refresh=None)
    assert config.scene_cut == float("inf") and config.refresh is None
    assert BlockCopyConfig(refresh=0, budget=1, scene_cut=np.float32(0.5)).refresh == 0


def test_a_config_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BlockCopyConfig().budget = 0.3


def test_block_sides():
    assert BlockCopyConfig(block_size=64).blocks_for(100, 200) == (64, 64)
    assert BlockCopyConfig(block_size=(32, 96)).blocks_for(100, 200) == (32, 96)
    assert BlockCopyConfig(block_size=[32, 96]).sides == (32, 96)


@pytest.mark.parametrize("size", [(1024, 2048), (800, 1333), (360, 480), (416, 416), (64, 64)])
def test_auto_blocks_are_multiples_of_32_near_128(size):
    config = BlockCopyConfig(block_size="auto")
    for length, side in zip(size, config.blocks_for(*size), strict=True):
        assert side % 32 == 0 and 64 <= side <= 224
        assert -length % side == min(-length % other for other in range(64, 225, 32))


def test_timings_without_timing_are_refused():
    with pytest.raises(ValueError, match="'t.json' needs execution='auto'.*got 'sparse'"):
        DynConvConfig(timings="t.json", execution="sparse")


@pytest.mark.parametrize("settings", [
    dict(budget=0.0), dict(budget=1.5), dict(gate="se"), dict(tile=0), dict(per="pixel"),
    dict(execution="fast"), dict(temperature=((0.1, 1.0),)), dict(temperature=-1.0),
    dict(open_init=1.0), dict(skip="layer1"), dict(noise_until=5), dict(noise_until=-0.1),
    dict(settle=-1.0), dict(weight=-3.0), dict(temperature=((0, 1.0), (0.5, 0.5), (0.2, 3.0))),
    dict(temperature=((0, 1.0), (0, 2.0))), dict(select="best"), dict(norm="no"), dict(norm=1),
    dict(gate_frozen="False"), dict(strict="no"), dict(weight=float("nan")), dict(settle="a"),
    dict(weight=float("inf")), dict(weight=None), dict(tile=True), dict(tile=2.0), dict(tile=65),
    dict(temperature=True), dict(temperature=None), dict(temperature=()), dict(open_init="a"),
    dict(temperature=((0, 5.0), (1.5, 2.0))), dict(temperature=((0, 1.0), (0.5,))),
    dict(temperature=((0, 1.0), (0.5, None))), dict(temperature=float("nan")), dict(skip=None),
    dict(skip=(1,)), dict(skip=("",)), dict(noise_until=None), dict(gate=["conv1x1"]),
    dict(timings=3), dict(timings=True), dict(tile={}), dict(tile=dict(layer1=0)),
    dict(tile={"": 4}), dict(tile={3: 4}), dict(tile=dict(layer1=dict(a=2))), dict(tile=[4]),
], ids=str)  # fmt: skip
def test_dynconv_settings_out_of_range_are_refused_by_name(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} .*, got "):
        DynConvConfig(**settings)


def test_dynconv_settings_as_config_files_and_numpy_spell_them():
    config = DynConvConfig(
        temperature=[[0, 5.0], [1, np.float32(0.5)]], skip=["layer1"], tile=np.int64(4), settle=0,
        weight=0, noise_until=1,
    )  # fmt: skip
    assert stepped(config.temperature, 1.0) == 0.5
    assert stepped(DynConvConfig(temperature=np.float32(0.5)).temperature, 0.3) == 0.5


def test_a_block_size_may_be_numpys():
    assert SegBlocksConfig(block_size=np.int64(64)).blocks_for(100, 100) == (64, 64)
    assert BlockCopyConfig(block_size=(np.int32(32), 64)).sides == (32, 64)
