"""The public names are a promise."""

import pytest

import mmdyn


def test_the_public_names_are_these():
    assert sorted(mmdyn.__all__) == [
        "BlockCopyConfig",
        "ConversionReport",
        "DynConvConfig",
        "SegBlocksConfig",
        "__version__",
        "calibrate",
        "convert_model",
        "is_converted",
        "load_policy",
        "reset",
        "restore_model",
        "save_policy",
    ]
    assert dir(mmdyn) == sorted(mmdyn.__all__)


def test_every_public_name_is_there_and_documented():
    for name in mmdyn.__all__:
        value = getattr(mmdyn, name)
        assert isinstance(value, str) or value.__doc__


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="convert_model"):
        _ = mmdyn.convert
