"""Any step function is a map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics.testing import check_adapter


def test_a_wrapped_cell_is_the_cell() -> None:
    cell = nn.GRUCell(3, 4).double()
    dynamics = cd.FunctionAdapter(lambda h, x: cell(x, h), 4, 3)
    report = check_adapter(dynamics, cell, torch.randn(3, 6, 3).double())
    assert report.passed, report.table()


def test_the_state_may_have_named_blocks() -> None:
    layout = cd.StateLayout((cd.Block("h", 1), cd.Block("c", 2)))
    dynamics = cd.FunctionAdapter(lambda h, x: h + x, layout, 1)
    assert dynamics.layout is layout
    assert dynamics.state_dim == 3
    assert dynamics.output_dim == 1


def test_a_box_is_given_to_every_row() -> None:
    box = -torch.ones(2), 2 * torch.ones(2)
    dynamics = cd.FunctionAdapter(lambda h, x: h, 2, 0, box=box)
    low, high = dynamics.invariant_box(torch.zeros(3, 0))
    assert torch.equal(low, -torch.ones(3, 2))
    assert torch.equal(high, 2 * torch.ones(3, 2))
    assert cd.FunctionAdapter(lambda h, x: h, 2, 0).invariant_box(torch.ones(1, 0)) is (
        None
    )


def test_traits_are_those_given() -> None:
    traits = cd.Traits(float64=False)
    dynamics = cd.FunctionAdapter(lambda h, x: h, 2, 0, traits=traits)
    assert dynamics.traits is traits
    assert dynamics.dtype == torch.float32


def test_a_step_that_changes_the_shape_is_refused() -> None:
    dynamics = cd.FunctionAdapter(lambda h, x: h.sum(1), 2, 0)
    with pytest.raises(ValueError, match=r"`step` to keep the shape \(3, 2\)"):
        dynamics(torch.zeros(3, 2), torch.zeros(1, 0))


def test_a_map_of_single_precision_is_analysed_in_single_precision() -> None:
    weight = torch.tensor([[2.0]])
    dynamics = cd.FunctionAdapter(
        lambda h, x: torch.tanh(h @ weight), 1, 0, traits=cd.Traits(float64=False)
    )
    points = cd.find_fixed_points(
        dynamics, torch.tensor([[0.8]]).double(), torch.zeros(1, 0)
    )
    assert points.states.dtype == torch.float32
    assert points.kind.tolist() == [cd.Kind.FIXED]
    assert float(points.states) == pytest.approx(0.9575040, abs=1e-6)


def test_results_of_a_step_with_live_parameters_carry_no_graph() -> None:
    cell = nn.GRUCell(3, 4).double()
    dynamics = cd.FunctionAdapter(lambda h, x: cell(x, h), 4, 3)
    points = cd.find_fixed_points(dynamics, torch.zeros(2, 4), torch.zeros(1, 3))
    assert not points.states.requires_grad
    assert not points.residual_norms.requires_grad
    runs = cd.record(nn.Sequential(cell), cell, torch.ones(2, 3).double())
    assert not runs.states.requires_grad
