"""All cycles of one period: words of regions against brute force and algebra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import captum_dynamics as cd
from captum_dynamics.testing.systems import bistable, threshold_linear

NOTHING = torch.zeros(0)


def random_net(seed: int, n: int, gain: float) -> cd.FunctionAdapter:
    """h' = A h + relu(W h + c) with a diagonal A."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.diag(torch.rand(n, generator=generator, dtype=torch.float64) - 0.5)
    W = gain * torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    c = torch.randn(n, generator=generator, dtype=torch.float64)
    eye = torch.eye(n, dtype=torch.float64)
    form = cd.ActivationForm(A, eye, W, c, 0 * c)
    return cd.FunctionAdapter(
        lambda h, x: form(h), n, 0, activation_form=lambda _: form
    )


def brute_force(dynamics: cd.DynamicsMap, period: int) -> list[np.ndarray]:
    """First states of all cycles, one for each, by composing regions along words."""
    form = dynamics.activation_form(NOTHING.double())
    assert form is not None
    A, W, C, c, b = (
        part.numpy()
        for part in (
            *(form.linear, form.outgoing, form.incoming),
            *(form.offsets, form.bias),
        )
    )
    patterns = list(itertools.product((0.0, 1.0), repeat=len(c)))
    regions = [(A + W @ np.diag(D) @ C, W @ (D * c) + b) for D in patterns]
    found: list[np.ndarray] = []
    for word in itertools.product(range(len(patterns)), repeat=period):
        slope, offset = np.eye(len(b)), np.zeros(len(b))
        for letter in word:
            J, k = regions[letter]
            slope, offset = J @ slope, J @ offset + k
        h = np.linalg.solve(np.eye(len(b)) - slope, offset)
        orbit = []
        for letter in word:
            if not ((C @ h + c > 0) == np.array(patterns[letter])).all():
                break
            orbit.append(h)
            h = regions[letter][0] @ h + regions[letter][1]
        new = len(orbit) == period and all(
            np.abs(orbit[0] - other).max() > 1e-7 for other in (*orbit[1:], *found)
        )
        if new:
            found += orbit
    return found


@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(1, 5), (2, 3), (3, 2), (2, 2)]),
    st.sampled_from([2.0, 4.0]),
)
def test_enumeration_is_brute_force_over_words(
    seed: int, size: tuple[int, int], gain: float
) -> None:
    units, period = size
    dynamics = random_net(seed, units, gain)
    wanted = brute_force(dynamics, period)
    cycles = cd.enumerate_cycles(dynamics, NOTHING, period)
    assert len(wanted) == period * len(cycles)
    for state in wanted:
        gaps = (cycles.states - torch.from_numpy(state)).norm(dim=2)
        assert (gaps < 1e-7).sum() == 1
    for sequence in cycles.states:
        new = dynamics.step(sequence, torch.zeros(period, 0).double())
        assert torch.allclose(new, sequence.roll(-1, 0), atol=1e-11)


def test_the_threshold_system_has_one_2_cycle_with_multipliers_of_algebra() -> None:
    cycles = cd.enumerate_cycles(threshold_linear().dynamics, NOTHING, 2)
    (known,) = threshold_linear().cycles
    assert cycles.period == 2
    assert torch.allclose(cycles.states, known[None], atol=1e-14)
    assert cycles.eigenvalues.real.flatten().tolist() == pytest.approx([1.05, -0.55])
    assert cycles.residual_norms.max() < 1e-14
    assert not cycles.degenerate.any()


@pytest.mark.parametrize(("period", "count"), [(1, 3), (2, 1), (3, 0), (4, 0)])
def test_shorter_periods_are_left_out(period: int, count: int) -> None:
    cycles = cd.enumerate_cycles(threshold_linear().dynamics, NOTHING, period)
    assert len(cycles) == count
    assert cycles.states.shape == (count, period, 2)


def test_the_tent_map_has_as_many_cycles_as_combinatorics_says() -> None:
    # h' = 2 h - 4 relu(h - 1/2): every word of two letters is one point of a cycle.
    form = cd.ActivationForm(
        *torch.tensor([[[2.0]], [[-4.0]], [[1.0]]]).double(),
        torch.tensor([-0.5]).double(),
        torch.zeros(1).double(),
    )
    tent = cd.FunctionAdapter(
        lambda h, x: form(h), 1, 0, activation_form=lambda _: form
    )
    counts = [len(cd.enumerate_cycles(tent, NOTHING, k)) for k in range(1, 9)]
    assert counts == [2, 1, 2, 3, 6, 9, 18, 30]
    cycles = cd.enumerate_cycles(tent, NOTHING, 5)
    assert torch.allclose(cycles.eigenvalues.abs(), torch.tensor(32.0).double())


def test_words_too_many_to_enumerate_are_refused() -> None:
    dynamics = random_net(0, 6, 1.0)
    with pytest.raises(ValueError, match="`max_units` = 20 units, got 24"):
        cd.enumerate_cycles(dynamics, NOTHING, 4)


def test_a_period_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`period` to be positive"):
        cd.enumerate_cycles(random_net(0, 2, 1.0), NOTHING, 0)


def test_a_map_whose_regions_are_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="`dynamics` to state its `activation_form`"):
        cd.enumerate_cycles(bistable().dynamics, torch.zeros(1), 2)
