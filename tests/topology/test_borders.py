"""Borders of basins: brought together, thinned out, and followed to their saddles."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.testing import systems
from captum_dynamics.topology._attracting import attracting_sets
from captum_dynamics.topology._border_shots import BorderShots
from captum_dynamics.topology._borders import Borders, narrowed
from captum_dynamics.topology._builder import Known
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._edge_tracking import track
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._unstable import SURROUNDING_STEP

REST = systems.bistable().states.abs().max()  # of tanh(2h): .9575
DECAY = 0.998  # a trajectory takes 2,000 steps from one to 1e-2, rounding 53 to one


def flow_of(linear: cd.Linearization, dynamics: cd.DynamicsMap) -> Flow:
    sets = attracting_sets(linear, (), ())
    return Flow(dynamics, linear.points.inputs[0], sets, 20_000, Deadline())


def square() -> tuple[Flow, cd.Linearization]:
    """Two switches, each of which draws to the sign that it has."""
    system = systems.uncoupled_switches(2)
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points)
    return flow_of(linear, system.dynamics), linear


def between(flow: Flow, left: torch.Tensor, right: torch.Tensor) -> Borders:
    owners = torch.zeros(len(left), dtype=torch.long)
    return Borders(owners, left, right, flow.basins(left), flow.basins(right))


@pytest.mark.parametrize("count", [1, 5, 200])
def test_neighbours_come_together_at_the_first_border_from_the_left(count: int) -> None:
    flow, _ = square()
    # From x < 0 < y over x = 0 to y < 0: the first border is x = 0, not y = 0.
    slopes = torch.linspace(0.5, 0.9, count, dtype=torch.float64)
    left = torch.stack([torch.full_like(slopes, -0.1), slopes], 1)
    right = torch.stack([torch.full_like(slopes, 0.9), -0.1 - slopes], 1)
    pairs = narrowed(flow, between(flow, left, right), 20)
    assert bool((pairs.left[:, 0] < 0).all() & (pairs.right[:, 0] >= 0).all())
    assert bool(((pairs.right - pairs.left).norm(dim=1) < 1e-4).all())
    assert bool((pairs.right[:, 1] > 0).all())
    assert torch.equal(flow.basins(pairs.left), pairs.left_basins)
    assert torch.equal(flow.basins(pairs.right), pairs.right_basins)


def test_of_pairs_between_the_same_attractors_few_stay() -> None:
    owners = torch.tensor([0, 0, 0, 0, 1, 0])
    states = torch.arange(6, dtype=torch.float64)[:, None]
    sides = torch.tensor([[2, 3], [3, 2], [2, 3], [2, 4], [2, 3], [4, 2]])
    borders = Borders(owners, states, states, *sides.unbind(1))
    # Either order is the same border; another owner or another attractor is not.
    assert borders.few_of_each(2).left[:, 0].tolist() == [0, 1, 3, 4, 5]
    assert borders.few_of_each(1).left[:, 0].tolist() == [0, 3, 4]


def slow_square() -> tuple[cd.DynamicsMap, torch.Tensor]:
    """Two switches and a third unit that follows one of them slowly.

    Its nine points are those of the switches, the third unit at the square of the
    second.
    """

    def step(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        switches = torch.tanh(2 * h[:, :2])
        slow = DECAY * h[:, 2] + (1 - DECAY) * h[:, 1].square()
        return torch.cat([switches, slow[:, None]], 1)

    sides = (-REST, torch.zeros_like(REST), REST)
    states = [torch.stack([x, y, y.square()]) for x in sides for y in sides]
    return cd.FunctionAdapter(step, 3, 0), torch.stack(states)


def slow_borders(spread: float) -> tuple[Borders, BorderShots]:
    """Neighbours on both sides of y > 0 and y < 0, where x = 0, beside the centre."""
    dynamics, states = slow_square()
    points = cd.find_fixed_points(dynamics, states, torch.zeros(1, 0))
    linear = cd.linearize(dynamics, points)
    dims = linear.unstable_dims
    assert dims.tolist() == [0, 1, 0, 1, 2, 1, 0, 1, 0]
    flow, centre = flow_of(linear, dynamics), 4
    frame = Known(linear).frame(centre, SURROUNDING_STEP)
    up, down = math.pi / 2 - 0.03, -math.pi / 2 - 0.03
    angles = torch.tensor([up, up + spread, down, down + spread], dtype=torch.float64)
    ends = linear.points.states[centre] + 1e-5 * torch.stack(
        [angles.cos(), angles.sin(), torch.zeros_like(angles)], 1
    )
    pairs = between(flow, ends[::2], ends[1::2])
    borders = replace(pairs, owners=pairs.owners + centre)
    saddles = torch.nonzero(dims == 1)[:, 0]
    # Saddles lie between the attractors before and after them, or three before.
    lie = {1: (0, 2), 3: (0, 6), 5: (2, 8), 7: (6, 8)}
    return borders, BorderShots(flow, linear, {centre: frame}, saddles, lie)


# Brought together before, and wider apart than trajectories on one border may be.
@pytest.mark.parametrize(("spread", "halvings"), [(0.1, 24), (0.4, 0)])
def test_a_border_is_followed_to_a_saddle_that_is_slow_to_reach(
    spread: float, halvings: int
) -> None:
    borders, shots = slow_borders(spread)
    passages = track(shots.flow, narrowed(shots.flow, borders, halvings), shots)
    assert shots.saddles[passages.targets].tolist() == [5, 3]
    assert float(passages.distances.max()) <= 1e-4
    assert float(passages.starts[:, 0].abs().max()) < 1e-12
    least = math.log(1e-4 / float(REST) ** 2) / math.log(DECAY)
    assert bool((passages.steps >= int(least)).all())
