"""A teacher's outputs in the losses: the right number, from the right tensors, and nothing left."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope

from mmdyn.engine.distill_hook import DistillHook
from mmdyn.engine.inference import build_model
from tests.engine.stock import STOCK, runner_of, segmentor, write_images

GATED = dict(type="mmdyn.DynConv", budget=0.5, open_init=0.6)
SCORES = "decode_head.conv_seg"
CLASSES = "bbox_head.retina_cls"
WIDER = {"model.decode_head.channels": 16}


class Listener(Hook):
    """Keeps what a layer of the student gave in training, the inputs, and the losses."""

    def __init__(self, layer: str) -> None:
        self.layer, self.outputs, self.inputs, self.losses = layer, [], [], []

    def before_train(self, runner):
        heard = [m for name, m in runner.model.named_modules() if name == self.layer]
        for module in heard:
            module.register_forward_hook(self.keep_output)
        runner.model.register_forward_pre_hook(self.keep_input, with_kwargs=True)

    def keep_output(self, module, args, output):
        self.outputs.append(output.detach().clone())

    def keep_input(self, module, args, kwargs):
        self.inputs.append(kwargs["inputs"].clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(value.detach()) for name, value in outputs.items()})


def teacher_files(folder, cfg, seed: int = 5) -> dict:
    """The config and checkpoint of a stock network with weights of its own."""
    torch.manual_seed(seed)
    cfg.dump(folder / "teacher.py")
    model = build_model(cfg)
    torch.save(dict(state_dict=model.state_dict()), folder / "teacher.pth")
    return dict(teacher=str(folder / "teacher.py"), checkpoint=str(folder / "teacher.pth"))


def trained(folder, stock, layer: str, line=GATED, other=None, **hook):
    """A runner after two iterations with a teacher, its listener, and the teacher."""
    write_images(folder)
    cfg = STOCK[stock](folder, **(other or {}))
    files = teacher_files(folder, cfg)
    runner = runner_of(stock, folder, line=line)
    listener = Listener(layer)
    taught = DistillHook(**files, layers=[layer], **hook)
    runner.register_hook(listener)
    runner.register_hook(taught)
    runner.train()
    return runner, listener, build_model(cfg, files["checkpoint"])


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_the_loss_is_that_of_the_layers_outputs(loss, tmp_path):
    _, heard, teacher = trained(tmp_path, "mmseg", SCORES, loss=loss, weight=3.0, temperature=2.0)
    with torch.no_grad():
        wanted = teacher(heard.inputs[0], mode="tensor")
    got = heard.outputs[0]
    if loss == "mse":
        expected = F.mse_loss(got, wanted)
    else:
        a, b = ((x / 2.0).permute(0, 2, 3, 1).flatten(0, 2) for x in (got, wanted))
        expected = 4.0 * F.kl_div(a.log_softmax(1), b.softmax(1), reduction="batchmean")
    first = heard.losses[0]
    assert expected > 1e-4
    assert first["loss_distill"] == pytest.approx(3.0 * float(expected), rel=1e-4)
    parts = [v for name, v in first.items() if "loss" in name and name != "loss"]
    assert first["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert "loss_sparsity" in first


def test_a_layer_of_several_calls_is_compared_call_by_call(tmp_path):
    _, heard, teacher = trained(tmp_path, "mmdet", CLASSES, loss="mse")
    assert len(heard.outputs) == 2 * 3  # iterations x levels
    with torch.no_grad():
        wanted = teacher(heard.inputs[0], mode="tensor")[0]
    distances = [F.mse_loss(got, level) for got, level in zip(heard.outputs[:3], wanted)]
    assert heard.losses[0]["loss_distill"] == pytest.approx(float(sum(distances) / 3), rel=1e-4)


def test_a_teacher_pulls(tmp_path):
    """Learning from nothing but the teacher brings the student nearer to it."""
    write_images(tmp_path)
    files = teacher_files(tmp_path, segmentor(tmp_path))
    options = {"train_cfg.max_iters": 16, "optim_wrapper.optimizer.lr": 0.05}
    runner = runner_of("mmseg", tmp_path, line=None, **options)
    runner.model.decode_head.loss_decode.loss_weight = 0.0
    listener = Listener(SCORES)
    runner.register_hook(listener)
    runner.register_hook(DistillHook(**files, layers=(SCORES,), temperature=1.0))
    runner.train()
    losses = [of["loss_distill"] for of in listener.losses]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def asked(hook: DistillHook, student: torch.nn.Module, teacher: torch.nn.Module) -> torch.Tensor:
    """The loss that a hook adds in one call of a student by itself."""
    hook._model = hook._run = teacher
    for path in hook.layers:
        hook._listen(teacher, "teacher", path, hook._said)
        hook._listen(student, "student", path, hook._learned)
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    hook._ask(student, (images,), dict(mode="loss"))
    losses = hook._compare(student, (), {}, student(images, mode="loss"))
    hook.after_train(None)
    return losses["loss_distill"]


class Small(torch.nn.Module):
    """A layer, whose output an activation overwrites or does not, and scores."""

    def __init__(self, inplace: bool = False, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU(inplace)
        self.head = torch.nn.Conv2d(4, classes, 1)

    def forward(self, x, mode="tensor"):
        scores = self.head(self.relu(self.conv(x)))
        return dict(loss=scores.mean()) if mode == "loss" else scores


FILES = dict(teacher="a.py", checkpoint="a.pth")


def test_what_overwrites_a_layers_output_does_not_matter():
    for ours, theirs in [(True, True), (True, False), (False, True)]:
        student, teacher = Small(ours), Small(theirs).eval()
        teacher.conv.bias.data.add_(1.0)
        loss = asked(DistillHook(**FILES, layers=["conv"], loss="mse"), student, teacher)
        assert float(loss.detach()) == pytest.approx(1.0)


def test_two_hooks_add_up():
    student, teacher = Small(), Small().eval()
    teacher.conv.bias.data.add_(1.0)
    first, second = (DistillHook(**FILES, layers=["conv"], loss="mse") for _ in range(2))
    alone = asked(first, student, teacher)
    student.register_forward_hook(lambda module, args, losses: {**losses, "loss_distill": alone})
    assert float(asked(second, student, teacher).detach()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (dict(layers=["head"]), r"compares scores .*head gives \[\(2, 1, 4, 4\)\]"),
        (dict(layers=["conv"], loss="mse"), "nothing learns from conv"),
    ],
)
def test_layers_that_cannot_teach_are_refused(hook, message):
    student = Small(classes=1)
    student.conv.requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        asked(DistillHook(**FILES, **hook), student, Small(classes=1).eval())


def test_the_trainings_scope_is_kept(tmp_path):
    write_images(tmp_path)
    cfg = segmentor(tmp_path)
    cfg.default_scope = "mmdyn"
    cfg.model.type, cfg.model.backbone.type = "mmseg.EncoderDecoder", "mmseg.ResNetV1c"
    cfg.model.data_preprocessor.type = "mmseg.SegDataPreProcessor"
    cfg.model.decode_head.type = "mmseg.FCNHead"
    cfg.model.decode_head.loss_decode.type = "mmseg.CrossEntropyLoss"
    files = teacher_files(tmp_path, cfg)
    runner = runner_of("mmseg", tmp_path, line=None)
    runner.register_hook(DistillHook(**files, layers=[SCORES]))
    runner.train()
    assert DefaultScope.get_current_instance().scope_name == "mmseg"


def test_nothing_is_left_of_it(tmp_path):
    runner, _, _ = trained(tmp_path, "mmseg", SCORES)
    stored = torch.load(tmp_path / "work" / "iter_2.pth", weights_only=False)["state_dict"]
    assert stored.keys() == runner.model.state_dict().keys()
    taught = next(hook for hook in runner.hooks if isinstance(hook, DistillHook))
    assert not (taught._handles or taught._model or taught._run)
    assert not (taught._said or taught._learned)
    data = runner.model.data_preprocessor(next(iter(runner.train_dataloader)), True)
    assert "loss_distill" not in runner.model(**data, mode="loss")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (dict(loss="l1"), "loss must be one of"),
        (dict(layers=()), "list of different module paths"),
        (dict(layers="head"), "list of different module paths"),
        (dict(layers=["a", "a"]), "list of different module paths"),
        (dict(temperature=0.0), "temperature must be above 0"),
        (dict(weight=-1.0), "weight at least 0"),
    ],
)
def test_settings_are_checked(hook, message):
    with pytest.raises(ValueError, match=message):
        DistillHook(**{**dict(teacher="a.py", checkpoint="a.pth", layers=["head"]), **hook})


def test_layers_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"no module 'nowhere'; layers are paths below"):
        trained(tmp_path / "unknown", "mmseg", "nowhere")
    with pytest.raises(ValueError, match="gave .* in the student and .* in the teacher"):
        trained(tmp_path / "other", "mmseg", "decode_head.convs.0", other=WIDER)
    with pytest.raises(ValueError, match=r"gave \[\(\)\] in the student and \[\] in the teacher"):
        trained(tmp_path / "idle", "mmseg", "decode_head.loss_decode")


def test_a_missing_teacher_is_named(tmp_path):
    write_images(tmp_path)
    runner = runner_of("mmseg", tmp_path, line=None)
    files = teacher_files(tmp_path, segmentor(tmp_path))
    runner.register_hook(DistillHook(files["teacher"], str(tmp_path / "none.pth"), layers=[SCORES]))
    with pytest.raises(FileNotFoundError, match="none.pth is missing"):
        runner.train()
