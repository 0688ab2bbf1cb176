"""tools/common/arguments.py: bad options end in a line that names them."""

import argparse
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def parser(tool: ModuleType) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--count", type=tool.count)
    made.add_argument("--whole", type=tool.count_or_none)
    made.add_argument("--share", type=tool.share)
    made.add_argument("--json", type=tool.output_file)
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "0"], "--count: must be a whole number from 1, got '0'"),
        (["--count", "1.5"], "--count: must be a whole number from 1, got '1.5'"),
        (["--whole=-1"], "--whole: must be a whole number from 0, got '-1'"),
        (["--share", "1.1"], "--share: must be a share from 0 to 1, got '1.1'"),
        (["--share", "nan"], "--share: must be a share from 0 to 1, got 'nan'"),
        (["--json", "{folder}/no/x.json"], "no/x.json cannot be written: No such file or dir"),
        (["--json", "{folder}"], "cannot be written: Is a directory"),
    ],
)
def test_what_does_not_fit_is_refused(parser, capsys, tmp_path, words: list, said: str) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args([word.format(folder=tmp_path) for word in words])
    assert said in capsys.readouterr().err


def test_what_fits_is_taken(parser, tmp_path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("results")
    words = ["--count", "1", "--whole", "0", "--share", "1", "--json"]
    for path in (old, new):
        args = parser.parse_args([*words, str(path)])
        assert vars(args) == dict(count=1, whole=0, share=1.0, json=str(path))
    assert old.read_text() == "results" and not new.exists()


def test_configs_that_cannot_be_benchmarked_are_refused(
    tool: ModuleType, tiny: SimpleNamespace, tmp_path, capsys
) -> None:
    parser = argparse.ArgumentParser()
    texts = {
        "empty.py": ("", "has no model"),
        "wrong.py": ("1 / 0", "ZeroDivisionError"),
        "ours.py": ("model = dict(type='mmdyn.BlockCopy', host='X')", "mmdyn's line in it"),
        "missing.py": (None, "missing.py cannot be read: FileNotFoundError"),
    }
    for name, (text, said) in texts.items():
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit):
            tool.check_stock_config(parser, str(tmp_path / name), {})
        assert said in capsys.readouterr().err
    tool.check_stock_config(parser, tiny.config, {})
