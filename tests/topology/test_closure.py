"""Graphs that point at more than they were given: searches, continua and cycles."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.testing import systems
from captum_dynamics.topology import AuditVerdict
from captum_dynamics.topology._attracting import attracting_sets
from captum_dynamics.topology._builder import Builder
from captum_dynamics.topology._deadline import Deadline, OutOfTimeError
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology._known import Known


def graph_from(
    system: systems.KnownSystem, states: torch.Tensor, **settings: object
) -> cd.FixedPointGraph:
    points = cd.find_fixed_points(system.dynamics, states, system.inputs).unique()
    points = points[points.kind == cd.Kind.FIXED]
    return cd.connect(
        system.dynamics,
        cd.linearize(system.dynamics, points),
        generator=torch.Generator().manual_seed(0),
        **settings,  # type: ignore[arg-type]
    )


def kinds(graph: cd.FixedPointGraph) -> Counter[str]:
    return Counter(data["kind"] for _, data in graph.graph.nodes(data=True))


def scattered(system: systems.KnownSystem, count: int) -> torch.Tensor:
    low, high = system.region
    draws = torch.rand(
        count,
        system.dynamics.state_dim,
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    )
    return low + (high - low) * draws


@pytest.mark.parametrize(
    "system",
    [
        systems.bistable(),
        systems.uncoupled_switches(2),
        systems.uncoupled_switches(3),
        systems.hopfield(),
        systems.coupled_switches(),
    ],
    ids=lambda system: f"{system.name}_{len(system.states)}",
)
def test_from_a_single_point_every_other_is_found(
    system: systems.KnownSystem,
) -> None:
    graph = graph_from(system, system.states[:1])
    found = graph.linearization.points.states
    assert len(found) == len(system.states)
    assert float(torch.cdist(system.states, found).amin(1).max()) < 1e-9
    assert graph.audit.verdict is AuditVerdict.CONSISTENT


def test_given_points_stay_the_first_rows() -> None:
    system = systems.uncoupled_switches(2)
    given = system.states[[3, 0]]
    graph = graph_from(system, given)
    points = cd.find_fixed_points(system.dynamics, given, system.inputs).unique()
    assert torch.equal(graph.linearization.points.states[:2], points.states)


def test_without_searches_nothing_is_added() -> None:
    system = systems.uncoupled_switches(2)
    graph = graph_from(system, system.states[4:5], searches=0, basin_samples=0)
    assert len(graph.linearization) == 1
    assert kinds(graph)["fixed_point"] == 1


def test_a_border_that_comes_to_no_known_saddle_is_searched() -> None:
    system = systems.uncoupled_switches(2)
    gone = int(torch.nonzero(system.unstable_dims == 1)[-1, 0])
    graph = graph_from(system, system.states[torch.arange(9) != gone])
    assert kinds(graph) == {"fixed_point": 9}


def test_a_border_ends_at_the_saddle_that_is_missing() -> None:
    system = systems.coupled_switches()
    saddles = torch.nonzero(system.unstable_dims == 1)[:, 0]
    kept = [row for row in range(9) if row != int(saddles[0])]
    points = cd.find_fixed_points(system.dynamics, system.states[kept], system.inputs)
    known = Known(cd.linearize(system.dynamics, points))
    sets = attracting_sets(known.linearization, (), ())
    flow = Flow(system.dynamics, system.inputs[0], sets, 20_000, Deadline())
    builder = Builder(known, flow, 64, None)
    builder.add_branches()
    builder.add_saddle_edges()
    (end,) = builder.border_ends
    assert float((end - system.states[saddles[0]]).norm()) < 1e-3


def test_a_cycle_on_the_border_of_basins_is_found_with_its_branches() -> None:
    system = systems.threshold_linear()
    graph = graph_from(system, system.states, basin_samples=0)
    (cycle,) = graph.endings
    expected = system.cycles[0]
    assert float(torch.cdist(cycle.states, expected).amin(1).max()) < 1e-9
    node = len(graph.linearization)
    data = graph.graph.nodes[node]
    assert (data["stability"], data["unstable_dim"], data["period"]) == ("saddle", 1, 2)
    repeller = int(graph.linearization.unstable_dims.argmax())
    dropped = [
        (source, target)
        for source, target, data in graph.graph.edges(data=True)
        if data["verified"] and data["unstable_drop"] == 1
    ]
    ends = {(node, attractor) for attractor in graph.attractors}
    assert set(dropped) == {(repeller, node), *ends}
    assert "1 saddle period-2 cycle" in graph.summary()


def test_a_ring_of_fixed_points_is_one_node_with_its_sample() -> None:
    system = systems.ring()
    graph = graph_from(system, scattered(system, 150))
    assert kinds(graph) == {"fixed_point": 1, "continuum": 1}
    (continuum,) = graph.continua
    assert graph.graph.nodes[continuum.node]["shape"] == "ring"
    assert "1 repeller, 1 ring of fixed points" in graph.summary()
    radii = continuum.points.states.norm(dim=1)
    assert torch.allclose(radii, torch.ones_like(radii))
    ((_, target, data),) = graph.graph.edges(data=True)
    assert target == continuum.node
    assert (data["directions"], data["verified"]) == (64, True)
    assert graph.attractors == [continuum.node]
    assert graph.basins[continuum.node] == 1
    assert graph.audit.verdict is AuditVerdict.NOT_APPLICABLE


def test_a_line_of_fixed_points_is_one_node_with_the_left_eigenvector_right() -> None:
    system = systems.line_attractor()
    graph = graph_from(system, scattered(system, 150))
    assert kinds(graph) == {"continuum": 1}
    assert graph.graph.nodes[0]["shape"] == "line"
    left = graph.linearization.left_eigenvectors[0, 0].real
    expected = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64) / 3
    cosine = float(left @ expected) / float(left.norm())
    assert abs(cosine) == pytest.approx(1, abs=1e-12)


def test_a_line_that_was_met_once_is_seen_to_be_one() -> None:
    system = systems.line_attractor()
    graph = graph_from(system, system.states[:1])
    assert kinds(graph) == {"continuum": 1}
    assert len(graph.continua[0].points) > 2


def test_basin_states_that_rest_beside_a_sample_belong_to_its_line() -> None:
    system = systems.line_attractor()
    graph = graph_from(system, system.states[:1], basin_states=3 * scattered(system, 9))
    assert kinds(graph) == {"continuum": 1}
    assert graph.basins == {0: 1.0}


def test_a_degenerate_point_on_its_own_stays_a_point() -> None:
    system = systems.pitchfork()
    graph = graph_from(system, scattered(system, 100))
    assert kinds(graph) == {"fixed_point": 3}
    assert graph.continua == ()


def test_a_ring_that_is_perturbed_has_four_alternating_points() -> None:
    system = systems.perturbed_ring()
    graph = graph_from(system, scattered(system, 100)).graph
    dims = Counter(data["unstable_dim"] for _, data in graph.nodes(data=True))
    assert dims == {0: 2, 1: 2, 2: 1}
    dropped = [d for *_, d in graph.edges(data=True) if d["unstable_drop"] == 1]
    assert len(dropped) == 6


@pytest.mark.parametrize(
    ("system", "period"),
    [(systems.spiral(), 8), (systems.flip(), 2), (systems.logistic(), 2)],
    ids=lambda value: getattr(value, "name", value),
)
def test_branches_that_end_on_a_cycle_lead_to_its_node(
    system: systems.KnownSystem, period: int
) -> None:
    graph = graph_from(system, system.states[:1])
    (cycle,) = graph.endings
    node = len(graph.linearization)
    assert graph.graph.nodes[node]["period"] == cycle.period == period
    assert node in graph.attractors
    assert {t for _, t, d in graph.graph.edges(data=True) if d["verified"]} == {node}
    assert f"attracting period-{period} cycle" in graph.summary()


def test_a_cycle_that_ends_reach_too_late_to_be_captured_is_one_node() -> None:
    system = systems.spiral()
    graph = graph_from(system, system.states, max_steps=100, basin_samples=0)
    assert kinds(graph) == {"fixed_point": 1, "cycle": 1, "unresolved": 1}
    (reason,) = [text for _, text in graph.graph.nodes(data="reason") if text]
    assert reason.startswith("period-8 cycle")


def test_chaos_is_one_node_and_what_runs_off_is_named() -> None:
    system = systems.logistic(4.0)
    graph = graph_from(
        system,
        system.states,
        max_steps=500,
        basin_states=torch.linspace(0.01, 0.99, 40, dtype=torch.float64)[:, None],
    )
    (chaos,) = graph.endings
    node = len(graph.linearization)
    assert graph.graph.nodes[node]["kind"] == "chaotic"
    error = float(chaos.errors[0])
    assert float(chaos.exponents[0]) == pytest.approx(math.log(2), abs=4 * error)
    assert graph.basins == {node: 1.0}
    reasons = [reason for _, reason in graph.graph.nodes(data="reason") if reason]
    assert len(reasons) == 1
    assert reasons[0].startswith("unbounded direction: h[0], grows")


def test_a_time_limit_leaves_a_graph_that_says_what_is_missing() -> None:
    system = systems.uncoupled_switches(3)
    graph = graph_from(system, system.states, time_limit=1e-3)
    assert len(graph.linearization) == 27
    assert "borders of basins" in graph.graph.graph["missing"]
    assert "time ran out before" in graph.summary()
    assert graph.audit.verdict is AuditVerdict.NOT_APPLICABLE
    assert "time ran out" in graph.audit.objection


def test_no_step_is_taken_when_time_is_up() -> None:
    system = systems.bistable()
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    sets = attracting_sets(cd.linearize(system.dynamics, points), (), ())
    late = Flow(system.dynamics, system.inputs[0], sets, 100, Deadline(-math.inf))
    with pytest.raises(OutOfTimeError):
        late.step(system.states)
    assert set(late.follow(0.5 * system.states[1:], "Branches").targets.tolist()) == {
        -1
    }


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_time_limit_that_means_nothing_is_refused(limit: float) -> None:
    system = systems.bistable()
    with pytest.raises(ValueError, match="`time_limit`"):
        graph_from(system, system.states, time_limit=limit)
