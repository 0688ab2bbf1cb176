"""DynConv in a runner: thresholds that meet the budget, and what was executed."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdyn.conversion import calibrate, is_converted, runtime_of
from mmdyn.conversion.dynconv_runtime import DynConvRuntime, gates_of
from mmdyn.registry import HOOKS


@HOOKS.register_module()
class DynConvHook(Hook):
    """Calibrates the gates before validations and tests; adds what they executed to the metrics.

    ``default_hooks = dict(dynconv=dict(type='mmdyn.DynConvHook'))``. The metrics gain
    ``dynconv/executed_share``, to be compared with the budget, and ``dynconv/run_share``, which
    counts blocks whole that ran dense because that is faster.

    Args:
        batches (int): Batches to calibrate on; 0 leaves the thresholds as the checkpoint has
            them. Default 8.
        source (str): 'train' calibrates on the training data, 'test' on the first images of the
            data at hand, whose labels are not looked at. Default 'train'.
    """

    def __init__(self, batches: int = 8, source: str = "train") -> None:
        if source not in ("train", "test"):
            raise ValueError(f"source must be 'train' or 'test', got {source!r}")
        self.batches, self.source = batches, source

    def before_val(self, runner: Runner) -> None:
        self._before(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        self._before(runner, runner.test_dataloader)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Adds the shares to the metrics."""
        runtime = runtime_of(_model(runner))
        totals = torch.tensor(runtime.totals, dtype=torch.float64)
        all_reduce(totals)
        wanted, ran, total = totals.tolist()
        if metrics is not None and total:
            metrics["dynconv/executed_share"] = wanted / total
            metrics["dynconv/run_share"] = ran / total

    after_test_epoch = after_val_epoch

    @torch.no_grad()
    def _before(self, runner: Runner, dataloader) -> None:
        model = _model(runner)
        if self.batches:
            inputs = list(self._inputs(runner, model, dataloader))
            threshold, share = calibrate(model, lambda: [model.extract_feat(x) for x in inputs])
            for gate in gates_of(model):
                broadcast(gate.threshold)
            runner.logger.info(
                f"gates calibrated on {sum(len(x) for x in inputs)} images: threshold "
                f"{threshold:.3f}, {share:.2%} of the arithmetic"
            )
        runtime_of(model).reset()

    def _inputs(self, runner: Runner, model, dataloader) -> Iterator[torch.Tensor]:
        """Preprocessed image batches."""
        if self.source == "train":
            settings = copy.deepcopy(runner.cfg.get("train_dataloader"))
            if not settings:
                raise ValueError(
                    "the config has no train_dataloader to calibrate the gates on; set "
                    "default_hooks.dynconv.source='test' or batches=0"
                )
            settings.update(num_workers=0, persistent_workers=False)
            dataloader = runner.build_dataloader(settings, seed=0)
        for _, data in zip(range(self.batches), dataloader):
            yield model.data_preprocessor(data, False)["inputs"]


def _model(runner: Runner):
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = getattr(model, "module", model)  # of test-time augmentation
    if not is_converted(model) or not isinstance(runtime_of(model), DynConvRuntime):
        raise ValueError(
            f"DynConvHook needs a model with gates, got {type(model).__name__}; set "
            "model=dict(type='mmdyn.DynConv', host=...)"
        )
    return model
