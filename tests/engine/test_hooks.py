"""The hook converts for a test and gives the stock model back."""

import pytest
from mmengine.model import BaseTTAModel

from mmdyn.conversion import is_converted, runtime_of
from mmdyn.engine import hooks
from mmdyn.engine.hooks import BlockCopyHook
from mmdyn.registry import HOOKS
from tests.engine.stock import CLIP, LINE, STOCK, runner_of, write_images

HOOK = {"default_hooks.blockcopy": dict(type="mmdyn.BlockCopyHook", **LINE)}


def hook_of(runner) -> BlockCopyHook:
    return next(h for h in runner.hooks if isinstance(h, BlockCopyHook))


@pytest.mark.parametrize("package", STOCK)
def test_the_model_is_converted_before_a_test_and_restored_after_it(package, tmp_path):
    write_images(tmp_path)
    runner = runner_of(package, tmp_path, **HOOK)
    before, shares, after = type(runner.model), [], hook_of(runner).after_test_iter

    def noted(runner, *args, **kwargs):
        shares.append(runtime_of(runner.model).stats["executed_share"])
        return after(runner, *args, **kwargs)

    hook_of(runner).after_test_iter = noted
    runner.test()
    assert type(runner.model) is before and not is_converted(runner.model)
    assert not any(m._forward_hooks for m in runner.model.modules())
    assert shares[0] == 1.0 and len(shares) == CLIP and min(shares) < 1.0


def test_a_test_that_was_broken_off_does_not_spoil_the_next(tmp_path):
    write_images(tmp_path)
    runner = runner_of("mmseg", tmp_path, **HOOK)
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    evaluator = runner._test_loop.evaluator
    process, evaluator.process = evaluator.process, lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        runner.test()
    evaluator.process = process
    runner.test()
    assert not is_converted(runner.model)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(TypeError, match=r"\['bugdet'\]; it takes .*budget"):
        HOOKS.build(dict(type="BlockCopyHook", bugdet=0.3))


class Runner:
    """As much of a runner as the hook looks at."""

    def __init__(self, model, sampler=None) -> None:
        self.model = model
        self.test_dataloader = type("Loader", (), dict(sampler=sampler))()


def test_test_time_augmentation_is_refused():
    model = type("TTA", (BaseTTAModel,), {"merge_preds": None, "__init__": lambda self: None})()
    with pytest.raises(ValueError, match="without --tta"):
        BlockCopyHook().before_test(Runner(model))


def test_a_sampler_that_interleaves_frames_is_refused_on_many_processes(monkeypatch):
    monkeypatch.setattr(hooks, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="mmdyn.ClipSampler"):
        BlockCopyHook().before_test(Runner(None, sampler=object()))
