"""Layers of all architectures, built, started and read in the same way."""

from __future__ import annotations

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.models import (
    ARCHITECTURES,
    SequenceNet,
    build_layer,
    keep_state,
)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "relu"])
def test_a_net_answers_at_every_step_and_its_layer_can_be_adapted(arch: str) -> None:
    net = SequenceNet(arch, 3, 5, 2)
    assert net(torch.randn(4, 7, 3)).shape == (4, 7, 2)
    adapter = cd.adapt(net, "rnn")
    assert (adapter.input_dim, adapter.output_dim) == (3, 5)
    without = SequenceNet(arch, 3, 5, 2, bias=False)
    assert "readout.bias" not in without.state_dict()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kept_states_fade_slowly(arch: str) -> None:
    plain, kept = build_layer(arch, 2, 24), build_layer(arch, 2, 24)
    keep_state(kept)
    for layer in (plain, kept):
        with torch.no_grad():
            dict(layer.named_parameters())["weight_ih_l0"].zero_()
    slowest = [
        cd.adapt(layer).jacobians(
            torch.zeros(1, cd.adapt(layer).state_dim).double(),
            torch.zeros(1, 2).double(),
        )
        for layer in (plain, kept)
    ]
    radii = [float(torch.linalg.eigvals(j).abs().max()) for j in slowest]
    assert radii[1] > 0.8
    assert arch == "ugrnn" or radii[1] > radii[0] + 0.05


def test_the_gate_that_keeps_the_state_is_the_one_with_a_bias() -> None:
    for arch, place in (("ugrnn", 0), ("gru", 1), ("lstm", 1)):
        layer = build_layer(arch, 2, 4)
        keep_state(layer)
        blocks = layer.bias_ih_l0.detach().view(-1, 4).mean(1).tolist()
        assert blocks == [float(row == place) for row in range(len(blocks))]
        for block in layer.weight_hh_l0.detach().view(-1, 4, 4):
            torch.testing.assert_close(block @ block.T, torch.eye(4))


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="`arch` to be one of gru, lstm, tanh"):
        build_layer("elman", 2, 3)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "linear"])
def test_a_layer_can_draw_new_weights(arch: str) -> None:
    torch.manual_seed(0)
    layer = build_layer(arch, 2, 3)
    first = {name: weight.clone() for name, weight in layer.named_parameters()}
    layer.reset_parameters()
    for name, weight in layer.named_parameters():
        assert not torch.equal(weight, first[name])
    torch.manual_seed(0)
    layer.reset_parameters()
    for name, weight in layer.named_parameters():
        torch.testing.assert_close(weight, first[name])
