"""SegBlocks' handler: what it does to a model, and what every call of the model becomes."""

from __future__ import annotations

import torch
from torch import nn

from mmdyn.blocks import BlockTensor, joint_batch_norm
from mmdyn.conversion.config import SegBlocksConfig
from mmdyn.conversion.convert import handles
from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, runtime_of
from mmdyn.conversion.hosts import host_for
from mmdyn.conversion.replay import install
from mmdyn.conversion.segblocks_runtime import POLICY, SegBlocksRuntime
from mmdyn.conversion.tracking import StandIn, attach
from mmdyn.policies import build_resolution_policy


class SegBlocksMixin(DynamicMixin):
    """Every call, in training and in evaluation, runs on blocks of two resolutions."""

    method = "SegBlocks"

    def init_weights(self, *args, **kwargs):
        """The host's; what it draws for every layer of a kind is not for the policy's."""
        policy = self._modules[POLICY]
        kept = {name: value.clone() for name, value in policy.state_dict().items()}
        super().init_weights(*args, **kwargs)
        if (getattr(self, "init_cfg", None) or {}) and not _is_pretrained(self.init_cfg):
            policy.load_state_dict(kept)

    def forward(self, *args, **kwargs):
        self.refuse_export()
        if self.training:
            join_synced_norms(self)
        runtime = runtime_of(self)
        with runtime.tracker.alone():
            outputs = runtime.run(self, super().forward, args, kwargs)
        self.announce()
        return outputs


def _is_pretrained(init_cfg) -> bool:
    """Whether a checkpoint initialises the whole model, which may hold a policy."""
    kinds = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(kind.get("type") == "Pretrained" for kind in kinds)


@handles(SegBlocksConfig)
def convert_to_segblocks(model: nn.Module, config: SegBlocksConfig) -> None:
    """Makes a segmentation network run some blocks at half resolution, as its policy picks them.

    The policy becomes a submodule, so that whatever trains, moves or stores the network does the
    same with the policy; the other keys of ``state_dict`` stay.
    """
    host = host_for(model)
    host.check_segblocks(model)
    if isinstance(model, nn.Sequential):
        raise ValueError(
            "SegBlocks adds a module, which nn.Sequential would run; wrap it in another"
        )
    if hasattr(model, POLICY):
        raise ValueError(
            f"{type(model).__name__} has an attribute '{POLICY}', which SegBlocks adds"
        )
    policy = build_resolution_policy(config.policy)
    runtime = SegBlocksRuntime(config, host)
    make_dynamic(model, SegBlocksMixin, runtime)
    attach(model, runtime.tracker)
    host.smooth_outputs(model)
    if config.replay:
        install(model, runtime.tracker)
    like = next(model.parameters(), None)
    model.add_module(POLICY, policy if like is None else policy.to(like.device))
    policy.train(model.training)


def join_synced_norms(model: nn.Module) -> None:
    """Puts the stand-in on every ``SyncBatchNorm``; a runner makes them after the conversion."""
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm) and "forward" not in module.__dict__:
            module.__dict__["forward"] = SyncedNorm(module, "forward")


class SyncedNorm(StandIn):
    """Stands in for the forward of a ``SyncBatchNorm``: joint statistics over all processes."""

    def __call__(self, x):
        module = self.module
        norm = type(module).forward
        if not isinstance(x, BlockTensor) or not module.training or not _processes():
            return norm(module, x)
        tracked = module.track_running_stats
        if module.num_batches_tracked is not None and tracked:
            module.num_batches_tracked.add_(1)
        momentum = module.momentum
        if momentum is None:
            momentum = 1.0 / float(module.num_batches_tracked) if tracked else 0.0
        running = (module.running_mean, module.running_var) if tracked else (None, None)

        def reduce(sums: torch.Tensor) -> torch.Tensor:
            torch.distributed.all_reduce(sums, group=module.process_group)
            return sums

        affine = (module.weight, module.bias)
        return joint_batch_norm(x, *running, *affine, momentum, module.eps, reduce)


def _processes() -> bool:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return False
    return distributed.get_world_size() > 1
