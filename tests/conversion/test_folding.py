"""Norms of stems and shortcuts are computed by the convolutions before them, unseen."""

import copy
import pickle

import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmengine.registry import init_default_scope
from torch import nn

import mmdyn.compat
from mmdyn.conversion import DynConvConfig, convert_model, restore_model, runtime_of
from mmdyn.conversion.dynconv_runtime import gates_of
from mmdyn.conversion.folding import FoldedConvMixin
from mmdyn.registry import MODELS


@pytest.fixture(autouse=True)
def prepared():
    mmdyn.compat.prepare()
    init_default_scope("mmdyn")


BACKBONES = {
    "mmdet": dict(type="mmdet.ResNet", depth=18),
    "mmseg": dict(type="mmseg.ResNetV1c", depth=18),
    "average": dict(type="mmseg.ResNetV1d", depth=18),
}
# Of a stem one, or three; of shortcuts one in each stage but the first, or in all.
FOLDED = {"mmdet": 4, "mmseg": 7, "average": 7}


def backbone(name: str = "mmdet") -> nn.Module:
    torch.manual_seed(0)
    net = MODELS.build(dict(BACKBONES[name], base_channels=16, norm_eval=False))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    net.eval()
    return net


def dynamic(net: nn.Module, is_open: bool = False, **options) -> nn.Module:
    settings = dict(budget=0.5, execution="sparse", tile=2)
    convert_model(net, DynConvConfig(**{**settings, **options}), trial=False)
    for gate in gates_of(net):
        gate.threshold.fill_(-1e9 if is_open else 0.0)
    return net


def image() -> torch.Tensor:
    return torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def run(net: nn.Module) -> list[torch.Tensor]:
    return list(net(image()))


def norms_run(monkeypatch) -> list:
    """Grows by one for every batch norm that is computed by itself."""
    seen, stock = [], nn.functional.batch_norm

    def counted(*args, **kwargs):
        seen.append(args)
        return stock(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "batch_norm", counted)
    return seen


def same(got, wanted, atol=2e-5) -> None:
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_no_norm_runs_by_itself_and_nothing_changes(name, monkeypatch):
    wanted = run(backbone(name))
    net = dynamic(backbone(name), is_open=True)
    assert sum(isinstance(m, FoldedConvMixin) for m in net.modules()) == FOLDED[name]
    seen = norms_run(monkeypatch)
    same(run(net), wanted)
    assert not seen
    same(run(net), wanted)  # from kept weights


def test_in_training_and_with_gradients_norms_are_the_stock_ones(monkeypatch):
    net, stock = dynamic(backbone(), budget=1.0), backbone()
    for one in (net, stock):
        one.train()
    same(net(image()), stock(image()), atol=0.0)
    assert torch.equal(net.bn1.running_mean, stock.bn1.running_mean)
    net = dynamic(backbone())
    seen = norms_run(monkeypatch)
    out = net(image())  # evaluation, with gradients
    assert len(seen) == 20 and out[-1].requires_grad


def test_a_module_by_itself_is_the_stock_one():
    net, x = dynamic(backbone()), image()
    with torch.no_grad():
        assert torch.equal(net.conv1(x), backbone().conv1(x))
        assert torch.equal(net.bn1(net.conv1(x)), backbone().bn1(backbone().conv1(x)))


def test_hooks_see_what_the_stock_network_shows():
    wanted = run(backbone())
    for name, kind in [("conv1", "forward"), ("bn1", "forward"), ("bn1", "forward_pre")]:
        shown = []
        for net in (backbone(), dynamic(backbone(), is_open=True)):
            module = getattr(net, name)
            getattr(module, f"register_{kind}_hook")(lambda *args, to=shown: to.append(args[-1]))
            same(run(net), wanted)
        stock, ours = (s[0] if kind == "forward_pre" else s for s in shown)
        torch.testing.assert_close(ours, stock, rtol=0, atol=1e-5)


def test_hooks_of_norms_see_what_comes_in():
    for name in ("backbone.bn1", "up.1", "module.norm", "last.1"):
        shown = []
        for net in (Neck(), dynamic(Neck(), is_open=True)):
            module = net.module.norm if name == "module.norm" else net.get_submodule(name)
            module.register_forward_hook(lambda m, args, out, to=shown: to.append(args[0].clone()))
            run(net)
        torch.testing.assert_close(shown[1], shown[0], rtol=0, atol=2e-5)


def test_forwards_and_switches_set_on_modules_are_obeyed():
    def passes(net):
        net.module.forward = lambda x, **ignored: net.module.conv(x)

    def doubles(net):
        stock = net.last[1].forward
        net.last[1].forward = lambda x: 2 * stock(x)

    def without(net):
        net.module.with_norm = False

    for change in (passes, doubles, without):
        stock, net = Neck(), dynamic(Neck(), is_open=True)
        run(net)
        for one in (stock, net):
            change(one)
        same(run(net), run(stock))


def test_changed_and_replaced_members_are_noticed():
    net, stock = dynamic(backbone(), is_open=True), backbone()
    same(run(net), run(stock))
    for one in (net, stock):
        one.bn1.bias.data.add_(0.5)
    same(run(net), run(stock))
    for one in (net, stock):
        torch.manual_seed(3)
        one.bn1 = nn.BatchNorm2d(16).eval()
        nn.init.uniform_(one.bn1.weight)
    same(run(net), run(stock))
    for one in (net, stock):
        torch.manual_seed(4)
        one.layer2[0].downsample[0] = nn.Conv2d(16, 32, 1, 2, bias=True)
    same(run(net), run(stock))


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_stand_alone(how):
    net = dynamic(backbone())
    wanted = run(net)
    other = copy.deepcopy(net) if how == "deepcopy" else pickle.loads(pickle.dumps(net))
    same(run(other), wanted, atol=1e-6)
    other.bn1.bias.data.add_(1.0)
    assert not torch.allclose(run(other)[0], wanted[0])
    same(run(net), wanted, atol=0.0)


def test_it_is_undone_and_leaves_the_keys():
    stock = backbone()
    types, keys = [type(m) for m in stock.modules()], list(stock.state_dict())
    net = dynamic(backbone())
    assert [k for k in net.state_dict() if "dynconv_gate" not in k] == keys
    restore_model(net)
    assert [type(m) for m in net.modules()] == types


def test_a_convolution_in_two_places_is_left_alone():
    stock = backbone()
    stock.layer3[0].downsample[0] = stock.layer2[0].downsample[0] = nn.Conv2d(32, 64, 1, 2)
    stock.layer2[0].downsample[1] = nn.BatchNorm2d(64)
    net = dynamic(copy.deepcopy(stock))
    assert type(net.layer3[0].downsample[0]) is nn.Conv2d
    assert net.layer3[0].downsample[0] is net.layer2[0].downsample[0]


class Neck(nn.Module):
    """A gated backbone's map through every kind of pair; `normed` says whether norms are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        up = nn.ConvTranspose2d(128, 16, 4, 2, 1, output_padding=1, bias=False)
        self.up = nn.Sequential(up, nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.module = ConvModule(16, 8, 3, padding=1, norm_cfg=dict(type="BN"))
        self.last = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        for norm in (self.up[1], self.module.norm, self.last[1]):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
        self.normed = True
        self.eval()

    def forward(self, x):
        x = self.module(self.up(self.backbone(x)[-1]), norm=self.normed)
        if self.normed:
            return [x, self.last(x)]
        return [x, self.last[0](x), self.up[1](self.up[0](torch.ones(1, 128, 3, 3)))]


@pytest.mark.parametrize("normed", [True, False], ids=["whole", "in parts"])
def test_rows_and_mmcvs_modules_fold_where_they_run_as_a_whole(normed, monkeypatch):
    stock = Neck()
    stock.normed = normed
    net = dynamic(copy.deepcopy(stock), is_open=True)
    wanted = run(stock)
    seen = norms_run(monkeypatch)
    same(run(net), wanted)
    assert len(seen) == (0 if normed else 1)


def test_a_call_that_is_broken_off_leaves_no_row_open():
    net = dynamic(Neck(), is_open=True)
    net.up[2].register_forward_hook(lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(net)
    assert not any(runtime_of(m).whole for m in (net.up[0], net.module.conv, net.last[0]))


def test_rows_are_undone():
    net = dynamic(Neck(), is_open=True)
    assert net.up._forward_pre_hooks and net.module._forward_hooks
    restore_model(net)
    for module in net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not module._forward_hooks_always_called and not module._forward_hooks_with_kwargs
        assert not module._forward_pre_hooks_with_kwargs
    same(run(net), run(Neck()))


def test_weights_that_a_hook_makes_are_left_alone():
    stock = Neck()
    nn.utils.spectral_norm(stock.last[0])
    net = dynamic(copy.deepcopy(stock), is_open=True)
    assert type(net.last[0]) is nn.Conv2d
    same(run(net), run(stock))


@pytest.mark.parametrize("when", ["before", "after"])
def test_norms_fused_by_mmcv(when):
    """Its `fuse_conv_bn` leaves identities, whether the gates are there already or not."""
    wanted = run(dynamic(backbone()))
    if when == "before":
        net = dynamic(fuse_conv_bn(backbone()))
    else:
        net = dynamic(backbone())
        run(net)
        net = fuse_conv_bn(net)
    assert isinstance(net.bn1, nn.Identity)
    same(run(net), wanted)
