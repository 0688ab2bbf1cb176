"""mIoU over labelled frames equals the stock metric's on these frames."""

import pytest
import torch

pytest.importorskip("mmseg.evaluation")

from mmengine.structures import PixelData
from mmseg.evaluation.metrics import IoUMetric
from mmseg.structures import SegDataSample

from mmdyn.metrics.labelled_frames import LabelledFrames
from mmdyn.registry import METRICS

CLASSES = dict(classes=("road", "sky", "car"))


def frames(labelled: tuple[bool, ...]) -> list[dict]:
    made = []
    for number, has_truth in enumerate(labelled):
        sample = SegDataSample(metainfo=dict(img_path=f"{number}.png"))
        sample.pred_sem_seg = PixelData(data=torch.randint(3, (1, 6, 8)))
        if has_truth:
            sample.gt_sem_seg = PixelData(data=torch.randint(3, (1, 6, 8)))
        made.append(sample.to_dict())
    return made


def test_unlabelled_frames_change_nothing():
    video, stock = METRICS.build(dict(type="mmdyn.VideoIoUMetric")), IoUMetric()
    video.dataset_meta = stock.dataset_meta = CLASSES
    samples = frames((False, True, False, True))
    for sample in samples:
        video.process({}, [sample])
    stock.process({}, [samples[1], samples[3]])
    assert video.evaluate(4) == stock.evaluate(2)


def test_no_label_at_all_is_an_error():
    metric = METRICS.build(dict(type="mmdyn.VideoIoUMetric"))
    metric.dataset_meta = CLASSES
    metric.process({}, frames((False,)))
    with pytest.raises(ValueError, match="saw no labelled frame"):
        metric.evaluate(1)


def test_format_only_writes_every_frame(tmp_path):
    metric = METRICS.build(
        dict(type="mmdyn.VideoIoUMetric", format_only=True, output_dir=str(tmp_path / "out"))
    )
    metric.dataset_meta = CLASSES
    metric.process({}, frames((False, True)))
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert metric.compute_metrics([]) == {}


def test_cityscapes_metric_is_the_stock_one_on_labelled_frames():
    from mmseg.evaluation.metrics import CityscapesMetric

    metric = METRICS.get("mmdyn.VideoCityscapesMetric")
    assert metric.__mro__[1:3] == (LabelledFrames, CityscapesMetric)
