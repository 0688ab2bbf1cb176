"""Policies by name, and policies in files."""

import pytest
import torch

from mmdyn.policies import (
    FrameDifferencePolicy,
    ReinforcePolicy,
    build_policy,
    load_policy,
    save_policy,
)


@pytest.fixture
def learned():
    policy = ReinforcePolicy(width=8, temperature=0.4)
    torch.nn.init.normal_(policy.net.correct.weight)
    return policy


def test_policies_are_built_from_names_dicts_and_themselves():
    assert isinstance(build_policy("frame_difference"), FrameDifferencePolicy)
    assert isinstance(build_policy("mmdyn.frame_difference"), FrameDifferencePolicy)
    assert build_policy(dict(type="reinforce", width=8)).config["width"] == 8
    policy = build_policy(dict(type=FrameDifferencePolicy, age_weight=0.5))
    assert build_policy(policy) is policy and policy.age_weight == 0.5
    with pytest.raises(KeyError, match="unknown policy 'learned'; known: .*'reinforce'"):
        build_policy("learned")
    with pytest.raises(ValueError, match="needs its type, one of"):
        build_policy(dict(lr=3))
    with pytest.raises(ValueError, match="'random' does not know .*seeed.*it takes .*seed"):
        build_policy(dict(type="random", seeed=3))


def test_a_saved_policy_comes_back_frozen(learned, tmp_path):
    save_policy(learned, tmp_path / "policy.pth")
    twin = load_policy(tmp_path / "policy.pth")
    assert not twin.learning and twin.config == learned.config
    assert load_policy(tmp_path / "policy.pth", learning=True).learning
    for key, value in learned.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value)


def test_weights_go_into_a_policy_with_other_settings(learned, tmp_path):
    save_policy(learned, tmp_path / "policy.pth")
    policy = ReinforcePolicy(width=8, temperature=0.9)
    assert load_policy(tmp_path / "policy.pth", policy) is policy
    assert policy.temperature == 0.9
    assert torch.equal(policy.net.correct.weight, learned.net.correct.weight)


def test_policies_without_weights_are_files_too(tmp_path):
    save_policy(FrameDifferencePolicy(age_weight=0.25), tmp_path / "policy.pth")
    assert load_policy(tmp_path / "policy.pth").age_weight == 0.25


def test_mismatches_are_explained(learned, tmp_path):
    path = tmp_path / "policy.pth"
    save_policy(learned, path)
    with pytest.raises(ValueError, match="'width': 8.*'width': 16"):
        load_policy(path, ReinforcePolicy(width=16))
    with pytest.raises(ValueError, match="set the policy's type to 'reinforce'"):
        load_policy(path, FrameDifferencePolicy())
    with pytest.raises(FileNotFoundError, match="write one with save_policy"):
        load_policy(tmp_path / "absent.pth")
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="pass a policy, not a checkpoint"):
        load_policy(path)
    path.write_bytes(b"no file of torch")
    with pytest.raises(ValueError, match="is not a file of save_policy"):
        load_policy(path)


def test_a_config_starts_from_a_file(learned, tmp_path):
    save_policy(learned, tmp_path / "policy.pth")
    spec = dict(type="reinforce", width=8, checkpoint=str(tmp_path / "policy.pth"))
    policy = build_policy(spec)
    assert torch.equal(policy.net.correct.weight, learned.net.correct.weight)
    assert policy.learning and policy.temperature == 0.6 and "checkpoint" in spec
    with pytest.raises(FileNotFoundError, match="no policy file"):
        build_policy({**spec, "checkpoint": "none.pth"})
