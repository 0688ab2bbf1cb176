"""BlockCopy without touching the model's config: converted before a test, restored after it."""

from __future__ import annotations

from dataclasses import fields

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmdyn.conversion import BlockCopyConfig, convert_model, restore_model, runtime_of
from mmdyn.registry import HOOKS


def model_of(runner: Runner) -> nn.Module:
    """A runner's model without the wrapper for several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class BlockCopyHook(Hook):
    """Runs a test on video with BlockCopy.

    ``default_hooks = dict(blockcopy=dict(type='mmdyn.BlockCopyHook', budget=0.3))``, or from the
    command line ``--cfg-options default_hooks.blockcopy.type=mmdyn.BlockCopyHook``.

    Args:
        **kwargs: Fields of ``mmdyn.BlockCopyConfig``.
    """

    def __init__(self, **kwargs) -> None:
        known = [f.name for f in fields(BlockCopyConfig)]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise TypeError(f"BlockCopyHook does not know {unknown}; it takes {known}")
        self.config = BlockCopyConfig(**kwargs)
        self._reported = False
        self._model = None

    def before_test(self, runner: Runner) -> None:
        model = model_of(runner)
        if isinstance(model, BaseTTAModel):
            raise ValueError(
                "test-time augmentation gives one frame several times; BlockCopy needs a clip's "
                "frames once and in order; test without --tta"
            )
        if get_world_size() > 1 and not _keeps_clips(runner.test_dataloader):
            raise ValueError(
                "the test sampler interleaves frames over processes; set "
                "test_dataloader.sampler=dict(type='mmdyn.ClipSampler')"
            )
        self.after_test(runner)  # a test before this one may have been broken off
        self._report = convert_model(model, self.config, trial=False)
        self._model = model
        self._reported = False

    def after_test_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        if not self._reported:
            runner.logger.info(str(self._report.read(runtime_of(self._model).last_frame)))
            self._reported = True

    def after_test(self, runner: Runner) -> None:
        model, self._model = self._model, None
        if model is not None:
            restore_model(model)


def _keeps_clips(dataloader) -> bool:
    return type(getattr(dataloader, "sampler", None)).__name__ == "ClipSampler"
