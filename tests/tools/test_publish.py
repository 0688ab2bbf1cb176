"""tools/model_converters/publish.py keeps weights and nothing else."""

from pathlib import Path

import pytest
import torch

from tools.model_converters import publish


def saved(path: Path, **weights) -> Path:
    state = dict({"backbone.w": torch.tensor([0.1, -3.0]), "head.n": torch.tensor(7)}, **weights)
    meta = dict(dataset_meta=dict(classes=("a",)), iter=9)
    torch.save(dict(state_dict=state, optimizer=dict(a=1), message_hub={}, meta=meta), path)
    return path


def test_weights_in_float16_and_class_names(tmp_path):
    out = tmp_path / "new" / "small.pth"
    publish.main([str(saved(tmp_path / "a.pth")), str(out), "--drop", "head"])
    content = torch.load(out, weights_only=True)
    assert content["meta"] == dict(dataset_meta=dict(classes=("a",)))
    assert set(content) == {"state_dict", "meta"} and list(content["state_dict"]) == ["backbone.w"]
    value = content["state_dict"]["backbone.w"]
    assert value.dtype == torch.float16 and torch.allclose(
        value.float(), torch.tensor([0.1, -3.0]), atol=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "weights", "words"),
    [
        ((), {"backbone.big": torch.tensor([1e6])}, "float16 cannot hold"),
        (("--drop", "neck"), {}, "no weights of 'neck'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, weights, words):
    source = saved(tmp_path / "a.pth", **weights)
    with pytest.raises(SystemExit, match=words):
        publish.main([str(source), str(tmp_path / "b.pth"), *arguments])
    assert not (tmp_path / "b.pth").exists()
    with pytest.raises(SystemExit, match="no checkpoint at none.pth"):
        publish.main(["none.pth", "b.pth"])


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is the file whole"), (b"hello\n", "is the file whole"), ([1, 2], "no state_dict")],
)
def test_what_is_no_checkpoint_is_refused_in_a_line(tmp_path, content, words):
    source = tmp_path / "x.pth"
    source.write_bytes(content) if isinstance(content, bytes) else torch.save(content, source)
    with pytest.raises(SystemExit, match=words):
        publish.main([str(source), str(tmp_path / "b.pth")])
