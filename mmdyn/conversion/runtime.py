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
from mmdyn.conversion.decision import Choice, cells_due, decide
from mmdyn.conversion.fallback import DenseFallback
from mmdyn.conversion.hosts import Call, Host
from mmdyn.conversion.observing import (
    observe,
    remembered,
    restart_at_cuts,
    scene_cuts,
    thumbnail_of,
)  # fmt: skip
from mmdyn.conversion.padding import pad_to_blocks, warn_of_much_padding
from mmdyn.conversion.replay import remove
from mmdyn.conversion.report import ConversionReport, inspect
from mmdyn.conversion.tracking import detach
from mmdyn.conversion.weight_watch import WeightWatch
from mmdyn.ops.transfer import Later, to_device
from mmdyn.policies import BudgetController, Observation, Policy
from mmdyn.video import FeatureMemory, StreamState, StreamTable
from mmdyn.video.clip_id import build_clip_id
from mmdyn.video.sizes import StreamsBySize
from mmdyn.video.streams import move_along

logger = logging.getLogger(__name__)

_BROKEN = "the frame holds NaN or infinite pixels; drop it and go on with the next one"


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
        call = self.host.call(args, kwargs)
        later = self.looks_later(call.image)
        changed = self.constants.ask(call.image.device)
        if self.weights.changed(model) or (not later and bool(changed)):
            logger.info("weights changed: all streams start anew")
            self.by_size.drop()
            self.constants.forget()
        image, block = pad_to_blocks(call.image, self.config)
        if not self._told_of_padding:
            self._told_of_padding = warn_of_much_padding(call.image, image)
        thumbnail = thumbnail_of(image, block)
        finite = torch.isfinite(thumbnail).all()
        if (self._wants_motion or not later) and not bool(finite):
            raise ValueError(f"{_BROKEN} (the stream's memory is as it was)")
        states = self._states(call, image, block)
        taken = self, image, block
        if self.fallback.is_dense(image, block):
            outputs = self.fallback.run(*taken, states, begun, forward, (args, kwargs))
            self.weights.frame_ended()
            self.host.attach(outputs, self.stats)
            return outputs
        try:
            doubts = torch.stack([~finite, changed])
            outputs = self._run(started, forward, call, image, thumbnail, doubts, states, block)
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

    def looks_later(self, image: Tensor) -> bool:
        """Whether a frame is launched before the host knows that nothing is wrong with it.

        Asking a CPU costs nothing; a device would stand still until the answer had come and the
        first layers were launched.
        """
        return image.device.type != "cpu"

    def _run(self, started, forward, call: Call, image, thumbnail, doubts, states, block) -> Any:
        later = self.looks_later(image)
        motion = move_along(states, image) if self._wants_motion else {}
        before = remembered(states, thumbnail)
        cuts = scene_cuts(thumbnail, before, self.config.scene_cut)
        if not later:
            restart_at_cuts(states, cuts.tolist(), self.config)
        obs = observe(image, thumbnail, before, states, block)
        if self.policy.needs_oracle:
            outputs = self._execute(forward, call, image, self._full(obs, block, None))[0]
            obs.oracle = self.host.tasks(call, outputs, tuple(image.shape[2:]))
        choice = self._decide(obs, states)
        if later:
            whole = cuts if choice.refresh is None else cuts | choice.refresh
            answers = Later(torch.cat([doubts, cuts, whole]))
        decided = time.perf_counter()
        slots = [state.slot for state in states]
        halves = self.config.half_budget > 0
        grid = BlockGrid(choice.levels, block, slots, halves, choice.counts)
        outputs, frame = self._guarded(forward, call, image, grid, motion)
        if later and any(doubt := answers.read()):
            outputs, frame = self._again(forward, call, image, frame.grid, obs, states, doubt)
        first = [state.frames == 0 for state in states]
        ran = time.perf_counter()
        self._remember(call, outputs, obs, states, frame.grid)
        self.last_observation = obs
        given = call.image.shape[2] * call.image.shape[3] / (image.shape[2] * image.shape[3])
        self._note(frame, any(first), started, decided, ran, given)
        self.host.attach(outputs, self.stats)
        return outputs

    def _again(self, forward, call: Call, image, grid: BlockGrid, obs, states, doubt: list[bool]):
        """Runs all cells of what should not have been copied from, and refuses broken frames."""
        broken, changed, *images = doubt
        if broken:
            raise ValueError(f"{_BROKEN} (streams start anew: all of their blocks run then)")
        cuts, whole = images[: len(states)], images[len(states) :]
        restart_at_cuts(states, cuts, self.config)
        whole = [changed or due or s.frames == 0 for s, due in zip(states, whole)]
        obs.task = [state.task for state in states]
        fresh = to_device(whole, image.device)[:, None, None]
        counts = [(grid.cells, 0) if w else n for w, n in zip(whole, grid.counts)]
        levels = torch.where(fresh, int(Level.FULL), grid.levels)
        grid = BlockGrid(levels, grid.block_size, grid.slots, grid.has_halves, counts)
        return self._guarded(forward, call, image, grid, {})

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

    @property
    def _wants_motion(self) -> bool:
        """Whether remembered maps follow the picture; not where outputs are no maps."""
        wanted = self.config.motion
        wanted = self.host.outputs_maps if wanted is None else wanted
        return wanted and self.policy.fixed_share is None

    def _decide(self, obs: Observation, states: list[StreamState]) -> Choice:
        return decide(obs, states, self.policy, self.config, self.looks_later(obs.image))

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
        full = grid.whole()
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

    def _remember(self, call: Call, outputs, obs: Observation, states, grid: BlockGrid) -> None:
        executed = grid.levels != Level.COPIED
        size = tuple(obs.image.shape[2:])
        tasks = self.host.tasks(call, outputs, size) if self.policy.needs_task else None
        if tasks is not None and self.policy.learning and all(t is not None for t in tasks):
            logs = self.policy.learn(obs, executed, tasks)
            self.stats = {f"policy_{name}": value for name, value in logs.items()}
        else:
            self.stats = {}
        for i, state in enumerate(states):
            ran = executed[i]
            where = F.interpolate(ran[None, None].float(), obs.thumbnail.shape[2:], mode="nearest")[
                0
            ]
            state.thumbnail = torch.where(where > 0, obs.thumbnail[i], obs.memory_thumbnail[i])
            state.age = torch.where(ran, 1, state.age + 1)
            state.due = cells_due(state.age, self.config.max_age)
            state.last_grid = ran
            state.task = None if tasks is None else tasks[i]
            state.since_full = 0 if grid.complete[i] else state.since_full + 1
            state.frames += 1
            state.since_start += 1
            state.controller.observe(grid.counts[i][0], grid.cells)

    def _note(self, frame, first: bool, started, decided, ran, given: float) -> None:
        self.last_frame = frame
        now = time.perf_counter()
        self.stats.update(
            executed_share=frame.grid.count(Level.FULL) / frame.grid.levels.numel(),
            half_share=frame.grid.count(Level.HALF) / frame.grid.levels.numel(),
            arithmetic_share=frame.grid.executed_share,
            gmacs=sum(frame.macs.values()) / 1e9,
            dense_gmacs=frame.dense_macs * given / 1e9,  # of the image without padding
            ms=(now - started) * 1e3,
            policy_ms=(decided - started + now - ran) * 1e3,
            first_frame=first,
            state_mb=self.memory.nbytes / 2**20,
        )
