"""What a conversion to DynConv says that it did."""

import pytest
from torch import nn

import mmdyn
from mmdyn.conversion import DynConvConfig, convert_model, restore_model
from mmdyn.conversion.dynconv_runtime import gates_of
from tests.conversion.gated_networks import network


def test_what_was_left_out_is_reported():
    net = network()
    net.layer2[1].bn2 = nn.GroupNorm(2, 8)
    report = convert_model(net, DynConvConfig(skip=("layer1.0",)))
    reasons = {site.path: site.reason for site in report.dense}
    assert reasons.keys() == {"layer1.0", "layer2.1"} and "GroupNorm" in reasons["layer2.1"]
    assert report.modules == 4 == len(gates_of(net))
    text = str(report)
    assert "4 residual blocks" in text and "GroupNorm" in text and "layer2.0" in text
    restore_model(net)
    with pytest.raises(ValueError, match="layer2.1.*GroupNorm"):
        convert_model(net, DynConvConfig(strict=True))
    assert not mmdyn.is_converted(net)
