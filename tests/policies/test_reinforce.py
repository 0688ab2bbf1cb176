"""The learned policy: it learns, it can be frozen, it touches nothing else."""

import copy
import dataclasses
import io
import logging
import pickle

import pytest
import torch

from mmdyn.policies import ReinforcePolicy, build_policy, select_cells


def play(policy, stream, frames, seed=0, count=8):
    """Runs a clip; returns the executed cells of every frame and what was reported."""
    source, keeper = stream[0](seed), stream[1]()
    executed, reports = [], []
    for number in range(frames):
        obs = keeper.observe(*source.frame())
        cells = torch.ones(1, *obs.grid_size, dtype=torch.bool)
        if number:
            cells = select_cells(policy.scores(obs), count)
        reports.append(policy.learn(obs, cells, [keeper.execute(cells[0])]))
        executed.append(cells)
    return torch.cat(executed), [report for report in reports if report]


@pytest.fixture
def clip(square, bookkeeper):
    return square, bookkeeper


def weights(policy):
    return {key: value.clone() for key, value in policy.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_to_ignore_what_flickers_for_nothing(stream, seed):
    policy = ReinforcePolicy(seed=seed)
    untrained = copy.deepcopy(policy)
    untrained.learning = False
    before = stream(untrained, 40, 8, seed=50)
    stream(policy, 350, 8, seed=seed)
    policy.learning = False
    after = stream(policy, 60, 8, seed=50)
    difference = stream(build_policy("frame_difference"), 60, 8, seed=50)
    assert before < 0.1 and difference < 0.1
    assert after > 0.5


def test_untrained_it_is_the_frame_difference(clip):
    cells, _ = play(ReinforcePolicy(learning=False), clip, 12)
    expected, _ = play(build_policy("frame_difference"), clip, 12)
    assert torch.equal(cells, expected)


def test_learning_is_reproducible_and_explores(clip):
    first, second, other = (ReinforcePolicy(seed=seed) for seed in (0, 0, 1))
    state = torch.random.get_rng_state()
    cells = [play(policy, clip, 12)[0] for policy in (first, second, other)]
    assert torch.equal(cells[0], cells[1]) and not torch.equal(cells[0], cells[2])
    assert same(weights(first), weights(second))
    assert torch.equal(state, torch.random.get_rng_state())


def test_frozen_nothing_changes(clip):
    policy = ReinforcePolicy()
    play(policy, clip, 12)
    policy.learning = False
    before = weights(policy)
    first, reports = play(policy.train(), clip, 8)
    second, _ = play(policy.eval(), clip, 8)
    assert torch.equal(first, second) and reports == []
    assert same(weights(policy), before)


def test_it_learns_in_every_grad_mode_and_leaves_no_graph(clip):
    results = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        policy = ReinforcePolicy()
        with mode():
            _, reports = play(policy, clip, 13)
        _, more = play(policy, clip, 5)
        assert len(reports) == 6 and set(reports[0]) == {
            "loss", "entropy", "gradient_norm", "reward"
        }  # fmt: skip
        assert more and all(p.grad is None and not p.requires_grad for p in policy.parameters())
        results.append(weights(policy))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_the_network_is_never_part_of_a_graph(clip):
    policy, keeper = ReinforcePolicy(interval=1), clip[1]()
    source = clip[0]()
    keeper.observe(*source.frame())
    keeper.execute(torch.ones(8, 8, dtype=torch.bool))
    obs = keeper.observe(*source.frame())
    obs.thumbnail.requires_grad_()
    obs.task[0].logits = obs.task[0].logits.clone().requires_grad_()
    scores = policy.scores(obs)
    assert not scores.requires_grad
    cells = select_cells(scores, 8)
    assert policy.learn(obs, cells, [keeper.execute(cells[0])])
    assert obs.thumbnail.grad is None and obs.task[0].logits.grad is None


def test_streams_may_be_interleaved_and_sizes_mixed(clip):
    policy = ReinforcePolicy(interval=4)
    sources, keepers = [clip[0](s) for s in (0, 1)], [clip[1]() for _ in range(2)]
    reports = []
    for number in range(6):
        seen = [keeper.observe(*s.frame()) for keeper, s in zip(keepers, sources, strict=True)]
        for obs in seen[1:]:
            # The second stream has a smaller picture.
            obs.thumbnail, obs.memory_thumbnail = (
                x[..., :16] for x in (obs.thumbnail, obs.memory_thumbnail)
            )
        scores = [policy.scores(obs) for obs in seen]
        for keeper, obs, score in zip(keepers, seen, scores, strict=True):
            cells = select_cells(score, 8 if number else 64)
            reports.append(policy.learn(obs, cells, [keeper.execute(cells[0])]))
    assert sum(map(bool, reports)) == 2


def test_a_broken_output_skips_the_update_and_is_logged_once(clip, caplog):
    policy, (source, keeper) = ReinforcePolicy(interval=1), (clip[0](), clip[1]())
    play(policy, clip, 6)
    before = weights(policy)
    with caplog.at_level(logging.WARNING, logger="mmdyn"):
        for number in range(5):
            obs = keeper.observe(*source.frame())
            cells = select_cells(policy.scores(obs), 8 if number else 64)
            output = keeper.execute(cells[0])
            output.logits = torch.full_like(output.logits, float("nan"))
            assert policy.learn(obs, cells, [output]) == {}
    assert same(weights(policy), before)
    assert len(caplog.records) == 1 and "not finite" in caplog.text
    assert play(policy, clip, 6)[1]


def test_full_frames_and_static_scenes_teach_nothing(clip):
    policy = ReinforcePolicy(interval=1)
    before = {name: p.clone() for name, p in policy.named_parameters()}
    play(policy, clip, 8, count=64)
    keeper, frame = clip[1](), clip[0]().frame()
    for number in range(8):
        obs = keeper.observe(*frame)
        cells = select_cells(policy.scores(obs), 8 if number else 64)
        policy.learn(obs, cells, [keeper.execute(cells[0])])
    assert all(torch.equal(p, before[name]) for name, p in policy.named_parameters())


def test_learning_without_a_decision_is_no_error(clip):
    policy, keeper = ReinforcePolicy(interval=1), clip[1]()
    source = clip[0]()
    for _ in range(3):
        obs = keeper.observe(*source.frame())
        cells = torch.ones(1, 8, 8, dtype=torch.bool)
        assert policy.learn(obs, cells, [keeper.execute(cells[0])]) == {}


def test_copies_go_on_like_the_original(clip):
    policy = ReinforcePolicy()
    play(policy, clip, 20)
    copies = [copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))]
    expected, _ = play(policy, clip, 12)
    for twin in copies:
        assert torch.equal(play(twin, clip, 12)[0], expected)
        assert same(weights(twin), weights(policy))


def test_a_hosts_precision_does_not_round_it(clip):
    policy = ReinforcePolicy()
    play(policy, clip, 12)
    before = weights(policy)
    policy.bfloat16()
    assert same(weights(policy), before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cells, reports = play(policy, clip, 12)
    assert reports and all(p.dtype == torch.float32 for p in policy.parameters())


def test_weights_survive_a_state_dict(clip):
    policy = ReinforcePolicy()
    play(policy, clip, 20)
    buffer = io.BytesIO()
    torch.save(policy.state_dict(), buffer)
    buffer.seek(0)
    twin = ReinforcePolicy(seed=5, learning=False)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    policy.learning = False
    assert torch.equal(play(policy, clip, 8)[0], play(twin, clip, 8)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_follows_the_frames_to_their_device(clip):
    policy, (source, keeper) = ReinforcePolicy(interval=1), (clip[0](), clip[1]())
    for number in range(4):
        obs = keeper.observe(*source.frame())
        for name in ("image", "change", "thumbnail", "memory_thumbnail", "age", "last_grid"):
            setattr(obs, name, getattr(obs, name).cuda())
        if obs.task[0] is not None:
            obs.task = [dataclasses.replace(obs.task[0], logits=obs.task[0].logits.cuda())]
        cells = select_cells(policy.scores(obs), 8 if number else 64)
        output = keeper.execute(cells[0].cpu())
        output = dataclasses.replace(output, logits=output.logits.cuda())
        assert bool(policy.learn(obs, cells, [output])) == (number > 0)
    assert all(p.is_cuda for p in policy.parameters())


@pytest.mark.parametrize("bad", [dict(interval=0), dict(temperature=0.0), dict(age_weight=-1.0)])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="interval must be >= 1"):
        ReinforcePolicy(**bad)
