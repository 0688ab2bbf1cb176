"""The config line, through mmengine's own Runner."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmdyn.conversion import is_converted, runtime_of
from mmdyn.registry import MODELS
from tests.engine.stock import LINE, STOCK, runner_of, write_images

both = pytest.mark.parametrize("package", STOCK)


@both
def test_the_line_trains_tests_and_writes_stock_checkpoints(package, tmp_path):
    write_images(tmp_path)
    runner = runner_of(package, tmp_path, line=LINE)
    model = runner.model
    assert is_converted(model) and type(model).__name__.startswith("BlockCopy")
    runner.train()
    assert runner.test()
    assert runtime_of(model).stats["executed_share"] < 1.0
    state = torch.load(tmp_path / "work" / "iter_2.pth", weights_only=False)["state_dict"]
    stock = runner_of(package, tmp_path).model
    assert not is_converted(stock) and list(stock.state_dict()) == list(state)
    stock.load_state_dict(state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stock.state_dict()[name]), name


@both
def test_all_blocks_test_like_the_stock_model(package, tmp_path):
    write_images(tmp_path)
    stock = runner_of(package, tmp_path)
    wanted = stock.test()
    line = runner_of(package, tmp_path, line=dict(LINE, policy="all"))
    line.model.load_state_dict(stock.model.state_dict())
    assert line.test() == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("host", ["NoSuchNet", None, 3], ids=str)
def test_an_unknown_host_is_refused_with_the_remedy(host):
    with pytest.raises(ValueError, match="unknown host.*host='MaskRCNN'"):
        MODELS.build(dict(type="mmdyn.BlockCopy", host=host))


@pytest.mark.parametrize("options, words", [
    (dict(host="mmdyn.BlockCopy"), "host 'mmdyn.BlockCopy' is mmdyn's own"),
    (dict(), "unknown host None"),
])  # fmt: skip
def test_a_line_without_a_stock_host_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MODELS.build(dict(type="mmdyn.BlockCopy", **options))


def test_a_misspelt_option_is_known_for_one(tmp_path):
    with pytest.raises(TypeError, match="buget.*nor mmdyn.BlockCopy knows it.*budget"):
        runner_of("mmseg", tmp_path, line=dict(LINE, buget=0.5))


def test_slide_mode_is_refused(tmp_path):
    slide = {"model.test_cfg": dict(mode="slide", crop_size=(32, 32), stride=(16, 16))}
    with pytest.raises(ValueError, match="mode='whole'"):
        runner_of("mmseg", tmp_path, line=LINE, **slide)


def test_block_sizes_may_be_lists_as_configs_write_them(tmp_path):
    runner = runner_of("mmseg", tmp_path, line=dict(LINE, block_size=[32, 64]))
    assert runtime_of(runner.model).config.blocks_for(64, 64) == (32, 64)


def test_the_hosts_own_wrong_arguments_are_the_hosts_to_refuse(tmp_path):
    init_default_scope("mmseg")
    with pytest.raises(TypeError, match="budgets"):
        runner_of("mmseg", tmp_path, line=dict(LINE, budgets=0.3))
