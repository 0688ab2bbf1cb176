"""The images that gates are calibrated on: training images as the test pipeline makes them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.runner import Runner

logger = logging.getLogger(__name__)


class TrainingImages:
    """Batches of the config's training data, in an order that disturbs no other loader.

    Training pads, crops and paints images; gates that were calibrated on those execute another
    share of what a test shows them. So the images go through the pipeline of the validation, or of
    the test, in batches of its size. Where the config has neither, or its pipeline cannot make
    images of the training data, they go through the training's.

    Args:
        runner: Whose config tells them.

    Raises:
        ValueError: The config has no training data.
    """

    def __init__(self, runner: Runner) -> None:
        settings = runner.cfg.get("train_dataloader")
        if not settings:
            raise ValueError(
                "the config has no train_dataloader to calibrate the gates on; set "
                "default_hooks.dynconv.source='test' or batches=0"
            )
        self.training = True
        self.batch_size = settings.batch_size
        self._runner = runner
        tested = runner.cfg.get("val_dataloader") or runner.cfg.get("test_dataloader")
        if tested:
            try:
                self.loader = self._build(_as_tested(settings, tested))
                next(iter(self.loader))
                self.training, self.batch_size = False, tested.batch_size
                return
            except Exception as error:  # a pipeline may ask for anything
                logger.warning(
                    "the test pipeline cannot make images of the training data (%s: %s); gates "
                    "are calibrated on images as training shows them",
                    type(error).__name__, error,
                )  # fmt: skip
        self.loader = self._build(settings)

    def _build(self, settings: Config):
        settings = copy.deepcopy(settings)
        settings.update(num_workers=0, persistent_workers=False)
        if "Infinite" in str(settings.get("sampler", {}).get("type")):
            # It goes on where its last iterator stopped, and ends with an iterator that is dropped.
            settings.sampler = dict(type="DefaultSampler", shuffle=True)
        return self._runner.build_dataloader(settings, seed=0)

    def batches(self, count: int) -> Iterator[dict]:
        """As many images as ``count`` training batches hold."""
        wanted = count * self._runner.cfg.train_dataloader.batch_size
        for _, data in zip(range(max(round(wanted / self.batch_size), 1)), self.loader):
            yield data


def _as_tested(settings: Config, tested: Config) -> Config:
    """A loader of the training data with the test's pipeline and batches."""
    pipeline = _pipeline_of(tested.dataset)
    if pipeline is None:
        raise ValueError("it has no pipeline of its own")
    made = copy.deepcopy(settings)
    made.dataset = _with_pipeline(made.dataset, pipeline)
    made.batch_size = tested.batch_size
    made.pop("batch_sampler", None)
    made.pop("collate_fn", None)
    if "collate_fn" in tested:
        made.collate_fn = copy.deepcopy(tested.collate_fn)
    return made


def _pipeline_of(dataset: Config) -> list | None:
    """The first pipeline in a dataset or in those that it wraps."""
    if dataset.get("pipeline") is not None:
        return dataset.pipeline
    inner = [dataset.dataset] if "dataset" in dataset else dataset.get("datasets", [])
    return next((found for found in map(_pipeline_of, inner) if found is not None), None)


def _with_pipeline(dataset: Config, pipeline: list) -> Config:
    """A dataset's config with this pipeline; wrappers that mix images are taken off."""
    if "dataset" in dataset:
        if "pipeline" in dataset:  # mosaic, mix-up: a wrapper's own
            return _with_pipeline(dataset.dataset, pipeline)
        dataset.dataset = _with_pipeline(dataset.dataset, pipeline)
    elif "datasets" in dataset:
        dataset.datasets = [_with_pipeline(one, pipeline) for one in dataset.datasets]
    else:
        dataset.pipeline = copy.deepcopy(pipeline)
    return dataset
