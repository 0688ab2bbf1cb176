"""SegBlocks' config line through mmengine's own Runner: checkpoints, resume, moving averages."""

import pytest
import torch

from mmdyn import restore_model
from mmdyn.conversion import is_converted, runtime_of
from tests.engine.stock import runner_of, write_images

LINE = dict(type="mmdyn.SegBlocks", budget=0.5, block_size=32)


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("mmseg")
    write_images(tmp_path)
    return tmp_path


def test_the_line_trains_resumes_and_tests(folder):
    runner = runner_of("mmseg", folder, line=LINE)
    model = runner.model
    assert is_converted(model) and type(model).__name__ == "SegBlocksEncoderDecoder"
    runner.train()
    saved = torch.load(folder / "work" / "iter_2.pth", weights_only=False)
    names = list(saved["state_dict"])
    assert any(n.startswith("block_policy.") for n in names)
    assert len(saved["optimizer"]["param_groups"][0]["params"]) == len(list(model.parameters()))
    assert runner.test() and runtime_of(model).stats["executed_share"] == 0.5
    stock = runner_of("mmseg", folder).model
    assert [n for n in names if not n.startswith("block_policy.")] == list(stock.state_dict())

    again = runner_of(
        "mmseg", folder, line=LINE, resume=True, load_from=str(folder / "work" / "iter_2.pth"),
        **{"train_cfg.max_iters": 3},
    )  # fmt: skip
    again.train()
    assert again.iter == 3
    assert float(again.model.block_policy.reward_sums[0]) > 0


def test_moving_averages_cover_the_policy_and_are_what_is_tested(folder):
    hooks = [dict(type="EMAHook", momentum=0.5)]
    runner = runner_of("mmseg", folder, line=LINE, custom_hooks=hooks)
    runner.train()
    saved = torch.load(folder / "work" / "iter_2.pth", weights_only=False)
    # mmengine stores the averages as the weights, and the weights that train beside them.
    trained = {n.removeprefix("module."): v for n, v in saved["ema_state_dict"].items()}
    averaged = saved["state_dict"]
    assert set(averaged) <= set(trained)
    names = {name.split(".")[0] for name, v in averaged.items() if not v.equal(trained[name])}
    assert names == {"backbone", "decode_head", "block_policy"}

    again = runner_of(
        "mmseg", folder, line=LINE, custom_hooks=hooks, load_from=str(folder / "work/iter_2.pth")
    )
    tested = []
    model = again.model
    model.backbone.register_forward_hook(lambda *_: tested.append(weights_of(model)))
    assert again.test()
    assert tested and all(v.equal(averaged[n]) for seen in tested for n, v in seen.items())


def weights_of(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_stock_weights_load_and_come_back_without_the_policy(folder):
    stock = runner_of("mmseg", folder).model
    mine = runner_of("mmseg", folder, line=LINE).model
    missing, unexpected = mine.load_state_dict(stock.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("block_policy.") for name in missing)
    restored = restore_model(mine).state_dict()
    assert list(restored) == list(stock.state_dict())
    assert all(torch.equal(v, restored[n]) for n, v in stock.state_dict().items())


def test_all_full_tests_like_the_stock_model(folder):
    stock = runner_of("mmseg", folder)
    wanted = stock.test()
    line = runner_of("mmseg", folder, line=dict(LINE, policy="all-full"))
    line.model.load_state_dict(stock.model.state_dict())
    assert line.test() == pytest.approx(wanted, abs=1e-3)
