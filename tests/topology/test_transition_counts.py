"""Counted transitions, against runs whose basins are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import (
    flipflop_fixed_points,
    load_flipflop,
    sample_flipflop,
)

DATA = Path(__file__).parents[1] / "data"
NAMES = ("+0", "+1", "+2", "-0", "-1", "-2")


def bistable() -> nn.RNN:
    """T1 with an input, as a layer: h' = tanh(2 h + x)."""
    layer = nn.RNN(1, 1, bias=False, batch_first=True)
    nn.init.constant_(layer.weight_hh_l0, 2.0)
    nn.init.constant_(layer.weight_ih_l0, 1.0)
    return layer


def known(layer: nn.RNN) -> tuple[cd.DynamicsMap, cd.Linearization]:
    dynamics = cd.adapt(layer)
    starts = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 1))
    return dynamics, cd.linearize(dynamics, points)


def lone_pulses(inputs: Tensor) -> Tensor:
    """Id (n, t) of the one channel and sign that pulses; -1 for none or several."""
    kinds = torch.cat([inputs > 0, inputs < 0], dim=2)
    return torch.where(kinds.sum(2) == 1, kinds.to(torch.uint8).argmax(2), -1)


def test_moves_of_a_bistable_switch_are_counted_by_token() -> None:
    layer = bistable()
    # From 0, on the border: up, up, nothing, down; then three steps of padding.
    tokens = torch.tensor([[0, 0, -1, 1, 0, 0, 0]])
    strengths = torch.tensor([3.0, -3.0, 0.0])
    runs = cd.record(layer, None, strengths[tokens][..., None], lengths=[4])
    counts = cd.count_transitions(
        *known(layer), runs, tokens=tokens, symbols=["up", "down"]
    )
    assert counts.total == 4
    assert counts.matrix("up").tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert counts.matrix("down").tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert counts.matrix().tolist() == [[0, 0, 0], [1, 2, 0], [0, 1, 0]]
    shares = counts.probabilities()
    assert shares[1].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert bool(shares[0].isnan().all())
    assert "2 stayed, 1 moved, 1 began" in counts.summary()


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh"])
def test_steps_of_a_flipflop_go_where_the_table_says(cell: str) -> None:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    linear = cd.linearize(dynamics, points)
    symbols = {
        name: (1.0 if name[0] == "+" else -1.0) * torch.eye(3)[int(name[1])]
        for name in NAMES
    }
    found = cd.find_transitions(dynamics, linear, symbols)
    generator = torch.Generator().manual_seed(1)
    data = sample_flipflop(32, 64, generator=generator)
    runs = cd.record(net, "rnn", data.inputs)
    tokens = lone_pulses(data.inputs)
    counts = cd.count_transitions(dynamics, linear, runs, tokens=tokens, symbols=NAMES)
    agreed, seen = counts.agreement(found)
    assert counts.total == 32 * 64
    assert seen == int((tokens >= 0).sum())
    assert agreed == seen
    # The task itself: memory before and after each step, from its targets alone.
    memory = (data.targets > 0).long() @ torch.tensor([4, 2, 1])
    pairs = memory[:, :-1] * 8 + memory[:, 1:]
    wanted = torch.bincount(pairs.flatten(), minlength=64).reshape(8, 8)
    with torch.no_grad():
        read = net.readout(points.states[list(counts.attractors), :16].float()) > 0
    order = read.long() @ torch.tensor([4, 2, 1])
    later = replace(
        runs,
        initial_states=runs.states[:, 0],
        states=runs.states[:, 1:],
        inputs=runs.inputs[:, 1:],
        lengths=runs.lengths - 1,
    )
    matrix = cd.count_transitions(dynamics, linear, later).matrix()
    assert torch.equal(matrix[:-1, :-1], wanted[order][:, order])
    assert int(matrix.sum()) == int(wanted.sum())


def test_agreement_counts_only_symbols_of_the_graph() -> None:
    layer = bistable()
    dynamics, linear = known(layer)
    tokens = torch.tensor([[0, 1, 0, 1, 2]])
    inputs = torch.tensor([3.0, -3.0, 0.0])[tokens][..., None]
    runs = cd.record(layer, None, inputs)
    counts = cd.count_transitions(
        dynamics, linear, runs, tokens=tokens, symbols=["up", "down", "none"]
    )
    right = cd.find_transitions(dynamics, linear, {"up": torch.tensor([3.0])})
    wrong = cd.find_transitions(dynamics, linear, {"down": torch.tensor([3.0])})
    assert counts.agreement(right) == (1, 1)
    assert counts.agreement(wrong) == (0, 2)


def test_agreement_with_another_set_of_attractors_is_refused() -> None:
    layer = bistable()
    dynamics, linear = known(layer)
    runs = cd.record(layer, None, torch.ones(1, 3, 1))
    counts = cd.count_transitions(dynamics, linear, runs)
    fewer = cd.linearize(dynamics, linear.points[:1])
    found = cd.find_transitions(dynamics, fewer, {"up": torch.tensor([-3.0])})
    with pytest.raises(ValueError, match="`transitions`"):
        counts.agreement(found)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tokens": torch.zeros(1, 2, dtype=torch.long)}, "`tokens`"),
        ({"tokens": torch.full((1, 3), -2)}, "`tokens` from -1"),
        (
            {"tokens": torch.full((1, 3), 2), "symbols": ["up", "down"]},
            "`tokens` from -1 to 1",
        ),
        ({"symbols": ["up"]}, "`tokens`"),
        ({"max_steps": 0}, "`max_steps`"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(
    options: dict[str, object], match: str
) -> None:
    layer = bistable()
    runs = cd.record(layer, None, torch.ones(1, 3, 1))
    with pytest.raises(ValueError, match=match):
        cd.count_transitions(*known(layer), runs, **options)  # type: ignore[arg-type]


def test_an_unknown_symbol_has_no_matrix() -> None:
    layer = bistable()
    runs = cd.record(layer, None, torch.ones(1, 3, 1))
    counts = cd.count_transitions(*known(layer), runs)
    with pytest.raises(ValueError, match=r"`symbol`.*'up'"):
        counts.matrix("up")
