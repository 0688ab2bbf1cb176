"""DynConv in a runner: thresholds that meet the budget, and what was executed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdyn.conversion import calibrate, is_converted, runtime_of
from mmdyn.conversion.dynconv_runtime import DynConvRuntime, gates_of, states_of
from mmdyn.conversion.gated import GATE
from mmdyn.engine.calibration_images import TrainingImages
from mmdyn.engine.hooks import model_of
from mmdyn.registry import HOOKS

_LOOKS = 10  # at what a test would execute, while thresholds settle
_KEY = "dynconv"  # in checkpoints
_NEAR = 0.01  # of the whole arithmetic: executed shares this near the budget meet it


@HOOKS.register_module()
class DynConvHook(Hook):
    """Calibrates the gates before validations and tests; logs what they then executed.

    ``default_hooks = dict(dynconv=dict(type='mmdyn.DynConvHook'))``. The metrics gain
    ``dynconv/executed_share``, to be compared with the budget, and ``dynconv/run_share``, which
    counts blocks whole that ran dense because that is faster. Training goes on with the thresholds
    it had, also when it is resumed; checkpoints saved after a validation have the calibrated ones.

    Args:
        batches (int): How much to calibrate on: as many images as so many training batches hold;
            0 leaves the thresholds as the checkpoint has them. Default 8.
        source (str): 'train' calibrates on the training data, prepared as validation or test
            prepare theirs; 'test' on the first batches of the data at hand, whose labels are not
            looked at. Default 'train'.
        checkpoints (str): Which checkpoints to calibrate on the training data when they are saved
            before a validation: 'last', at the end of the training, 'all' or 'none'. Default
            'last'.
    """

    # After EMAHook (50), which swaps the weights, and before LoggerHook (60), which prints.
    priority = 55

    def __init__(self, batches: int = 8, source: str = "train", checkpoints: str = "last") -> None:
        for name, value, known in (
            ("source", source, ("train", "test")),
            ("checkpoints", checkpoints, ("last", "all", "none")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        self.batches, self.source, self.checkpoints = batches, source, checkpoints
        self._images: TrainingImages | None = None
        self._own: list[torch.Tensor] | None = None  # the training's thresholds
        self._found: dict[str, torch.Tensor] | None = None  # calibrated, until weights change

    def before_val(self, runner: Runner) -> None:
        if self._own is None:
            self._own = [gate.threshold.clone() for gate in gates_of(_model(runner))]

    before_test = before_val

    def before_val_epoch(self, runner: Runner) -> None:
        self._before(runner, runner.val_dataloader)

    def before_test_epoch(self, runner: Runner) -> None:
        self._before(runner, runner.test_dataloader)

    @torch.no_grad()
    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._found = None
        if self._own is not None:
            for gate, own in zip(gates_of(_model(runner)), self._own):
                gate.threshold.copy_(own)
            self._own = None
        runtime = runtime_of(_model(runner))
        settling = int(runner.max_iters * (1.0 - runtime.config.noise_until))
        since = runner.iter - (runner.max_iters - settling)
        looks = since > 0 and since % max(settling // _LOOKS, 1) == 0
        measures = self.batches and self.source == "train" and runtime.selection is None
        if looks and measures and not runtime.all_open:
            self._aim(runner, runtime)

    def _aim(self, runner: Runner, runtime: DynConvRuntime) -> None:
        """Measures what a test would execute with the thresholds that training has.

        Images of a test have no padding and no paint, and execute more. Calibration would close
        what the network was trained to compute; so training aims lower.
        """
        model = _model(runner)
        training = model.training
        runtime.constants.forget()  # folded weights of the look before
        runtime.reset()
        model.eval()
        try:
            for x in self._inputs(runner, model, None):
                model.extract_feat(x)
        finally:
            model.train(training)
        totals = torch.tensor(runtime.totals, dtype=torch.float64)
        all_reduce(totals)
        runtime.reset()
        wanted, _, total = totals.tolist()
        if not total:  # no training ends for want of a look
            runner.logger.warning("no image was seen in a look at what a test executes")
            return
        runtime.excess = wanted / total - float(runtime.density)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A resume takes up the training's own thresholds, and how much lower it aims."""
        self._own = self._found = None
        kept = checkpoint.get(_KEY)
        if kept is None or not runner._resume:
            return
        model = _model(runner)
        runtime, paths = runtime_of(model), [state.path for state in states_of(model)]
        runtime.excess, runtime.density = kept["excess"], kept["density"]
        if kept["thresholds"].keys() == set(paths):
            self._own = [torch.tensor(kept["thresholds"][path]) for path in paths]

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._report(runner, "val", metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._report(runner, "test", metrics)

    @torch.no_grad()
    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Gives the weights that will be loaded their thresholds; the main process alone."""
        model, state = _model(runner), checkpoint["state_dict"]
        checkpoint[_KEY] = self._kept(model)
        if self._found is None and self._calibrates(runner):
            kept = {name: value.clone() for name, value in model.state_dict().items()}
            try:
                model.load_state_dict(state)  # averaged weights, where there are some
                found = self._calibrate(runner, model, None)
                self._found = _calibrated(model) if found is not None else None
            finally:
                model.load_state_dict(kept)
        if self._found is not None:
            for name in self._found.keys() & state.keys():
                state[name] = self._found[name].to(state[name], copy=True)

    def _kept(self, model) -> dict:
        """What a resume needs besides the weights."""
        runtime = runtime_of(model)
        own = self._own or [gate.threshold for gate in gates_of(model)]
        thresholds = {s.path: float(value) for s, value in zip(states_of(model), own)}
        excess, density = float(runtime.excess), float(runtime.density)
        return dict(excess=excess, density=density, thresholds=thresholds)

    def _calibrates(self, runner: Runner) -> bool:
        """Whether a checkpoint that is being saved wants a calibration of its own."""
        if not self.batches or self.source != "train" or not runner.cfg.get("train_dataloader"):
            return False
        last = runner.iter + 1 >= runner.max_iters
        return self.checkpoints == "all" or (self.checkpoints == "last" and last)

    @torch.no_grad()
    def _before(self, runner: Runner, dataloader) -> None:
        model = _model(runner)
        if self.batches:
            found = self._calibrate(runner, model, dataloader)
            for value in _calibrated(model, copy=False).values():
                broadcast(value)
            self._found = _calibrated(model) if found is not None else None
        runtime_of(model).reset()

    def _calibrate(self, runner: Runner, model, dataloader) -> float | None:
        """The thresholds' new value; None, told, where there is no image to calibrate on."""
        inputs = list(self._inputs(runner, model, dataloader))
        if not inputs:
            runner.logger.warning("no image to calibrate the gates on: they keep their thresholds")
            return None
        threshold, share = calibrate(model, lambda: [model.extract_feat(x) for x in inputs])
        runner.logger.info(
            f"gates calibrated on {sum(len(x) for x in inputs)} images: threshold "
            f"{threshold:.3f}, {share:.2%} of the arithmetic"
        )
        return threshold

    def _inputs(self, runner: Runner, model, dataloader) -> Iterator[torch.Tensor]:
        """Preprocessed image batches."""
        if self.source == "train":
            if self._images is None:
                self._images = TrainingImages(runner)
            for data in self._images.batches(self.batches):
                yield model.data_preprocessor(data, self._images.training)["inputs"]
            return
        for _, data in zip(range(self.batches), dataloader):
            yield model.data_preprocessor(data, False)["inputs"]

    def _report(self, runner: Runner, stage: str, metrics: dict | None) -> None:
        runtime = runtime_of(_model(runner))
        totals = torch.tensor(runtime.totals, dtype=torch.float64)
        all_reduce(totals)
        wanted, ran, total = totals.tolist()
        if not total:
            return
        shares = {"executed_share": wanted / total, "run_share": ran / total}
        for name, share in shares.items():
            # mmengine has passed the metrics on to the log before this hook.
            runner.message_hub.update_scalar(f"{stage}/dynconv/{name}", share)
            if metrics is not None:
                metrics[f"dynconv/{name}"] = share
        budget, share = runtime.config.budget, shares["executed_share"]
        if abs(share - budget) > _NEAR:
            runner.logger.warning(
                f"the gates executed {share:.1%} of the arithmetic for a budget of {budget:.1%}: "
                "the images differ from those of the calibration; give DynConvHook more batches "
                "or source='test'"
            )


def _calibrated(model, copy: bool = True) -> dict[str, torch.Tensor]:
    """What calibration sets, by its name in the state dict."""
    names = (f"{GATE}.threshold", f"{GATE}.part")
    kept = {name: value for name, value in model.named_buffers() if name.endswith(names)}
    return {name: value.clone() if copy else value for name, value in kept.items()}


def _model(runner: Runner):
    model = model_of(runner)
    model = getattr(model, "module", model)  # of test-time augmentation
    if not is_converted(model) or not isinstance(runtime_of(model), DynConvRuntime):
        raise ValueError(
            f"DynConvHook needs a model with gates, got {type(model).__name__}; set "
            "model=dict(type='mmdyn.DynConv', host=...)"
        )
    return model
