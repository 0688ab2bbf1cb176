"""The hook's thresholds: for the weights that run, in the log, in checkpoints."""

from pathlib import Path

import pytest
import torch
from mmcv.transforms import TRANSFORMS, BaseTransform
from mmengine.hooks import Hook

import mmdyn
from mmdyn.conversion import runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from mmdyn.engine.calibration_images import TrainingImages
from mmdyn.engine.dynconv_hook import DynConvHook
from tests.engine.stock import runner_of, write_images

GATED = dict(type="mmdyn.DynConv", budget=0.5, open_init=0.6, execution="sparse")
ITERS = 4
AVERAGES = dict(custom_hooks=[dict(type="EMAHook", momentum=0.02)])


class Seen(Hook):
    """Keeps the metrics of validations, and the thresholds of iterations."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.metrics, self.thresholds, self.aims = {}, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runtime = runtime_of(runner.model)
        self.aims.append((runtime.excess, float(runtime.density)))
        self.thresholds.append(float(gates_of(runner.model)[0].threshold))

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.update(metrics)


def trained(folder, interval=ITERS, hook=(), **options):
    """A runner after training, and validations on the same images if there is an interval."""
    if not (folder / "img").is_dir():
        write_images(folder)
    settings = {
        "default_hooks.dynconv": dict(type="mmdyn.DynConvHook", batches=4, **dict(hook)),
        "train_cfg.max_iters": ITERS,
        "train_cfg.val_interval": interval or 1,
        "optim_wrapper.optimizer.lr": 0.1,
    }
    runner = runner_of("mmseg", folder, line=GATED, **{**settings, **options})
    if interval:
        runner._val_dataloader = runner.cfg.train_dataloader
        runner._val_loop, runner._val_evaluator = dict(type="ValLoop"), runner.cfg.test_evaluator
    seen = Seen()
    runner.register_hook(seen)
    runner.train()
    return runner, seen


def executed(runner, state) -> float:
    """Share that the model executes with these weights on the training images."""
    model = runner.model
    model.load_state_dict(state)
    model.eval()
    mmdyn.reset(model)
    with torch.no_grad():
        for data in runner.train_dataloader:
            model.extract_feat(model.data_preprocessor(data, True)["inputs"])
    return runtime_of(model).stats["executed_share"]


@pytest.mark.parametrize("options", [{}, AVERAGES], ids=["plain", "averaged"])
def test_validation_meets_the_budget_and_says_so(options, tmp_path):
    runner, seen = trained(tmp_path, **options)
    assert seen.metrics["dynconv/executed_share"] == pytest.approx(0.5, abs=0.01)
    logged = runner.message_hub.get_scalar("val/dynconv/executed_share").current()
    assert logged == seen.metrics["dynconv/executed_share"]
    written = next((tmp_path / "work").glob("*/vis_data/scalars.json")).read_text()
    assert f'"dynconv/executed_share": {logged}' in written


@pytest.mark.parametrize("options", [{}, AVERAGES], ids=["plain", "averaged"])
def test_the_last_checkpoint_is_calibrated_before_any_validation(options, tmp_path):
    checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=ITERS // 2)
    runner, _ = trained(tmp_path, 0, **{"default_hooks.checkpoint": checkpoint, **options})
    own = [float(g.threshold) for g in gates_of(runner.model)]
    middle, last = (
        torch.load(tmp_path / "work" / f"iter_{k}.pth", weights_only=False)
        for k in (ITERS // 2, ITERS)
    )
    trained_weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
    if options:  # what goes on training is what a resume takes up
        for name, value in trained_weights.items():
            assert torch.equal(last["ema_state_dict"][f"module.{name}"], value), name
    assert own == [0.0] * len(own)
    assert executed(runner, last["state_dict"]) == pytest.approx(0.5, abs=0.01)
    assert executed(runner, middle["state_dict"]) > 0.52


@pytest.mark.parametrize("options", [{}, AVERAGES], ids=["plain", "averaged"])
@pytest.mark.parametrize("interval", [0, ITERS])
def test_the_last_checkpoint_keeps_what_topk_gives_each_block(options, interval, tmp_path):
    options = {"model.select": "topk", "default_hooks.checkpoint.interval": ITERS, **options}
    runner, _ = trained(tmp_path, interval, **options)
    state = torch.load(tmp_path / "work" / f"iter_{ITERS}.pth", weights_only=False)["state_dict"]
    parts = torch.stack([v for name, v in state.items() if name.endswith("dynconv_gate.part")])
    assert parts.std() > 0.01
    assert executed(runner, state) == pytest.approx(0.5, abs=0.03)


def test_training_goes_on_with_its_own_thresholds(tmp_path):
    hook = dict(checkpoints="none")
    runner, seen = trained(tmp_path, ITERS // 2, hook, **{"model.noise_until": 1.0})
    assert seen.thresholds == [0.0] * ITERS
    assert float(gates_of(runner.model)[0].threshold) != 0.0


def test_a_missed_budget_is_a_warning(tmp_path, monkeypatch):
    write_images(tmp_path)
    line = {**GATED, "open_init": 0.9}
    hook = {"default_hooks.dynconv": dict(type="mmdyn.DynConvHook", batches=0)}
    runner = runner_of("mmseg", tmp_path, line=line, **hook)
    messages = []
    monkeypatch.setattr(runner.logger, "warning", lambda text, *a: messages.append(text))
    runner.test()
    assert any("for a budget of 50.0%" in str(text) for text in messages)
    assert runner.message_hub.get_scalar("test/dynconv/executed_share").current() > 0.6


def test_images_of_different_sizes_are_padded_as_in_training(tmp_path):
    import cv2

    write_images(tmp_path)
    for folder in ("img", "ann"):
        file = str(tmp_path / folder / "clip_001.png")
        cv2.imwrite(file, cv2.imread(file, cv2.IMREAD_UNCHANGED)[:50])
    hook = {"default_hooks.dynconv": dict(type="mmdyn.DynConvHook", batches=2)}
    assert "dynconv/executed_share" in runner_of("mmseg", tmp_path, line=GATED, **hook).test()


@pytest.mark.parametrize("options", [dict(source="val"), dict(checkpoints="best")])
def test_unknown_choices_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DynConvHook(**options)


class Painted(BaseTransform):
    """What training does to images here: only the middle of them stays."""

    def transform(self, results: dict) -> dict:
        results["img"][:24], results["img"][-24:] = 0, 0
        return results


TRANSFORMS.register_module(module=Painted, name="PaintedForCalibration", force=True)


def test_images_of_the_calibration_are_those_that_a_test_would_see(tmp_path):
    write_images(tmp_path)
    hook = dict(type="mmdyn.DynConvHook", batches=2)
    runner = runner_of("mmseg", tmp_path, line=GATED, **{"default_hooks.dynconv": hook})
    train = runner.cfg.train_dataloader
    train.dataset.pipeline.insert(1, dict(type="PaintedForCalibration"))
    train.dataset = dict(type="RepeatDataset", times=2, dataset=train.dataset)
    images = TrainingImages(runner)
    seen = [one for data in images.batches(2) for one in data["inputs"]]
    assert not images.training and len(seen) == 2 * train.batch_size
    assert all(int(image[:, :24].amax()) > 0 for image in seen)
    assert runner.test()["dynconv/executed_share"] == pytest.approx(0.5, abs=0.02)


def test_a_test_pipeline_that_fails_leaves_the_training_one(tmp_path, caplog):
    write_images(tmp_path)
    runner = runner_of("mmseg", tmp_path, line=GATED)
    runner.cfg.test_dataloader.dataset.pipeline = [dict(type="LoadImageFromFile", backend_args=3)]
    images = TrainingImages(runner)
    assert images.training and "as training shows them" in caplog.text
    assert len(list(images.batches(1))) == 1


def test_every_look_sees_the_images_of_an_infinite_sampler(tmp_path):
    write_images(tmp_path)
    runner = runner_of("mmseg", tmp_path, line=GATED)
    runner.cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    images = TrainingImages(runner)
    first, second = (len(list(images.batches(1))) for _ in range(2))
    assert first == second == runner.cfg.train_dataloader.batch_size


def test_training_without_an_image_to_look_at_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingImages, "batches", lambda self, count: iter(()))
    settings = {"model.noise_until": 0.2, "train_cfg.max_iters": 30, "log_level": "WARNING"}
    runner, _ = trained(tmp_path, 0, **settings)
    assert runner.iter == 30 and runtime_of(runner.model).excess == 0.0
    told = "".join(log.read_text() for log in Path(runner.work_dir).rglob("*.log"))
    assert "they keep their thresholds" in told
    assert (Path(runner.work_dir) / "iter_30.pth").is_file()


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
def test_training_aims_at_what_a_test_executes(tmp_path, sampler):
    settings = {
        "model.noise_until": 0.2, "train_cfg.max_iters": 30,
        "train_dataloader.sampler.type": sampler,
    }  # fmt: skip
    runner, _ = trained(tmp_path, 0, **settings)
    runtime = runtime_of(runner.model)
    assert runtime.excess != 0.0 and runtime.target == pytest.approx(0.5 - runtime.excess)
    assert runner.model.training


@pytest.mark.parametrize("options", [{}, AVERAGES], ids=["plain", "averaged"])
def test_a_resumed_training_goes_on_and_one_from_its_weights_starts_anew(options, tmp_path):
    settings = {"model.noise_until": 0.2, "train_cfg.max_iters": 6, **options}
    first, _ = trained(tmp_path, 0, **settings)
    runtime, own = runtime_of(first.model), float(gates_of(first.model)[0].threshold)
    file = tmp_path / "work" / "iter_6.pth"
    calibrated = torch.load(file, weights_only=False)["state_dict"]
    (found,) = {float(v) for name, v in calibrated.items() if name.endswith("gate.threshold")}
    # Neither looks nor moves its thresholds.
    settings = {**options, "load_from": str(file), "model.noise_until": 1.0}
    _, resumed = trained(tmp_path, 0, resume=True, **{**settings, "train_cfg.max_iters": 7})
    assert len(resumed.thresholds) == 1 and runtime.excess != 0.0
    assert resumed.aims[0] == (runtime.excess, pytest.approx(float(runtime.density)))
    assert resumed.thresholds[0] == pytest.approx(own) != pytest.approx(found)
    _, anew = trained(tmp_path, 0, **{**settings, "train_cfg.max_iters": 1})
    assert anew.aims[0] == (0.0, 0.5) and anew.thresholds[0] == found
