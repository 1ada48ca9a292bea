"""The linear layer: what it computes, and its adapter."""

from __future__ import annotations

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.models import LinearRNN
from captum_dynamics.testing import check_adapter


def test_a_step_is_the_equation() -> None:
    layer = LinearRNN(3, 4)
    inputs, before = torch.randn(2, 1, 3), torch.randn(1, 2, 4)
    states, last = layer(inputs, before)
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    wanted = (
        inputs[:, 0] @ layer.weight_ih_l0.T + before[0] @ layer.weight_hh_l0.T + bias
    )
    torch.testing.assert_close(states[:, 0], wanted)
    torch.testing.assert_close(last[0], wanted)


def test_its_adapter_holds_every_claim_and_knows_the_one_fixed_point() -> None:
    layer = LinearRNN(3, 4)
    dynamics = cd.adapt(layer)
    check_adapter(dynamics, layer, torch.randn(4, 6, 3))
    constant = torch.randn(1, 3).double()
    found = cd.find_fixed_points(dynamics, torch.randn(5, 4), constant).unique()
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).double()
    pushed = layer.weight_ih_l0.double() @ constant[0] + bias
    rest = torch.eye(4, dtype=torch.float64) - layer.weight_hh_l0.double()
    torch.testing.assert_close(found.states[0], torch.linalg.solve(rest, pushed))
    assert len(found) == 1


@pytest.mark.misuse
def test_what_is_no_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="`input` of shape"):
        LinearRNN(3, 4)(torch.zeros(2, 3))
