"""How each kind of network takes an image, what it is refused for, and how it says what it saw."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import mmdyn
from mmdyn import BlockCopyConfig, convert_model, is_converted
from mmdyn.conversion import runtime_of
from mmdyn.conversion.hosts import DetectorHost, Host, SegmentorHost, host_for
from mmdyn.video.clip_id import ClipFrame
from tests.blocks.clips import assert_close
from tests.conversion.hosts import KINDS, Plain, build, call_of

HOSTS = {
    "segmentor": SegmentorHost, "one stage": DetectorHost, "two stages": DetectorHost, "plain": Host
}  # fmt: skip
CALM = dict(block_size=32, policy="all", scene_cut=1e9, refresh=None)
every_kind = pytest.mark.parametrize("kind", KINDS)
with_samples = pytest.mark.parametrize("kind", [k for k in KINDS if k != "plain"])


class BaseDetector(Plain):
    """Of the same name as mmdet's, and not mmdet's."""


@every_kind
def test_a_network_finds_its_host_by_its_class(kind):
    model = build(kind)
    assert type(host_for(model)) is type(host_for(type(model))) is HOSTS[kind]
    convert_model(model, BlockCopyConfig(**CALM), trial=False)
    assert type(host_for(model)) is type(runtime_of(model).host) is HOSTS[kind]


def test_a_namesake_of_another_package_is_any_network():
    assert type(host_for(BaseDetector())) is Host


@every_kind
def test_the_example_runs_and_is_two_by_two_blocks(kind):
    model = build(kind)
    args, kwargs = host_for(model).example(model, (64, 32))
    assert args[0].shape == (1, 3, 128, 64) and args[0].dtype == torch.float32
    with torch.no_grad():
        model(*args, **kwargs)


def _seen(model, args, kwargs):
    with torch.no_grad():
        (sample,) = model(args[0], [s.clone() for s in args[1]], **kwargs)
    if "seg_logits" in sample:
        return sample, [sample.seg_logits.data]
    found = sample.pred_instances
    return sample, [found.bboxes, found.scores]


# Metainfo of a 90 x 100 image padded to whole blocks.
_DETECTORS = dict(pad_shape=(96, 128), batch_input_shape=(96, 128))
PADDED = {
    "segmentor": dict(pad_shape=(96, 128), padding_size=[0, 28, 0, 6]),
    "one stage": _DETECTORS,
    "two stages": _DETECTORS,
}


@with_samples
@pytest.mark.parametrize("size", [(96, 128), (90, 100)])
def test_predictions_are_the_stock_networks_and_carry_the_statistics(kind, size):
    model = build(kind)
    (image, samples), kwargs = call_of(model, size=size)
    padded, known = F.pad(image, (0, 128 - size[1], 0, 96 - size[0])), samples[0].clone()
    known.set_metainfo(PADDED[kind] if size != (96, 128) else {})
    _, wanted = _seen(model, (padded, [known]), kwargs)
    convert_model(model, BlockCopyConfig(**CALM), trial=False)
    sample, got = _seen(model, (image, samples), kwargs)
    assert sample.metainfo["blockcopy_stats"]["executed_share"] == 1.0
    for a, b in zip(got, wanted, strict=True):
        assert b.numel()
        assert_close(a, b)


@with_samples
def test_training_and_losses_run_dense_and_predictions_do_not(kind):
    model = build(kind)
    host = host_for(model)
    (image, samples), _ = call_of(model)
    for mode, dense in (("loss", True), ("predict", False), ("tensor", False)):
        assert host.runs_dense(model, (image, samples, mode), {}) is dense
        assert host.runs_dense(model, (image, samples), dict(mode=mode)) is dense
    assert host.runs_dense(model.train(), (image, samples, "predict"), {})


@every_kind
def test_the_image_is_found_and_replaced_wherever_it_stands(kind):
    host, image, other = HOSTS[kind](), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    call = host.call((image, None), dict(mode="predict"))
    assert call.image is image and call.metas == [{}, {}]
    args, kwargs = call.with_image(other)
    assert args[0] is other and args[1] is None and kwargs == dict(mode="predict")
    args, kwargs = host.call((), dict(inputs=image, mode="predict")).with_image(other)
    assert args == () and kwargs["inputs"] is other and kwargs["mode"] == "predict"
    with pytest.raises(ValueError, match=r"image batch \(N, C, H, W\).*\[\(3, 8, 8\), 'str'\]"):
        host.call((image[0], "predict"), {})


def test_slide_inference_is_refused_by_name():
    model = build("segmentor", test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32)))
    with pytest.raises(ValueError, match="test_cfg.mode='slide'.*set model.test_cfg.mode='whole'"):
        convert_model(model, BlockCopyConfig(**CALM))
    assert not is_converted(model)


@with_samples
def test_flipped_images_are_refused_by_name(kind):
    model = build(kind)
    convert_model(model, BlockCopyConfig(**CALM), trial=False)
    args, kwargs = call_of(model)
    args[1][0].set_metainfo(dict(flip=True))
    with pytest.raises(ValueError, match="test-time augmentation.*without --tta"):
        model(*args, **kwargs)


def test_a_tracker_is_refused_by_name():
    pytest.importorskip("mmdet")
    from mmdet.models.mot import ByteTrack

    host = host_for(ByteTrack)
    with pytest.raises(ValueError, match="ByteTrack is a tracker.*convert its detector alone"):
        host.check_class(ByteTrack)


@every_kind
def test_streams_are_named_by_the_metainfo_then_the_path_then_the_place(kind):
    host = HOSTS[kind]()
    call = host.call((torch.zeros(4, 3, 8, 8),), {})
    call.metas = [
        dict(video_id=7, frame_id=3, img_path="a/000001.png"), dict(img_path="a/000001.png"),
        dict(img_path="odd.png"), {},
    ]  # fmt: skip

    def clip_id(path):
        return ClipFrame("a", 1) if path.startswith("a/") else None

    assert host.streams(call, clip_id) == [
        (7, 3), ("a", 1), ("stream 2", None), ("stream 3", None)
    ]  # fmt: skip


@with_samples
def test_metainfo_speaks_of_the_padded_image_for_the_while(kind):
    model = build(kind)
    host = host_for(model)
    args, kwargs = call_of(model, 2, (90, 100))
    before = [dict(sample.metainfo) for sample in args[1]]
    call = host.call(args, kwargs)
    for size in ((96, 128), (90, 100)):
        with pytest.raises(KeyboardInterrupt), host.padded(call, size):
            for sample in args[1]:
                changed = {k: v for k, v in sample.metainfo.items() if before[0].get(k) != v}
                assert changed == (PADDED[kind] if size == (96, 128) else {})
            raise KeyboardInterrupt
        assert [dict(sample.metainfo) for sample in args[1]] == before


@dataclasses.dataclass
class Outputs:
    logits: torch.Tensor
    more: dict


def test_outputs_are_cropped_to_the_image_before_padding():
    host = Host()
    call = host.call((torch.zeros(1, 3, 41, 58),), {})
    outputs = Outputs(torch.zeros(1, 2, 48, 64), {"small": [torch.zeros(1, 9, 12, 16)], "n": 3})
    seen = host.finish(call, outputs, (48, 64))
    assert seen.logits.shape == (1, 2, 41, 58)  # full resolution
    assert seen.more["small"][0].shape == (1, 9, 11, 15) and seen.more["n"] == 3  # rounded up
    kept = host.finish(call, (torch.zeros(1, 8, 1, 1), torch.zeros(5, 4)), (48, 64))
    assert [tuple(k.shape) for k in kept] == [(1, 8, 1, 1), (5, 4)]
    kernel = torch.zeros(4, 8, 3, 3)  # too small to be a map of the image
    assert host.finish(call, kernel, (256, 256)).shape == kernel.shape


def test_what_a_segmentor_saw_is_its_logits_over_the_padded_image():
    model = build("segmentor")
    args, kwargs = call_of(model, 2)
    with torch.no_grad():
        out = model(*args, **kwargs)
    host = host_for(model)
    for task, sample in zip(host.tasks(host.call(args, kwargs), out, (128, 128)), out, strict=True):
        assert task.kind == "semseg" and task.image_size == (128, 128)
        assert torch.equal(task.logits, sample.seg_logits.data[:, ::8, ::8])


def test_what_a_detector_saw_is_in_pixels_of_its_input():
    pytest.importorskip("mmdet")
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    host = DetectorHost()
    call = host.call((torch.zeros(1, 3, 64, 96),), {})
    sample = DetDataSample(metainfo=dict(scale_factor=(2.0, 0.5)))
    assert host.tasks(call, [sample], (64, 96)) == [None]
    masks = torch.zeros(1, 128, 48, dtype=torch.bool)
    masks[:, 32:64, 8:24] = True  # in the original image, 48 wide and 128 high
    found = dict(scores=torch.ones(1), labels=torch.zeros(1, dtype=torch.long))
    sample.pred_instances = InstanceData(bboxes=torch.tensor([[8.0, 32, 24, 64]]), **found)
    (task,) = host.tasks(call, [sample], (64, 96))
    assert task.kind == "detection" and task.boxes.tolist() == [[16.0, 16.0, 48.0, 32.0]]
    sample.pred_instances = InstanceData(bboxes=torch.zeros(1, 4), masks=masks, **found)
    (task,) = host.tasks(call, [sample], (64, 96))
    assert task.kind == "instance" and task.boxes.tolist() == [[16.0, 16.0, 48.0, 32.0]]
    wanted = torch.zeros(1, 8, 12, dtype=torch.bool)
    wanted[:, 2:4, 2:6] = True
    assert torch.equal(task.masks, wanted)
    sample.pred_instances.masks = torch.ones(1, 96, 48, dtype=torch.bool)  # the rest is padding
    (task,) = host.tasks(call, [sample], (64, 96))
    assert task.masks[:, :6].all() and not task.masks[:, 6:].any()


def test_any_networks_first_map_is_read_as_logits():
    host, maps = Host(), torch.randn(2, 4, 32, 32)
    call = host.call((torch.zeros(2, 3, 64, 64),), {})
    for outputs in (maps, (maps, "more")):
        tasks = host.tasks(call, outputs, (64, 64))
        assert all(torch.equal(t.logits, m[:, ::4, ::4]) for t, m in zip(tasks, maps, strict=True))
    assert host.tasks(call, torch.zeros(2, 10), (64, 64)) == [None, None]
    assert host.tasks(call, [], (64, 64)) == [None, None]


def test_restoring_gives_back_the_hosts_own_predictions():
    model = build("one stage")
    args, kwargs = call_of(model)
    _, wanted = _seen(model, args, kwargs)
    convert_model(model, BlockCopyConfig(**CALM), trial=False)
    _seen(model, args, kwargs)
    sample, got = _seen(mmdyn.restore_model(model), args, kwargs)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert "blockcopy_stats" not in sample.metainfo
