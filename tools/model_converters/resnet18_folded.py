"""Turns a ResNet-18 whose batch norms were folded into its convolutions back into a trainable one.

The source is a folder of ``<torchvision name>.npy`` files. Each BN gets the statistics that its
convolution shows on calibration images, and a scale and shift that undo them, so the network
computes what the folded one did and can be trained on. Convolutions that the folder lacks are
initialised afresh (He, fan-out).

    python tools/model_converters/resnet18_folded.py FOLDER IMAGES OUT.pth
"""

import argparse
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmseg.models.backbones import ResNet
from torch import nn

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def load_convs(net: nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    """Copies the weights into `net`; returns each convolution's folded bias by its BN's name."""
    biases, missing = {}, []
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        weight, bias = folder / f"{name}.weight.npy", folder / f"{name}.bias.npy"
        if not weight.exists():
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            missing.append(name)
            continue
        module.weight.data.copy_(torch.from_numpy(np.load(weight)))
        norm = name.replace("downsample.0", "downsample.1").replace("conv", "bn")
        biases[norm] = torch.from_numpy(np.load(bias))
    print(f"{len(biases)} convolutions loaded; initialised afresh: {missing or 'none'}")
    return biases


@torch.no_grad()
def restore_norms(net: nn.Module, biases: dict[str, torch.Tensor], images: torch.Tensor) -> None:
    """Fills every BN named in `biases` during one forward pass over `images` (N, 3, H, W)."""

    def fill(norm: nn.BatchNorm2d, bias: torch.Tensor, x: torch.Tensor) -> None:
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_((var + norm.eps).sqrt())
        norm.bias.copy_(bias + mean)

    modules = dict(net.named_modules())
    for name, bias in biases.items():
        modules[name].register_forward_pre_hook(lambda m, args, b=bias: fill(m, b, args[0]))
    net.eval()
    net(images)


def read_images(folder: Path, count: int, size: tuple[int, int]) -> torch.Tensor:
    files = sorted(p for p in folder.iterdir() if p.suffix in {".png", ".jpg"})
    if not files:
        raise FileNotFoundError(f"no .png or .jpg in {folder}: name a folder of photographs")
    step = max(len(files) // count, 1)
    images = [mmcv.imresize(mmcv.imread(str(f)), size[::-1]) for f in files[::step][:count]]
    images = [mmcv.imnormalize(i, np.array(MEAN), np.array(STD), to_rgb=True) for i in images]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the .npy files")
    parser.add_argument("images", type=Path, help="folder of photographs for the statistics")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument("--count", type=int, default=48, help="images to use (default 48)")
    parser.add_argument("--size", type=int, nargs=2, default=(352, 480), help="height and width")
    args = parser.parse_args()
    torch.manual_seed(0)
    net = ResNet(depth=18, norm_cfg=dict(type="BN"))
    biases = load_convs(net, args.folder)
    restore_norms(net, biases, read_images(args.images, args.count, tuple(args.size)))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=net.state_dict()), args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
