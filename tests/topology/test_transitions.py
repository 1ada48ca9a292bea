"""Where inputs lead, against systems whose basins and borders are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import (
    FlipFlopNet,
    flipflop_fixed_points,
    load_flipflop,
)

DATA = Path(__file__).parents[1] / "data"
SWITCH = 0.9575040240772687  # the positive solution of h = tanh(2 h)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def scalar(step: Callable[[Tensor, Tensor], Tensor]) -> cd.FunctionAdapter:
    return cd.FunctionAdapter(step, 1, 1)


def bistable() -> cd.FunctionAdapter:
    """T1 with an input: h' = tanh(2 h + x)."""
    return scalar(lambda h, x: torch.tanh(2 * h + x))


def linear_at(
    dynamics: cd.DynamicsMap, starts: list[float], rest: float = 0.0
) -> cd.Linearization:
    states = torch.tensor(starts, dtype=torch.float64)[:, None]
    points = cd.find_fixed_points(dynamics, states, one(rest))
    return cd.linearize(dynamics, points)


def pulses(bits: int = 3) -> dict[str, Tensor]:
    """+1 and -1 on each channel alone."""
    return {
        f"{'+' if sign > 0 else '-'}{bit}": sign * torch.eye(bits)[bit]
        for bit in range(bits)
        for sign in (1, -1)
    }


def flipflop(cell: str) -> tuple[FlipFlopNet, cd.DynamicsMap, cd.Linearization]:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    return net, dynamics, cd.linearize(dynamics, points)


def bits_of(net: FlipFlopNet) -> Callable[[Tensor], Tensor]:
    units = net.rnn.hidden_size
    return lambda states: net.readout(states[:, :units].float()) > 0


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_a_flipflop_makes_all_48_transitions_right(cell: str) -> None:
    net, dynamics, linear = flipflop(cell)
    found = cd.find_transitions(dynamics, linear, pulses())
    bits = bits_of(net)(linear.points.states)
    right = changing = 0
    for row, node in enumerate(found.attractors):
        for column, pulse in enumerate(pulses().values()):
            wanted = torch.where(pulse != 0, pulse > 0, bits[node])
            right += torch.equal(bits[found.table[row, column]], wanted)
            changes = not torch.equal(wanted, bits[node])
            changing += changes
            threshold = float(found.thresholds[row, column])
            assert 0 < threshold < 1 if changes else math.isnan(threshold)
    assert (right, changing) == (48, 24)
    assert all(data["verified"] for *_, data in found.graph.edges(data=True))


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh"])
def test_just_below_its_threshold_a_pulse_is_forgotten_in_the_layer_itself(
    cell: str,
) -> None:
    net, dynamics, linear = flipflop(cell)
    found = cd.find_transitions(dynamics, linear, pulses())
    layer = net.rnn.double()
    units = layer.hidden_size
    row, column = torch.nonzero(~found.thresholds.isnan())[3].tolist()
    source = linear.points.states[found.attractors[row]]
    target = linear.points.states[found.table[row, column]]
    pulse = list(pulses().values())[column].double()
    for strength, end in ((0.999, source), (1.001, target)):
        inputs = torch.zeros(1, 600, 3, dtype=torch.float64)
        inputs[0, 0] = strength * found.thresholds[row, column] * pulse
        start: Tensor | tuple[Tensor, Tensor] = source[None, None, :units]
        if cell == "lstm":
            start = (source[None, None, :units], source[None, None, units:])
        with torch.no_grad():
            last = layer(inputs, start)[0][0, -1]
        assert torch.allclose(last, end[:units], atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh"])
def test_the_machine_of_a_flipflop_has_a_state_for_every_memory(cell: str) -> None:
    net, dynamics, linear = flipflop(cell)
    found = cd.find_transitions(dynamics, linear, pulses())
    machine = found.automaton(bits_of(net))
    assert sorted(machine.outputs) == [f"{number:03b}" for number in range(8)]
    start = machine.outputs.index("000")
    word = ["+0", "+2", "+2", "-0", "+1", "-2"]
    said = ["000", "100", "101", "101", "001", "011", "010"]
    assert machine.run(start, word) == said
    one_bit = found.automaton(lambda states: bits_of(net)(states)[:, 1])
    assert sorted(one_bit.outputs) == ["0", "1"]
    assert [len(group) for group in one_bit.members] == [4, 4]


def test_threshold_of_the_bistable_switch_is_what_algebra_says() -> None:
    linear = linear_at(bistable(), [-1.0, 0.01, 1.0])
    down = {"strong": one(-3.0), "weak": one(-1.5), "up": one(3.0)}
    found = cd.find_transitions(bistable(), linear, down, tolerance=1e-9)
    assert found.attractors == [0, 2]
    assert found.table.tolist() == [[0, 0, 2], [0, 2, 2]]
    # tanh(2 h + a x) crosses the saddle at 0 where 2 h + a x = 0.
    wanted = 2 * SWITCH / 3
    assert float(found.thresholds[1, 0]) == pytest.approx(wanted, abs=2e-9)
    assert float(found.thresholds[0, 2]) == pytest.approx(wanted, abs=2e-9)
    assert float(found.margins[1, 0]) == pytest.approx(1 - wanted, abs=2e-9)
    assert int(found.thresholds.isnan().sum()) == 4


def test_the_returned_threshold_does_switch() -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    found = cd.find_transitions(bistable(), linear, {"x": one(-3.0)}, tolerance=1e-3)
    threshold = float(found.thresholds[1, 0])
    assert 2 * SWITCH / 3 <= threshold <= 2 * SWITCH / 3 + 1e-3


def test_amplitudes_run_from_the_input_at_rest() -> None:
    rest, full = 0.1, -4.0
    linear = linear_at(bistable(), [-1.0, -0.1, 1.0], rest)
    found = cd.find_transitions(bistable(), linear, {"x": one(full)}, tolerance=1e-9)
    saddle, high = linear.points.states[1:].flatten().tolist()
    # 2 high + x = atanh(saddle) = 2 saddle + rest, with x = rest + a (full - rest).
    wanted = 2 * (saddle - high) / (full - rest)
    assert found.table.tolist() == [[0], [0]]
    assert float(found.thresholds[1, 0]) == pytest.approx(wanted, abs=2e-9)


def test_a_symbol_may_be_a_sequence_of_inputs() -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    weak = -1.5
    symbols = {"once": one(weak), "twice": torch.full((2, 1), weak)}
    found = cd.find_transitions(bistable(), linear, symbols, tolerance=1e-9)

    def after_two(a: float) -> float:
        return 2 * math.tanh(2 * SWITCH + a * weak) + a * weak

    assert found.table[1].tolist() == [1, 0]
    wanted = brentq(after_two, 0, 1, xtol=1e-12)
    assert float(found.thresholds[1, 1]) == pytest.approx(wanted, abs=2e-9)
    assert math.isnan(found.thresholds[1, 0])


def test_short_sequences_are_not_changed_by_longer_ones() -> None:
    linear = linear_at(bistable(), [-1.0, 1.0], 0.1)
    both = {"x": one(-3.0), "long": torch.full((40, 1), -1.5)}
    alone = cd.find_transitions(bistable(), linear, {"x": one(-3.0)})
    found = cd.find_transitions(bistable(), linear, both)
    assert torch.equal(found.table[:, :1], alone.table)
    assert torch.allclose(
        found.thresholds[:, :1], alone.thresholds, atol=1e-6, equal_nan=True
    )
    # The end is looked at every 16 steps, and 39 of them are behind already.
    gaps = found.steps[:, 0] - alone.steps[:, 0]
    assert bool(((gaps >= 0) & (gaps <= 39)).all())


def test_a_weaker_input_may_do_what_the_full_one_does_not() -> None:
    dynamics = scalar(lambda h, x: torch.tanh(2 * h - 8 * x * (1 - x)))
    linear = linear_at(dynamics, [-1.0, 1.0])
    found = cd.find_transitions(dynamics, linear, {"x": one(1.0)}, tolerance=1e-9)
    assert found.table.tolist() == [[0], [1]]
    # 8 a (1 - a) = 2 h has its first root below a half.
    wanted = (1 - math.sqrt(1 - SWITCH)) / 2
    assert float(found.thresholds[1, 0]) == pytest.approx(wanted, abs=2e-9)
    assert not found.graph.edges[1, 1, 0]["switches"]
    full = cd.find_transitions(dynamics, linear, {"x": one(1.0)}, amplitudes=1)
    assert bool(full.thresholds.isnan().all())


def test_a_scan_of_the_full_input_alone_finds_the_threshold_of_what_switches() -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    symbols = {"strong": one(-3.0), "weak": one(-1.5)}
    found = cd.find_transitions(
        bistable(), linear, symbols, amplitudes=1, tolerance=1e-9
    )
    assert float(found.thresholds[1, 0]) == pytest.approx(2 * SWITCH / 3, abs=2e-9)
    assert int(found.thresholds.isnan().sum()) == 3


def to_and_fro(h: Tensor, x: Tensor) -> Tensor:
    """0 attracts, and so does the cycle 1 -> -1 -> 1 (multiplier 1/4)."""
    return -h * (0.5 + 1.25 * h**2 - 0.75 * h**4) + x


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda h, x: 0.5 * h + h**3 + 2 * x, "runs off"),
        (to_and_fro, "still moves"),
        (lambda h, x: torch.tanh(2 * h + 3 * x - 1e-3), "at rest"),
    ],
)
def test_ends_at_no_known_attractor_are_nodes_with_a_reason(
    step: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    dynamics = scalar(step)
    start = -1.0 if reason == "at rest" else 0.0
    linear = linear_at(dynamics, [start])
    symbols = {"kick": one(1.0), "none": one(0.0), "again": one(1.0)}
    found = cd.find_transitions(dynamics, linear, symbols, max_steps=200)
    assert found.table.tolist() == [[1, 0, 1]]
    node = found.graph.nodes[1]
    assert (node["kind"], node["reason"]) == ("unresolved", reason)
    edge = found.graph.edges[0, 1, 0]
    assert edge["switches"]
    assert not edge["verified"]
    assert 0 < edge["threshold"] <= 1
    assert reason in found.summary()
    machine = found.automaton(lambda states: states[:, 0] > 0)
    assert machine.outputs == ("0", "unresolved")
    assert machine.run(0, ["none", "kick", "none"])[-2:] == ["unresolved"] * 2


def test_every_attribute_is_a_plain_scalar() -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    graph = cd.find_transitions(bistable(), linear, {"x": one(3.0)}).graph
    values = [v for _, data in graph.nodes(data=True) for v in data.values()]
    values += [v for *_, data in graph.edges(data=True) for v in data.values()]
    assert {type(value) for value in values} <= {str, int, float, bool}
    assert set(graph.edges[0, 1, 0]) >= {
        "symbol",
        "steps",
        "verified",
        "threshold",
        "margin",
        "distance",
    }


def test_without_an_attractor_the_graph_is_empty() -> None:
    linear = linear_at(bistable(), [0.001])
    assert int(linear.unstable_dims) == 1
    found = cd.find_transitions(bistable(), linear, {"x": one(3.0)})
    assert found.table.shape == (0, 1)
    assert "attractors: 0" in found.summary()
    assert len(found.automaton(lambda states: states[:, 0] > 0)) == 0


def test_pairs_in_several_chunks_give_the_same_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, dynamics, linear = flipflop("gru")
    whole = cd.find_transitions(dynamics, linear, pulses())
    cut = [slice(start, min(start + 7, 48)) for start in range(0, 48, 7)]
    monkeypatch.setattr(
        "captum_dynamics.topology.transitions.row_chunks", lambda *_: iter(cut)
    )
    parts = cd.find_transitions(dynamics, linear, pulses())
    assert torch.equal(parts.table, whole.table)
    assert torch.allclose(parts.thresholds, whole.thresholds, atol=2e-6, equal_nan=True)


def test_fixed_points_under_each_symbol_come_from_one_survey() -> None:
    symbols = {"none": one(0.0), "up": one(1.0)}
    survey = cd.survey_fixed_points(
        bistable(),
        torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None],
        torch.stack(list(symbols.values())),
        generator=torch.Generator().manual_seed(0),
    )
    # tanh(2 h + x) folds at x = +-(2 sqrt(1/2) - atanh(sqrt(1/2))) = +-0.533.
    assert [len(survey.at(row)) for row in range(2)] == [3, 1]


def test_the_callers_symbols_and_model_are_left_as_they_were() -> None:
    net, dynamics, linear = flipflop("gru")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pulse = torch.ones(3, requires_grad=True)
    found = cd.find_transitions(dynamics, linear, {"x": pulse})
    assert torch.equal(pulse, torch.ones(3))
    assert pulse.grad is None
    found.automaton(lambda states: states.zero_()[:, 0] > 0)
    assert bool((linear.points.states != 0).any())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(
    ("symbols", "error", "match"),
    [
        ({}, TypeError, "`symbols`"),
        ({"x": torch.zeros(2)}, ValueError, r"`symbols\['x'\]`"),
        ({"x": torch.zeros(0, 1)}, ValueError, r"`symbols\['x'\]`.*one row"),
        ({"x": torch.zeros(1, 1, 1)}, ValueError, r"`symbols\['x'\]`"),
        ({"x": torch.tensor([1])}, TypeError, r"`symbols\['x'\]`.*floating"),
        ({"x": torch.tensor([math.nan])}, ValueError, r"`symbols\['x'\]`.*finite"),
    ],
)
def test_symbols_that_do_not_fit_are_refused(
    symbols: dict[str, Tensor], error: type[Exception], match: str
) -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    with pytest.raises(error, match=match):
        cd.find_transitions(bistable(), linear, symbols)


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("symbols", "match"),
    [
        (torch.zeros(1, 1), "`symbols`.*Tensor"),
        ({1: torch.zeros(1)}, "`symbols`.*int"),
        ({"x": [1.0]}, r"`symbols\['x'\]`.*list"),
    ],
)
def test_symbols_of_another_type_are_refused(symbols: object, match: str) -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    with pytest.raises(TypeError, match=match):
        cd.find_transitions(bistable(), linear, symbols)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"amplitudes": 0}, "`amplitudes`"),
        ({"tolerance": 0.0}, "`tolerance`"),
        ({"max_steps": 0}, "`max_steps`"),
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, float], match: str) -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    with pytest.raises(ValueError, match=match):
        cd.find_transitions(
            bistable(),
            linear,
            {"x": one(1.0)},
            **bad,  # type: ignore[arg-type]
        )


def test_points_of_several_inputs_are_refused() -> None:
    states = torch.ones(2, 1, dtype=torch.float64)
    inputs = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
    points = cd.find_fixed_points(bistable(), states, inputs)
    with pytest.raises(ValueError, match=r"`linearization`.*one constant input"):
        cd.find_transitions(
            bistable(), cd.linearize(bistable(), points), {"x": one(1.0)}
        )


@pytest.mark.parametrize(
    ("readout", "error"),
    [
        (lambda states: states[:, 0], TypeError),
        (lambda states: states[:1, 0] > 0, ValueError),
        (lambda states: (states > 0)[None], ValueError),
        (lambda states: "no", TypeError),
    ],
)
def test_a_readout_that_does_not_decode_is_refused(
    readout: Callable[[Tensor], Tensor], error: type[Exception]
) -> None:
    linear = linear_at(bistable(), [-1.0, 1.0])
    found = cd.find_transitions(bistable(), linear, {"x": one(1.0)})
    with pytest.raises(error, match="`readout`"):
        found.automaton(readout)
