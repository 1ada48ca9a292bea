"""measure_modifiers: against the layer itself, algebra, and a language it must read."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import measure_modifiers


def random_gru() -> nn.GRU:
    torch.manual_seed(4)
    gru = nn.GRU(3, 6, batch_first=True).double()
    for parameter in gru.parameters():
        nn.init.normal_(parameter, std=0.6)
    return gru


def rest_of(gru: nn.GRU, rows: int = 3) -> tuple[cd.DynamicsMap, cd.Linearization]:
    """Points that need not be fixed: formulas hold at any state."""
    dynamics = cd.adapt(gru)
    places = torch.linspace(-1, 1, rows * 6).view(rows, 6).double()
    once = cd.solvers.Iteration(max_steps=1)
    inputs = torch.tensor([[0.3, -0.2, 0.1]]).double()
    points = cd.find_slow_points(dynamics, places, inputs, solver=once)
    return dynamics, cd.linearize(dynamics, points)


READOUT = torch.tensor([1.0, -0.5, 0.2, 0.0, 2.0, 0.7]).double()
WORDS = torch.tensor([[1.0, 2.0, -1.0], [-0.5, 0.0, 2.0]]).double()
MODIFIERS = torch.tensor([[2.0, 0.0, 0.0], [0.0, -3.0, 1.0]]).double()


def test_effects_are_what_the_layer_itself_adds_after_the_modifier() -> None:
    gru = random_gru()
    dynamics, linear = rest_of(gru)
    found = measure_modifiers(dynamics, linear, READOUT, MODIFIERS, WORDS, steps=4)
    for point in range(3):
        start = linear.points.states[point][None, None]
        star = linear.points.inputs[point]

        def output(*reads: Tensor, start: Tensor = start) -> Tensor:
            return gru(torch.stack(reads)[None], start)[0][0, -1] @ READOUT

        for column, word in enumerate(WORDS):
            plain = output(word) - output(star)
            torch.testing.assert_close(
                found.plain_effects[point, column], plain.detach()
            )
            for row, modifier in enumerate(MODIFIERS):
                for lag in range(4):
                    before = (modifier, *[star] * lag)
                    added = output(*before, word) - output(*before, star)
                    torch.testing.assert_close(
                        found.effects[point, row, column, lag], added.detach()
                    )


def test_slopes_are_derivatives_of_the_layer_itself_along_the_word() -> None:
    gru, small = random_gru(), 1e-6
    dynamics, linear = rest_of(gru)
    found = measure_modifiers(dynamics, linear, READOUT, MODIFIERS, WORDS, steps=3)
    for point in range(3):
        start = linear.points.states[point][None, None]
        star = linear.points.inputs[point]
        for row, modifier in enumerate(MODIFIERS):
            for lag in range(3):
                reads = torch.stack([modifier, *[star] * lag, star])[None]
                for column, word in enumerate(WORDS):
                    ends = []
                    for side in (small, -small):
                        moved = reads.clone()
                        moved[0, -1] += side * (word - star)
                        ends.append(gru(moved, start)[0][0, -1].detach() @ READOUT)
                    slope = (ends[0] - ends[1]) / (2 * small)
                    slopes = found.slopes[point, row, column]
                    assert float(slopes[lag]) == pytest.approx(float(slope), abs=1e-8)
    strengths = found.slopes[..., 0] - found.plain_slopes[:, None]
    torch.testing.assert_close(found.strengths, strengths)


def test_all_parts_together_are_the_deflection() -> None:
    dynamics, linear = rest_of(random_gru())
    most = linear.subspaces.most
    found = measure_modifiers(
        dynamics, linear, READOUT, MODIFIERS, WORDS, removals=most + 5
    )
    assert found.ranking.shape == (3, 2, most)
    torch.testing.assert_close(found.without[..., 0], found.effects[..., 0])
    torch.testing.assert_close(found.only[..., -1], found.effects[..., 0])
    plain = found.plain_effects[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(found.without[..., -1], plain)
    torch.testing.assert_close(found.only[..., 0], plain)
    for row in found.ranking.flatten(0, 1).tolist():
        assert sorted(row) == list(range(most))


def test_two_removals_are_the_best_of_all_pairs() -> None:
    dynamics, linear = rest_of(random_gru())
    found = measure_modifiers(dynamics, linear, READOUT, MODIFIERS, WORDS)
    for point, star in enumerate(linear.points.inputs):
        state = linear.points.states[point : point + 1]
        parts = [
            linear.subspaces.projector(point, subspace)
            for subspace in range(int(linear.subspaces.counts[point]))
        ]
        for row, modifier in enumerate(MODIFIERS):
            after, shares = dynamics.step(state, modifier[None]), {}
            without, plain = found.without[point, row], found.plain_effects[point]
            for one, other in itertools.combinations(range(len(parts)), 2):
                at = after - (after - state) @ (parts[one] + parts[other]).mT
                rest = dynamics.step(at, star[None])
                moved = [dynamics.step(at, word[None]) - rest for word in WORDS]
                misses = (torch.cat(moved) @ READOUT - plain).abs()
                shares[one, other] = float(
                    (misses / (without[:, 0] - plain).abs()).max()
                )
            assert tuple(sorted(found.ranking[point, row].tolist())) == min(
                shares, key=shares.__getitem__
            )
            left = float(found.left[point, row, 2])
            assert left == pytest.approx(min(shares.values()))


def test_the_first_removal_is_the_best_of_all_single_ones() -> None:
    dynamics, linear = rest_of(random_gru())
    found = measure_modifiers(dynamics, linear, READOUT, MODIFIERS, WORDS, removals=1)
    for point, star in enumerate(linear.points.inputs):
        state = linear.points.states[point : point + 1]
        for row, modifier in enumerate(MODIFIERS):
            after = dynamics.step(state, modifier[None])
            added = []
            for subspace in range(int(linear.subspaces.counts[point])):
                projector = linear.subspaces.projector(point, subspace)
                part = (after - state) @ projector.mT
                size = float(found.parts[point, row, subspace])
                assert size == pytest.approx(float(part.norm()))
                first, second, rest = (
                    dynamics.step(after - part, x[None])[0] @ READOUT
                    for x in (*WORDS, star)
                )
                added.append(torch.stack([first - rest, second - rest]))
            without, plain = found.without[point, row], found.plain_effects[point]
            shares = (torch.stack(added) - plain).abs() / (without[:, 0] - plain).abs()
            best = int(found.ranking[point, row, 0])
            assert best == int(shares.amax(1).argmin())
            torch.testing.assert_close(without[:, 1], added[best])
            left = found.left[point, row]
            torch.testing.assert_close(left[0], torch.ones(()).double())
            torch.testing.assert_close(left[1], shares[best].max())


def counting(h: Tensor, x: Tensor) -> Tensor:
    """A sum h_0, of words that count 1 + h_1; h_1 is fed by h_2: a defective memory."""
    return torch.stack(
        [h[:, 0] + (1 + h[:, 1]) * x[:, 0], h[:, 2] + x[:, 1], x[:, 1]], 1
    )


def test_a_memory_without_eigenvectors_is_one_group_and_carries_the_effect() -> None:
    dynamics = cd.FunctionAdapter(counting, 3, 2)
    points = cd.find_fixed_points(
        dynamics, torch.zeros(1, 3).double(), torch.zeros(1, 2)
    )
    linear = cd.linearize(dynamics, points)
    assert linear.subspaces.dimensions.tolist() == [[1, 2]]
    readout, words = torch.tensor([1.0, 0, 0]), torch.tensor([[1.0, 0]])
    negation = torch.tensor([[0, -2.0], [0, 1.0]])
    found = measure_modifiers(dynamics, linear, readout, negation, words, steps=4)
    assert found.slopes[0, :, 0].tolist() == [[-1, -1, 1, 1], [2, 2, 1, 1]]
    assert found.strengths[0, :, 0].tolist() == [-2, 1]
    assert found.gone_after()[0, :, 0].tolist() == [2, 2]
    assert found.ranking[0, :, 0].tolist() == [1, 1]
    torch.testing.assert_close(found.without[0, :, 0, 1], torch.ones(2).double())
    with pytest.raises(ValueError, match="`share`"):
        found.gone_after(share=0.0)


@pytest.mark.parametrize(
    ("named", "match"),
    [
        ({"readout": torch.zeros(5)}, "`readout` to have shape"),
        pytest.param(
            {"words": torch.zeros(2, 2)},
            "`words` to have shape",
            marks=pytest.mark.misuse,
        ),
        ({"words": torch.zeros(0, 3)}, "`words` to have at least one"),
        pytest.param(
            {"modifiers": torch.zeros(2, 4)},
            "`modifiers` to have shape",
            marks=pytest.mark.misuse,
        ),
        ({"modifiers": torch.zeros(0, 3)}, "`modifiers` to have at least one"),
        ({"words": torch.tensor([[0, 1, torch.nan]])}, "`words` to be finite"),
        ({"steps": 0}, "`steps`"),
        ({"removals": 0}, "`removals`"),
    ],
    ids=[
        "readout",
        "words",
        "wordless",
        "modifiers",
        "none",
        "finite",
        "steps",
        "removals",
    ],
)
def test_misuse_is_refused_in_one_sentence(named: dict[str, Any], match: str) -> None:
    dynamics, linear = rest_of(random_gru())
    given = {"readout": READOUT, "modifiers": MODIFIERS, "words": WORDS, **named}
    with pytest.raises(ValueError, match=match):
        measure_modifiers(dynamics, linear, **given)
