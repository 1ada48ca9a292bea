"""Two models that do the same have a space in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes

import captum_dynamics as cd
from captum_dynamics.matching import (
    Alignment,
    Nearest,
    Responses,
    SharedFeatures,
    align_canonical,
    align_procrustes,
    match_points,
)
from captum_dynamics.tasks.flipflop import (
    FlipFlopNet,
    flipflop_fixed_points,
    load_flipflop,
    sample_flipflop,
)

DATA = Path(__file__).parents[1] / "data"


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gap(alignment: Alignment, first: torch.Tensor, second: torch.Tensor) -> float:
    apart = alignment.first(first) - alignment.second(second)
    return float(apart.square().sum(1).mean())


def test_a_turned_and_scaled_model_with_idle_units_is_turned_back() -> None:
    states = draw(40, 4)
    turn = torch.linalg.qr(draw(6, 6, seed=1)).Q
    others = 3 * torch.nn.functional.pad(states, (0, 2)) @ turn + 1
    alignment = align_procrustes(states, others)
    assert gap(alignment, states, others) < 1e-24
    assert torch.allclose(alignment.correlations, torch.ones(4).double())
    back = align_procrustes(others, states)
    assert gap(back, others, states) < 1e-24


def test_procrustes_leaves_as_little_as_scipy_does() -> None:
    first, second = draw(30, 3), draw(30, 3, seed=1) + 0.5 * draw(30, 3)
    alignment = align_procrustes(first, second)
    *_, disparity = procrustes(first.numpy(), second.numpy())
    # scipy scales one of the two as well: with unit sizes |A - s B Q|^2 = 1 - s^2.
    left = gap(alignment, first, second)
    assert (2 - left) / 2 == pytest.approx(np.sqrt(1 - disparity))


def test_canonical_variates_undo_any_linear_change() -> None:
    states = draw(60, 3)
    alignment = align_canonical(states, states @ draw(3, 5, seed=2) + 2, variance=1.0)
    assert torch.allclose(alignment.correlations, torch.ones(3).double())
    assert gap(alignment, states, states @ draw(3, 5, seed=2) + 2) < 1e-20


def test_canonical_correlations_are_those_of_the_regression() -> None:
    # Of one variable on many, the canonical correlation is the root of R squared.
    first = draw(50, 3)
    second = first @ draw(3, 1, seed=3) + draw(50, 1, seed=4)
    alignment = align_canonical(first, second, variance=1.0)
    centred = [(s - s.mean(0)).numpy() for s in (first, second)]
    _, residue, *_ = np.linalg.lstsq(*centred, rcond=None)
    expected = np.sqrt(1 - residue / (centred[1] ** 2).sum())
    assert alignment.correlations.numpy() == pytest.approx(expected)
    # A feature is the variate times its correlation.
    assert alignment.first(first).std(correction=0) == pytest.approx(expected[0])


def test_components_below_the_share_of_variance_are_left_out() -> None:
    states = draw(200, 3) * torch.tensor([10.0, 1.0, 0.01])
    assert len(align_canonical(states, states, variance=0.9).correlations) == 1
    assert len(align_canonical(states, states, variance=0.9999).correlations) == 2


def flipflop(cell: str) -> FlipFlopNet:
    return load_flipflop(DATA / f"flipflop_{cell}.safetensors")


def states_at(net: FlipFlopNet, pulses: torch.Tensor) -> torch.Tensor:
    return cd.record(net, "rnn", pulses).states.flatten(0, 1)


def read(net: FlipFlopNet) -> cd.matching.Features:
    return lambda states: net.readout(states[:, : net.rnn.hidden_size].float())


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_points_of_two_trained_nets_match_corner_by_corner(cell: str) -> None:
    nets = flipflop("gru"), flipflop(cell)
    maps, points = zip(*[flipflop_fixed_points(net) for net in nets], strict=True)
    linear = [cd.linearize(*pair) for pair in zip(maps, points, strict=True)]
    pulses = sample_flipflop(8, 64, generator=torch.Generator().manual_seed(0)).inputs
    inputs = torch.cat([torch.eye(3), -torch.eye(3)])
    answers = [
        Responses(dynamics, inputs, read(net))
        for dynamics, net in zip(maps, nets, strict=True)
    ]
    visited = [states_at(net, pulses) for net in nets]
    turned, canonical = align_procrustes(*visited), align_canonical(*visited)
    matchers = {
        "readout": SharedFeatures(*map(read, nets)),
        "responses": SharedFeatures(*answers),
        "procrustes": SharedFeatures(turned.first, turned.second),
        "canonical": SharedFeatures(canonical.first, canonical.second),
    }
    partners = {
        name: match_points(*points, matcher=matcher).partners
        for name, matcher in matchers.items()
    }
    for found in partners.values():
        assert torch.equal(found, partners["readout"])
        assert torch.equal(linear[0].unstable_dims, linear[1].unstable_dims[found])


@pytest.mark.parametrize("align", [align_procrustes, align_canonical])
@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (torch.ones(5, 2).double(), "`second_states` to vary"),
        (torch.full((5, 2), torch.nan), "`second_states` to be finite"),
    ],
    ids=["constant", "nan"],
)
def test_states_that_cannot_be_aligned_are_refused(
    align: object, second: torch.Tensor, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        align(draw(5, 2), second)  # type: ignore[operator]


@pytest.mark.misuse
def test_states_of_other_times_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`second_states`.*\(t, d\).*got \(4, 2\)"):
        align_procrustes(draw(5, 2), draw(4, 2))


def test_a_share_of_variance_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="`variance`"):
        align_canonical(draw(5, 2), draw(5, 2), variance=1.5)


def test_later_checkpoints_match_by_place() -> None:
    net = flipflop("tanh")
    later = flipflop("tanh")
    with torch.no_grad():
        for weights in later.parameters():
            weights.mul_(1.01)
    points = [flipflop_fixed_points(each)[1] for each in (net, later)]
    found = match_points(*points, matcher=Nearest(radius=0.5))
    assert len(found) == 27
    signs = [
        read(n)(p.states).detach() for n, p in zip((net, later), points, strict=True)
    ]
    assert (signs[0] - signs[1][found.partners]).abs().max() < 0.3
