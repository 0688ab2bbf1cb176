"""The report names what was changed, what turns dense and why."""

import torch
from torch import nn

from mmdyn import BlockCopyConfig, convert_model
from mmdyn.conversion import runtime_of
from tests.conversion.networks import Net, network


class Turning(Net):
    """Turns dense in the middle, for a function without a rule."""

    def features(self, x):
        return self.gate(super().features(x).cumsum(3))


def test_a_network_on_blocks_throughout():
    report = convert_model(network(), BlockCopyConfig(block_size=16))
    assert report.model == "BlockCopyNet" and report.method == "BlockCopy"
    assert report.modules == 5 and not report.dense
    # The gate's convolution multiplies one pixel per image: dense, and next to nothing.
    assert report.sparse_mac_share > 0.99
    assert "nothing turns dense" in str(report) and "BlockCopyNet" in str(report)


def test_a_network_that_turns_dense_says_where_and_why():
    net = network(Turning)
    report = convert_model(net, BlockCopyConfig(block_size=16))
    assert [(site.op, site.reason) for site in report.dense] == [("cumsum", "no rule")]
    assert 0.1 < report.sparse_mac_share < 0.99
    assert "cumsum" in str(report) and "no rule" in str(report)


def test_work_on_proposals_is_left_out():
    class TwoStage(Net):
        def __init__(self):
            super().__init__()
            self.roi_head = nn.Sequential(nn.Linear(8, 10_000))

        def forward(self, x):
            maps = super().forward(x)
            return maps, self.roi_head(maps.new_ones(5, 8))

    report = convert_model(network(TwoStage), BlockCopyConfig(block_size=16))
    assert report.sparse_mac_share > 0.99


def test_macs_are_those_of_the_convolutions():
    net = network()
    convert_model(net, BlockCopyConfig(block_size=16, policy="all"), trial=False)
    net(torch.randn(1, 3, 32, 32))
    frame = runtime_of(net).last_frame
    wanted = dict(stem=16 * 16 * 8 * 27, conv=16 * 16 * 8 * 72, gate=64, head=16 * 16 * 3 * 72)
    assert frame.macs == wanted and frame.dense_macs == sum(wanted.values())


def test_macs_of_transposed_convolutions_and_linear_layers():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 4, 2, 1)
            self.fc = nn.Linear(4, 5)

        def forward(self, x):
            return self.fc(self.up(x).mean((2, 3)))

    net = Other().eval()
    convert_model(net, BlockCopyConfig(block_size=16, policy="all"), trial=False)
    net(torch.randn(1, 3, 32, 32))
    assert runtime_of(net).last_frame.macs == dict(up=32 * 32 * 3 * 4 * 16, fc=20)


def test_a_network_that_runs_little_on_blocks_is_told_of(caplog):
    class Early(Net):
        def forward(self, x):
            return super().forward(x.cumsum(3))

    convert_model(network(Turning), BlockCopyConfig(block_size=16))
    assert not caplog.text
    report = convert_model(network(Early), BlockCopyConfig(block_size=16))
    assert report.sparse_mac_share == 0.0 and "only 0% of the multiply-acc" in caplog.text
