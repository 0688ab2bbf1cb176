"""The tool prints what the metric computes."""

import json
import sys

import pytest

BOX = [10, 10, 40, 100]


@pytest.fixture
def files(tmp_path):
    """Two people, the first found; a false one behind."""
    truth = dict(
        images=[dict(id=1), dict(id=2)],
        categories=[dict(id=1, name="pedestrian")],
        annotations=[
            dict(id=k, image_id=k, category_id=1, bbox=BOX, height=100, vis_ratio=1, ignore=0)
            for k in (1, 2)
        ],
    )
    found = [
        dict(image_id=1, category_id=1, bbox=BOX, score=0.9),
        dict(image_id=2, category_id=1, bbox=[300, 10, 40, 100], score=0.8),
    ]
    paths = [tmp_path / "truth.json", tmp_path / "found.json"]
    for path, content in zip(paths, (truth, found), strict=True):
        path.write_text(json.dumps(content))
    return [str(path) for path in paths]


def run(tool, monkeypatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eval_miss_rate.py", *args])
    return tool.main()


def test_it_prints_and_writes_the_miss_rates(tool, files, monkeypatch, capsys, tmp_path):
    out = tmp_path / "out.json"
    assert run(tool, monkeypatch, *files, "--curve", "--json", str(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["Reasonable", "50.0000", "2", "2"]
    assert lines[2].split()[:2] == ["Small", "nobody"]
    rows = json.loads(out.read_text())
    assert rows["Reasonable"]["miss_rate"] == pytest.approx(0.5)
    assert rows["Small"]["miss_rate"] is None and len(rows["All"]["missed"]) == 9


def test_wrong_files_are_named_and_end_with_two(tool, files, monkeypatch, capsys):
    assert run(tool, monkeypatch, files[1], files[0]) == 2
    assert "COCO-style dict" in capsys.readouterr().err
    assert run(tool, monkeypatch, "missing.json", files[1]) == 2
    capsys.readouterr()
    assert run(tool, monkeypatch, files[0], "found.txt") == 2
    assert "found.txt: expected a file that ends with .json" in capsys.readouterr().err
    assert run(tool, monkeypatch, *files, "--subsets", "Heavyy") == 2
    assert "unknown subsets" in capsys.readouterr().err
