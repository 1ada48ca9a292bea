"""Branches lead from the points of one input to those of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import load_flipflop

DATA = Path(__file__).parents[1] / "data"
NONE = torch.zeros(1, 0)
LOW, HIGH = torch.tensor([-1.0]), torch.tensor([1.0])


def switch() -> cd.FunctionAdapter:
    return cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)


def hysteresis() -> cd.Branches:
    points = cd.find_fixed_points(switch(), -torch.ones(1, 1), LOW)
    return cd.continue_points(switch(), points, LOW, HIGH)


def test_a_bistable_switch_traces_its_hysteresis_loop() -> None:
    (branch,) = hysteresis()
    assert branch.end == cd.BranchEnd.REACHED
    fold = (1 + 2 * math.sqrt(0.5) - math.atanh(math.sqrt(0.5))) / 2
    places = [event.parameter for event in branch.events]
    assert places == pytest.approx([fold, 1 - fold], abs=1e-8)
    first, second = (event.row for event in branch.events)
    unstable = branch.unstable_dims.tolist()
    assert set(unstable[: first + 1]) == {0}
    assert set(unstable[first + 1 : second + 1]) == {1}
    assert set(unstable[second + 1 :]) == {0}
    h, x = branch.states[:, 0], 2 * branch.parameters - 1
    assert (torch.tanh(2 * h + x) - h).abs().max() < 1e-12
    assert branch.residual_norms.max() < 1e-12
    slopes = 2 * (1 - h**2)
    assert (branch.multipliers[:, 0].real - slopes).abs().max() < 1e-9
    assert branch.states.dtype == torch.float64


def test_points_are_matched_by_their_curve_not_by_what_is_nearest() -> None:
    # Two attractors that change places by half a turn about the origin.
    def family(angle: float) -> cd.FunctionAdapter:
        axis = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        return cd.FunctionAdapter(
            lambda h, x: torch.tanh(2 * (h @ axis))[:, None] * axis, 2, 0
        )

    starts = torch.tensor([[-1.0, 0.1], [1.0, 0.1]], dtype=torch.float64)
    points = cd.find_fixed_points(family(0.0), starts, NONE).unique()
    branches = cd.continue_parameter(family, points, 0.0, math.pi)
    for branch in branches:
        assert branch.end == cd.BranchEnd.REACHED
        assert torch.allclose(branch.states[-1], -branch.states[0], atol=1e-10)
        assert float(branch.parameters[-1]) == math.pi


def gru_points(x: Tensor, count: int = 1000) -> tuple[cd.DynamicsMap, cd.FixedPoints]:
    net = load_flipflop(DATA / "flipflop_gru.safetensors")
    dynamics = cd.adapt(net, "rnn")
    generator = torch.Generator().manual_seed(0)
    starts = 2 * torch.rand(count, dynamics.state_dim, generator=generator) - 1
    points = cd.find_fixed_points(dynamics, starts, x).unique()
    return dynamics, points[points.kind == cd.Kind.FIXED]


def test_branches_of_a_gru_end_at_the_points_that_a_search_finds() -> None:
    rest, pulse = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
    dynamics, points = gru_points(rest)
    _, targets = gru_points(pulse)
    assert (len(points), len(targets)) == (27, 3)
    branches = cd.continue_points(dynamics, points, rest, pulse, max_step=0.1)
    reached = [row for row in branches if row.end == cd.BranchEnd.REACHED]
    ends = torch.stack([branch.states[-1] for branch in reached])
    assert len(ends) == len(targets)
    distances = torch.cdist(ends, targets.states)
    assert distances.amin(0).max() < 1e-9
    assert distances.amin(1).max() < 1e-9
    assert sum(branches.repeated) == 12
    # All others meet in pairs: the way back from the partner is the same curve.
    graph = branches.graph
    partner = {p: q for p, q in graph.edges() if q < len(points)}
    assert len(partner) == 24
    assert all(partner[partner[p]] == p != partner[p] for p in partner)
    for p, q in partner.items():
        (there,), (back,) = branches[p].events, branches[q].events
        assert there.kind == cd.EventKind.FOLD
        assert there.parameter == pytest.approx(back.parameter, abs=1e-10)
        end = branches[p].states[-1]
        assert (end - points.states[q]).norm() < 1e-9


def test_attractors_of_a_relu_net_stay_or_meet_saddles_at_kinks() -> None:
    net = load_flipflop(DATA / "flipflop_relu.safetensors")
    dynamics = cd.adapt(net, "rnn")
    rest, pulse = torch.zeros(3), torch.tensor([1.0, 0.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    starts = 3 * (2 * torch.rand(1000, 16, generator=generator) - 1)

    def attractors(x: Tensor) -> cd.FixedPoints:
        points = cd.find_fixed_points(dynamics, starts, x).unique()
        points = points[points.kind == cd.Kind.FIXED]
        return points[cd.linearize(dynamics, points).unstable_dims == 0]

    branches = cd.continue_points(dynamics, attractors(rest), rest, pulse)
    assert len(branches) == 8
    reached = [row for row in branches if row.end == cd.BranchEnd.REACHED]
    ends = torch.stack([branch.states[-1] for branch in reached])
    distances = torch.cdist(ends, attractors(pulse).states)
    assert distances.shape == (5, 5)
    assert distances.amin(0).max() < 1e-9
    for branch in branches:
        kinds = [event.kind for event in branch.events]
        if branch.end == cd.BranchEnd.REACHED:
            assert kinds == []
        else:
            assert kinds == [cd.EventKind.CORNER_FOLD]
            assert branch.end == cd.BranchEnd.RETURNED
            assert int(branch.unstable_dims[-1]) == 1


def affine(slope: float) -> cd.FunctionAdapter:
    return cd.FunctionAdapter(lambda h, x: slope * h + 1, 1, 0)


def test_a_branch_that_leaves_all_bounds_says_so() -> None:
    points = cd.find_fixed_points(affine(0.0), torch.ones(1, 1), NONE)
    (branch,) = cd.continue_parameter(affine, points, 0.0, 2.0)
    assert branch.end == cd.BranchEnd.DIVERGED
    assert torch.isfinite(branch.states).all()
    assert float(branch.parameters[-1]) == pytest.approx(1, abs=1e-3)
    assert (branch.states[:, 0] * (1 - branch.parameters) - 1).abs().max() < 1e-9
    assert "leaves all bounds" in branch.summary()


def test_a_map_that_stops_being_finite_loses_the_branch() -> None:
    def family(p: float) -> cd.FunctionAdapter:
        rise = 1.0 if p < 0.5 else math.nan
        return cd.FunctionAdapter(lambda h, x: 0.5 * h + rise, 1, 0)

    points = cd.find_fixed_points(family(0.0), torch.ones(1, 1), NONE)
    (branch,) = cd.continue_parameter(family, points, 0.0, 0.9)
    assert branch.end == cd.BranchEnd.STEP_UNDERFLOW
    assert float(branch.parameters[-1]) == pytest.approx(0.5, abs=1e-4)
    assert torch.isfinite(branch.states).all()
    assert "no step is small enough" in branch.summary()


def test_a_point_of_a_continuum_has_no_branch() -> None:
    def family(pull: float) -> cd.FunctionAdapter:
        return cd.FunctionAdapter(
            lambda h, x: h * (1 + pull * (1 - h.square().sum(1, keepdim=True))), 2, 0
        )

    starts = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    points = cd.find_fixed_points(family(0.5), starts, NONE)
    ring, origin = cd.continue_parameter(family, points, 0.5, 0.9)
    assert (ring.end, len(ring)) == (cd.BranchEnd.STEP_UNDERFLOW, 1)
    assert origin.end == cd.BranchEnd.REACHED


def test_a_closed_curve_is_followed_once_around() -> None:
    # h = 0, and the circle of radius 1/2 about (1, 0), which crosses it twice.
    def family(a: float) -> cd.FunctionAdapter:
        return cd.FunctionAdapter(
            lambda h, x: h + 0.5 * h * (0.25 - (a - 1) ** 2 - h**2), 1, 0
        )

    points = cd.find_fixed_points(family(0.0), torch.zeros(1, 1), NONE)
    branches = cd.continue_parameter(family, points, 0.0, 2.0)
    line, circle = branches
    assert [event.parameter for event in line.events] == pytest.approx([0.5, 1.5])
    assert circle.end == cd.BranchEnd.CLOSED
    assert (circle.parent, branches.untried) == (0, 0)
    away = torch.hypot(circle.states[:, 0], circle.parameters - 1)
    assert (away - 0.5).abs().max() < 1e-7
    assert circle.states.min() < -0.45
    assert circle.states.max() > 0.45
    assert torch.allclose(circle.states[0], circle.states[-1], atol=1e-8)
    assert "closes at the branch point" in circle.summary()
    (crossing,) = nx.selfloop_edges(branches.graph)
    assert branches.graph.nodes[crossing[0]]["kind"] == "branch_point"


def test_a_start_at_a_fold_leads_where_the_branches_lie() -> None:
    h = -math.sqrt(0.5)
    fold = torch.tensor([math.atanh(h) - 2 * h], dtype=torch.float64)
    near = torch.tensor([[h]], dtype=torch.float64)
    points = cd.find_fixed_points(switch(), near, fold)
    (back,) = cd.continue_points(switch(), points, fold, LOW)
    assert (back.end, back.events) == (cd.BranchEnd.REACHED, ())
    (stuck,) = cd.continue_points(switch(), points, fold, HIGH)
    assert (stuck.end, stuck.events) == (cd.BranchEnd.RETURNED, ())
    assert (stuck.states - near).abs().max() < 1e-8


def test_a_budget_of_steps_cuts_a_branch() -> None:
    points = cd.find_fixed_points(switch(), -torch.ones(1, 1), LOW)
    (branch,) = cd.continue_points(switch(), points, LOW, HIGH, max_steps=3)
    assert branch.end == cd.BranchEnd.MAX_STEPS
    assert "the steps were used up" in branch.summary()


def pitchfork(gain: float) -> cd.FunctionAdapter:
    return cd.FunctionAdapter(lambda h, x: torch.tanh(gain * h), 1, 0)


def three_arms() -> cd.Branches:
    points = cd.find_fixed_points(pitchfork(0.5), torch.ones(1, 1), NONE)
    return cd.continue_parameter(pitchfork, points, 0.5, 2.0)


def test_new_branches_may_be_few_or_none() -> None:
    points = cd.find_fixed_points(pitchfork(0.5), torch.ones(1, 1), NONE)
    for most in (0, 1):
        found = cd.continue_parameter(
            pitchfork, points, 0.5, 2.0, max_new_branches=most
        )
        assert (len(found), found.untried) == (1 + most, 1)


def test_the_graph_says_which_point_becomes_which(tmp_path: Path) -> None:
    graph = three_arms().graph
    kinds = nx.get_node_attributes(graph, "kind")
    assert sorted(kinds.values()) == ["branch_point", "end", "end", "end", "start"]
    (crossing,) = [node for node, kind in kinds.items() if kind == "branch_point"]
    first = graph.edges[0, next(iter(graph.successors(0))), 0]
    assert (first["branch"], first["branch_point"], first["end"]) == (0, 1, "reached")
    dims = [graph.nodes[node]["unstable_dim"] for node in graph.successors(crossing)]
    assert dims == [0, 0]
    nx.write_graphml(graph, tmp_path / "branches.graphml")
    again = nx.read_graphml(tmp_path / "branches.graphml")
    assert again.number_of_edges() == 3


def test_a_lost_branch_ends_at_a_node_of_its_own() -> None:
    points = cd.find_fixed_points(affine(0.0), torch.ones(1, 1), NONE)
    graph = cd.continue_parameter(affine, points, 0.0, 2.0).graph
    assert nx.get_node_attributes(graph, "kind") == {0: "start", 1: "lost"}
    assert graph.edges[0, 1, 0]["end"] == "diverged"


def test_the_summary_names_ends_events_and_partners() -> None:
    points = cd.find_fixed_points(
        pitchfork(2.0), torch.tensor([[-1.0], [0.0], [1.0]]), NONE
    )
    text = cd.continue_parameter(pitchfork, points, 2.0, 0.5).summary()
    assert text.splitlines() == [
        "3 branches from 2 to 0.5: 2 returned, 1 reached",
        "  0: point 0: passes branch point at 1; comes back to the start; 0 unstable "
        "(it is one with point 2)",
        "  1: point 1: passes branch point at 1; reaches the end; 1 unstable to 0",
        "  2: point 2: passes branch point at 1; comes back to the start; 0 unstable "
        "(it is one with point 0)",
    ]


def test_the_readout_weighs_states_and_events() -> None:
    branches = hysteresis()
    weights = torch.tensor([-2.0], dtype=torch.float64)
    (heights,) = branches.heights(weights)
    assert torch.equal(heights, -2 * branches[0].states[:, 0])
    (marks,) = branches.event_heights(weights)
    assert marks == pytest.approx([math.sqrt(2), -math.sqrt(2)])
    with pytest.raises(ValueError, match="`readout`"):
        branches.heights(torch.ones(2))


def test_a_map_in_single_precision_is_followed_in_it() -> None:
    weight = torch.tensor(2.0)  # float32, as are the states it takes
    single = cd.Traits(float64=False)
    step = cd.FunctionAdapter(lambda h, x: torch.tanh(weight * h + x), 1, 1)
    narrow = cd.FunctionAdapter(step.step, 1, 1, traits=single)
    points = cd.find_fixed_points(narrow, -torch.ones(1, 1), LOW)
    (branch,) = cd.continue_points(narrow, points, LOW, HIGH, atol=1e-6)
    assert branch.states.dtype == torch.float32
    assert branch.end == cd.BranchEnd.REACHED
    places = [event.parameter for event in branch.events]
    assert places == pytest.approx([0.76642, 0.23358], abs=1e-3)


def test_what_the_caller_gives_stays_as_it_is() -> None:
    layer = torch.nn.GRU(2, 4)
    dynamics = cd.adapt(layer)
    points = cd.find_fixed_points(dynamics, torch.zeros(1, 4), torch.zeros(1, 2))
    before = points.states.clone()
    weights = [parameter.clone() for parameter in layer.parameters()]
    cd.continue_points(dynamics, points, torch.zeros(2), torch.ones(2))
    assert torch.equal(points.states, before)
    pairs = zip(layer.parameters(), weights, strict=True)
    assert all(torch.equal(now, then) and now.requires_grad for now, then in pairs)


Change = Callable[[cd.FixedPoints], object]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda p: cd.continue_points(switch(), p, LOW, LOW), "`end_input` to differ"),
        (lambda p: cd.continue_points(switch(), p, HIGH, LOW), "`points` to be fixed"),
        (
            lambda p: cd.continue_points(switch(), p, LOW, torch.ones(2)),
            "`end_input` to have shape",
        ),
        (
            lambda p: cd.continue_points(switch(), p, LOW, HIGH * math.nan),
            "`end_input` to be finite",
        ),
        (
            lambda p: cd.continue_points(switch(), p[:0], LOW, HIGH),
            "`points` to have at least one row",
        ),
        (
            lambda p: cd.continue_points(switch(), p, LOW, HIGH, max_step=0.0),
            "`max_step` to be positive",
        ),
        (
            lambda p: cd.continue_points(switch(), p, LOW, HIGH, max_new_branches=-1),
            "`max_new_branches`",
        ),
        (
            lambda p: cd.continue_points(pitchfork(1.0), p, NONE[0], NONE[0]),
            "`end_input` to differ",
        ),
        (
            lambda p: cd.continue_parameter(lambda a: switch(), p, 1.0, 1.0),
            "`end` to differ",
        ),
        (
            lambda p: cd.continue_parameter(
                lambda a: switch() if a < 1 else pitchfork(a), p, 0.0, 1.0
            ),
            "`family` to give maps of one shape",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(call: Change, complaint: str) -> None:
    points = cd.find_fixed_points(switch(), -torch.ones(1, 1), LOW)
    with pytest.raises(ValueError, match=complaint):
        call(points)


@pytest.mark.misuse
def test_a_family_of_something_else_is_refused() -> None:
    points = cd.find_fixed_points(switch(), -torch.ones(1, 1), LOW)
    with pytest.raises(TypeError, match="`family` to give a DynamicsMap, got int"):
        cd.continue_parameter(lambda a: 3, points, 0.0, 1.0)  # type: ignore[arg-type]


def test_points_under_several_inputs_are_refused() -> None:
    inputs = torch.tensor([[-1.0], [-0.9]])
    points = cd.find_fixed_points(switch(), -torch.ones(2, 1), inputs)
    with pytest.raises(ValueError, match="`points` under one input"):
        cd.continue_points(switch(), points, LOW, HIGH)
