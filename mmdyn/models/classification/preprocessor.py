"""From a batch of images to the network's input."""

from __future__ import annotations

import torch
from mmengine.model import BaseDataPreprocessor

from mmdyn.registry import MODELS


@MODELS.register_module()
class ClsDataPreprocessor(BaseDataPreprocessor):
    """Stacks images of one size and normalises them.

    Args:
        mean (list | None): Per channel, in pixel values. Default None: no normalisation.
        std (list | None): Per channel, in pixel values. Default None.
        to_rgb (bool): Turns BGR into RGB first. Default False.
        non_blocking (bool): Of the copy to the device. Default False.
    """

    def __init__(
        self,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        to_rgb: bool = False,
        non_blocking: bool = False,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std come together, got mean={mean} and std={std}.")
        super().__init__(non_blocking=non_blocking)
        self.to_rgb, self.normalises = to_rgb, mean is not None
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values or [0.0]).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs``, a list of (3, H, W) or a tensor (N, 3, H, W), becomes a float tensor."""
        data = self.cast_data(data)
        inputs = data["inputs"]
        if not isinstance(inputs, torch.Tensor):
            sizes = {tuple(x.shape) for x in inputs}
            if len(sizes) > 1:
                raise ValueError(
                    f"expected images of one size in a batch, got {sorted(sizes)}; resize or crop "
                    "them in the pipeline."
                )
            inputs = torch.stack(list(inputs))
        inputs = inputs.flip(1) if self.to_rgb else inputs
        inputs = inputs.float()
        if self.normalises:
            inputs = (inputs - self.mean) / self.std
        return {**data, "inputs": inputs, "data_samples": data.get("data_samples")}
