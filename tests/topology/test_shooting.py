"""Orbits from saddle to saddle as wholes: the linear algebra, and what counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.topology._attracting import AttractingSets
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._destinations import Destinations
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._orbits import (
    Branches,
    Orbit,
    SaddleEdge,
    closed_circles,
    more_of_each_pair,
)
from captum_dynamics.topology._sweeps import newton_step
from captum_dynamics.topology._unstable import UnstableFrame

SEED = torch.Generator().manual_seed(0)


def wavy(matrix: Tensor) -> Flow:
    """A map with a different Jacobian everywhere, and no attractors to know of."""
    dynamics = cd.FunctionAdapter(lambda h, x: torch.sin(h @ matrix.T), len(matrix), 0)
    none = torch.zeros(0, len(matrix), dtype=torch.float64)
    nothing = AttractingSets(none, none[:, 0], torch.zeros(0, dtype=torch.long), (), {})
    return Flow(dynamics, none.new_zeros(0), nothing, 10, Deadline())


def test_a_newton_step_by_two_sweeps_is_that_of_one_large_system() -> None:
    steps, count, width, across = 6, 3, 4, 2
    generator = SEED.clone_state()

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    flow = wavy(draw(width, width))
    orbits, jumps = draw(steps + 1, count, width), draw(steps, count, width)
    left = torch.linalg.qr(draw(count, width, across)).Q.mT
    missed, tangents = draw(count, across), draw(count, across, width)
    turns, changes = newton_step(flow, orbits, jumps, left, missed, tangents)
    slopes = flow.jacobians(orbits[:-1].flatten(0, 1)).unflatten(0, (steps, count))
    for row in range(count):
        # Unknowns: what dx_0 is along the tangents, then dx_1 to dx_T.
        size = across + steps * width
        system, sides = np.zeros((size, size)), np.zeros(size)
        for time in range(steps):
            rows = slice(time * width, (time + 1) * width)
            columns = slice(across + time * width, across + (time + 1) * width)
            system[rows, columns] = np.eye(width)
            slope = slopes[time, row].numpy()
            if time == 0:
                system[rows, :across] = -slope @ tangents[row].numpy().T
            else:
                before = slice(columns.start - width, columns.start)
                system[rows, before] = -slope
            sides[rows] = jumps[time, row]
        system[-across:, -width:] = left[row]
        sides[-across:] = -missed[row]
        expected = np.linalg.solve(system, sides)
        np.testing.assert_allclose(turns[row], expected[:across], rtol=1e-9)
        later = changes[1:, row].flatten()
        np.testing.assert_allclose(later, expected[across:], rtol=1e-8, atol=1e-9)


def edges(*pairs: tuple[int, int]) -> list[SaddleEdge]:
    return [SaddleEdge(a, b, 1, 1, 0.0, 1) for a, b in pairs]


def test_of_two_searches_the_richer_one_counts_for_each_pair() -> None:
    some = edges((0, 1), (0, 1), (0, 2), (0, -1))
    others = edges((0, 1), (0, 2), (0, 3))
    merged = more_of_each_pair(some, others)
    counts = Counter((edge.source, edge.target) for edge in merged)
    assert counts == {(0, 1): 2, (0, 2): 1, (0, 3): 1, (0, -1): 1}


@pytest.mark.parametrize(
    ("targets", "closed"),
    [((1, 2, 3, 4), {0}), ((1, 2, 3), set()), ((1, 2, 3, -1), set()), ((), set())],
    ids=["all", "one missing", "one unknown", "none"],
)
def test_tracked_orbits_close_where_their_saddles_share_attractors(
    targets: tuple[int, ...], closed: set[int]
) -> None:
    def branches(source: int, ends: tuple[int, ...], dim: int) -> Branches:
        axes = torch.eye(3, dtype=torch.float64)[:dim]
        frame = UnstableFrame(torch.zeros(3, dtype=torch.float64), axes, 1)
        return Branches(source, frame, axes, followed_to(ends))

    # A square: saddle k lies between attractors k - 1 and k.
    square = [branches(k, (k - 1, k % 4), 1) for k in (1, 2, 3, 4)]
    corner = branches(0, (0, 1), 2)
    tracked = [
        Orbit(edge, torch.zeros(3), torch.zeros(3))
        for edge in edges(*((0, end) for end in targets))
    ]
    assert closed_circles(tracked, [corner, *square]) == closed


def followed_to(ends: tuple[int, ...]) -> Destinations:
    numbers = torch.zeros(len(ends), dtype=torch.float64)
    targets = torch.tensor(ends)
    return Destinations(targets, numbers, targets, numbers[:, None], numbers)
