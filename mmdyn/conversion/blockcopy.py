"""BlockCopy's handler: what it does to a model, and what every call of the model becomes."""

from __future__ import annotations

import logging

from torch import nn

from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.convert import handles
from mmdyn.conversion.dynamic import DynamicMixin, make_dynamic, runtime_of
from mmdyn.conversion.hosts import host_for
from mmdyn.conversion.replay import install
from mmdyn.conversion.runtime import BlockCopyRuntime
from mmdyn.conversion.timings import network_key
from mmdyn.conversion.tracking import attach
from mmdyn.policies import Policy, build_policy

logger = logging.getLogger(__name__)


class BlockCopyMixin(DynamicMixin):
    """Every call in evaluation mode is a frame."""

    method = "BlockCopy"

    def forward(self, *args, **kwargs):
        self.refuse_export()
        runtime = runtime_of(self)
        if runtime.host.runs_dense(self, args, kwargs):
            return super().forward(*args, **kwargs)
        with runtime.tracker.alone():
            outputs = runtime.run(self, super().forward, args, kwargs)
        self.announce()
        return outputs

    def load_state_dict(self, *args, **kwargs):
        """The host's; whoever copies blocks of frames before would show the old weights."""
        result = super().load_state_dict(*args, **kwargs)
        runtime_of(self).reset()
        runtime_of(self).weights.forget()
        return result


@handles(BlockCopyConfig)
def convert_to_blockcopy(model: nn.Module, config: BlockCopyConfig) -> None:
    """Makes a network execute only the blocks of a video frame that its policy picks.

    In training mode it runs as before.
    """
    host = host_for(model)
    host.check(model)
    policy = build_policy(config.policy)
    if config.learning is not None:
        policy.learning = config.learning
    elif isinstance(config.policy, str) or (
        isinstance(config.policy, dict) and "learning" not in config.policy
    ):
        policy.learning = True
    _tell_of_age(config, policy)
    runtime = BlockCopyRuntime(config, host, policy, type(model).__name__)
    runtime.fallback.table.network = network_key(model)
    make_dynamic(model, BlockCopyMixin, runtime)
    attach(model, runtime.tracker)
    host.copy_outputs(model)
    if config.replay:
        install(model, runtime.tracker)


def _tell_of_age(config: BlockCopyConfig, policy: Policy) -> None:
    least = 4.0 / (3.0 * config.max_age)  # see age_limits
    if policy.fixed_share is None and config.budget < least:
        logger.warning(
            "budget=%g will be exceeded: with max_age=%d about %.1f%% of the blocks are too old in "
            "every frame and run; raise one of them", config.budget, config.max_age, 100 * least,
        )  # fmt: skip
