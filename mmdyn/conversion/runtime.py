"""BlockCopy at work: one call of a converted network is one frame of each image's stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdyn.blocks import BlockGrid, Constants, Frame, Level, StaleMemoryError, Tracker, split
from mmdyn.conversion.config import BlockCopyConfig
from mmdyn.conversion.decision import decide, restart_at_cuts
from mmdyn.conversion.fallback import DenseFallback
from mmdyn.conversion.hosts import Call, Host
from mmdyn.conversion.padding import pad_to_blocks
from mmdyn.conversion.replay import remove
from mmdyn.conversion.report import ConversionReport, inspect
from mmdyn.conversion.tracking import detach
from mmdyn.conversion.weight_watch import WeightWatch
from mmdyn.ops.pictures import shrink
from mmdyn.policies import BudgetController, Observation, Policy
from mmdyn.video import FeatureMemory, StreamState, StreamTable
from mmdyn.video.clip_id import build_clip_id
from mmdyn.video.motion import Motion
from mmdyn.video.sizes import StreamsBySize
from mmdyn.video.streams import move_along

logger = logging.getLogger(__name__)

_MUCH_PADDING = 0.1  # of the image, that is worth a warning


class BlockCopyRuntime:
    """Everything that a converted model keeps besides its weights.

    Args:
        config: The user's choices.
        host: How this network takes images.
        policy: Decides which blocks run.
        name: Of the network, in messages.
    """

    def __init__(
        self, config: BlockCopyConfig, host: Host, policy: Policy, name: str = "the network"
    ) -> None:
        self.config, self.host, self.policy = config, host, policy
        self.fallback = DenseFallback(config, name)
        self.tracker = Tracker()
        self.constants = Constants()
        self.by_size = StreamsBySize(config.max_streams)
        self.weights = WeightWatch()
        self.clip_id = build_clip_id(config.clip_id)
        self.last_frame: Frame | None = None
        self.last_observation: Observation | None = None
        self.stats: dict[str, Any] = {}
        self._told_of_gaps = self._told_of_padding = False

    @property
    def streams(self) -> StreamTable:
        """The streams of the frame size at hand."""
        return self.by_size.streams

    @property
    def memory(self) -> FeatureMemory:
        """Their memory."""
        return self.by_size.memory

    def __getstate__(self) -> dict:
        return {**self.__dict__, "last_frame": None, "last_observation": None}

    def reset(self, stream=None) -> None:
        """Forgets one stream or all; the next frame runs all cells."""
        self.by_size.drop(stream)
        if stream is None:
            self.constants.verify()

    def undo(self, model: nn.Module) -> None:
        """Takes hooks and segments off the model's modules."""
        remove(model)
        detach(model)

    def inspect(self, model: nn.Module, trial: bool) -> ConversionReport:
        """What was converted, after a trial if one is asked for."""
        return inspect(model, self, trial)

    def forget_trial(self) -> None:
        """Makes the next frame the first, of whatever size."""
        self.by_size, self.stats = StreamsBySize(self.config.max_streams), {}

    @torch.inference_mode(False)  # memory outlives the caller's inference mode
    @torch.no_grad()
    def run(self, model: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """One frame: decide, execute, remember, learn; `forward` is the stock network's."""
        started, begun = time.perf_counter(), self.fallback.now()
        if self.weights.changed(model):
            logger.info("weights changed: all streams start anew")
            self.reset()
        call = self.host.call(args, kwargs)
        image, block = pad_to_blocks(call.image, self.config)
        self._tell_of_padding(call.image, image)
        thumbnail = _thumbnail(image, block)
        if not bool(torch.isfinite(thumbnail).all()):
            raise ValueError(
                "the frame holds NaN or infinite pixels; drop it and go on with the next one "
                "(the stream's memory is as it was)"
            )
        states = self._states(call, image, block)
        taken = self, image, block
        if self.fallback.is_dense(image, block):
            outputs = self.fallback.run(*taken, states, begun, forward, (args, kwargs))
            self.weights.frame_ended()
            self.host.attach(outputs, self.stats)
            return outputs
        try:
            outputs = self._run(started, forward, call, image, thumbnail, states, block)
            self.fallback.ran_on_blocks(*taken, begun, forward, (args, kwargs))
            return outputs
        except BaseException:
            # Some memory is of this frame and some of the last: none of it can be used.
            for state in states:
                state.restart()
                self.memory.forget(state.slot)
            raise
        finally:
            self.weights.frame_ended()

    def _tell_of_padding(self, given: Tensor, padded: Tensor) -> None:
        more = padded.shape[2] * padded.shape[3] / (given.shape[2] * given.shape[3]) - 1.0
        if more > _MUCH_PADDING and not self._told_of_padding:
            self._told_of_padding = True
            logger.warning(
                "images of %dx%d are padded to %dx%d so that blocks divide them, %.0f%% more to "
                "compute; choose another block_size, or block_size='auto'", *given.shape[2:],
                *padded.shape[2:], 100 * more,
            )  # fmt: skip

    def _run(self, started, forward, call: Call, image, thumbnail, states, block) -> Any:
        motion = self._motion(image, states)
        obs = self._observe(image, thumbnail, states, block, motion)
        first = [state.frames == 0 for state in states]
        if self.policy.needs_oracle:
            outputs = self._execute(forward, call, image, self._full(obs, block, None))[0]
            obs.oracle = self.host.tasks(call, outputs, tuple(image.shape[2:]))
        levels = self._decide(obs, states).to(torch.uint8)
        decided = time.perf_counter()
        slots = [state.slot for state in states]
        grid = BlockGrid(levels, block, slots, self.config.half_budget > 0)
        outputs, frame = self._guarded(forward, call, image, grid, motion)
        ran = time.perf_counter()
        executed = frame.grid.levels != Level.COPIED
        self._remember(call, outputs, obs, states, frame.grid.levels)
        self.last_observation = obs
        given = call.image.shape[2] * call.image.shape[3] / (image.shape[2] * image.shape[3])
        self._note(frame, executed, first, started, decided, ran, given)
        self.host.attach(outputs, self.stats)
        return outputs

    def _states(self, call: Call, image: Tensor, block) -> list[StreamState]:
        self.by_size.turn_to((tuple(image.shape[1:]), block, image.dtype, image.device))
        named = self.host.streams(call, self.clip_id)
        states = self.streams.states_of([stream for stream, _ in named])
        for state, (stream, number) in zip(states, named):
            if state.controller is None:
                state.controller = BudgetController(self.config.budget)
            returns = self.by_size.returns(stream)
            if returns or self._is_another_clip(stream, state, number):
                state.reset()
            state.frame = number
        return states

    def _is_another_clip(self, stream, state: StreamState, number: int | None) -> bool:
        """Whether a frame's number cannot be of the clip whose last frame the state is of."""
        if number is None or state.frame is None:
            return False
        gap = number - state.frame
        if gap > self.config.max_age and not self._told_of_gaps:
            self._told_of_gaps = True
            logger.warning(
                "frame %d of '%s' comes after frame %d: with more than max_age=%d between them it "
                "starts a new clip, all of whose blocks run; such images are stills, or raise "
                "max_age", number, stream, state.frame, self.config.max_age,
            )  # fmt: skip
        return gap <= 0 or gap > self.config.max_age

    def _motion(self, image: Tensor, states: list[StreamState]) -> dict[int, Motion]:
        """By slot, the motion since the frame before; empty where outputs do not follow it."""
        wanted = self.config.motion
        wanted = self.host.outputs_maps if wanted is None else wanted
        return move_along(states, image) if wanted and self.policy.fixed_share is None else {}

    def _observe(self, image, thumbnail, states, block, motion) -> Observation:
        size = (image.shape[2] // block[0], image.shape[3] // block[1])
        device = image.device
        for state in states:
            if state.frames == 0:
                state.age = torch.zeros(size, dtype=torch.int64, device=device)
                state.last_grid = torch.zeros(size, dtype=torch.bool, device=device)
        remembered = torch.stack(
            [t if s.thumbnail is None else s.thumbnail for s, t in zip(states, thumbnail)]
        )
        change = F.adaptive_avg_pool2d((thumbnail - remembered).abs().mean(1), size)
        restart_at_cuts(states, thumbnail, remembered, self.config)
        return Observation(
            image=image, grid_size=size, change=change, thumbnail=thumbnail,
            memory_thumbnail=remembered,
            age=torch.stack([s.age for s in states]),
            last_grid=torch.stack([s.last_grid for s in states]),
            task=[s.task for s in states],
        )  # fmt: skip

    def _decide(self, obs: Observation, states: list[StreamState]) -> Tensor:
        return decide(obs, states, self.policy, self.config)

    def _full(self, obs: Observation, block, slots) -> BlockGrid:
        return BlockGrid.filled(
            Level.FULL, obs.image.shape[0], obs.grid_size, block, device=obs.image.device,
            slots=slots, halves=self.config.half_budget > 0,
        )  # fmt: skip

    def _guarded(self, forward, call: Call, image: Tensor, grid: BlockGrid, motion):
        """Executes the grid; a frame whose memory does not hold runs all cells instead."""
        self.memory.begin(grid, motion)
        try:
            return self._execute(forward, call, image, grid, self.memory)
        except StaleMemoryError as error:
            logger.info("%s; running the whole frame", error)
        full = BlockGrid.filled(
            Level.FULL, grid.num_images, grid.size, grid.block_size,
            device=grid.device, slots=grid.slots, halves=grid.has_halves,
        )  # fmt: skip
        self.memory.begin(full)
        return self._execute(forward, call, image, full, self.memory)

    def _execute(self, forward, call: Call, image: Tensor, grid: BlockGrid, memory=None):
        frame = Frame(grid, memory, self.tracker, self.constants, self.config.strict)
        args, kwargs = call.with_image(split(frame, image, grid.block_size))
        size = tuple(image.shape[2:])
        self.tracker.frame, self.tracker.stack = frame, []
        try:
            with self.host.padded(call, size):
                outputs = self.host.finish(call, forward(*args, **kwargs), size)
        finally:
            self.tracker.frame = None
            if memory is not None:
                memory.end()
        return outputs, frame

    def _remember(self, call: Call, outputs, obs: Observation, states, levels: Tensor) -> None:
        executed = levels != Level.COPIED
        size = tuple(obs.image.shape[2:])
        tasks = self.host.tasks(call, outputs, size) if self.policy.needs_task else None
        if tasks is not None and self.policy.learning and all(t is not None for t in tasks):
            logs = self.policy.learn(obs, executed, tasks)
            self.stats = {f"policy_{name}": value for name, value in logs.items()}
        else:
            self.stats = {}
        total = executed[0].numel()
        counts = executed.flatten(1).sum(1).tolist()
        fulls = (levels == Level.FULL).flatten(1).sum(1).tolist()
        for i, state in enumerate(states):
            ran = executed[i]
            where = F.interpolate(ran[None, None].float(), obs.thumbnail.shape[2:], mode="nearest")[
                0
            ]
            state.thumbnail = torch.where(where > 0, obs.thumbnail[i], obs.memory_thumbnail[i])
            state.age = torch.where(ran, 1, state.age + 1)
            state.last_grid = ran
            state.task = None if tasks is None else tasks[i]
            state.since_full = 0 if counts[i] == total else state.since_full + 1
            state.frames += 1
            state.since_start += 1
            state.controller.observe(fulls[i], total)

    def _note(self, frame, executed, first, started, decided, ran, given: float) -> None:
        self.last_frame = frame
        now = time.perf_counter()
        self.stats.update(
            executed_share=frame.grid.count(Level.FULL) / executed.numel(),
            half_share=frame.grid.count(Level.HALF) / executed.numel(),
            arithmetic_share=frame.grid.executed_share,
            gmacs=sum(frame.macs.values()) / 1e9,
            dense_gmacs=frame.dense_macs * given / 1e9,  # of the image without padding
            ms=(now - started) * 1e3,
            policy_ms=(decided - started + now - ran) * 1e3,
            first_frame=any(first),
            state_mb=self.memory.nbytes / 2**20,
        )


def _thumbnail(image: Tensor, block: tuple[int, int]) -> Tensor:
    """(N, C, h, w) float32: the image at 1/8, or at the finest 1/4, 1/2, 1/1 that blocks follow."""
    factor = next(f for f in (8, 4, 2, 1) if block[0] % f == 0 and block[1] % f == 0)
    return shrink(image, factor)
