"""What a search returns: one labelled row a start, merged only where points are one."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics import _linalg, merging
from captum_dynamics.fixed_points import mix_states
from captum_dynamics.merging import connected_groups
from captum_dynamics.solvers import Iteration, LevenbergMarquardt, Newton
from captum_dynamics.testing.systems import bistable, coupled_switches, flip

SWITCH = bistable(gain=2.0)
M = float(SWITCH.states[2])


def found(starts: list[float], **settings: object) -> cd.FixedPoints:
    """Points of the bistable switch from starts on its line."""
    states = torch.tensor(starts, dtype=torch.float64)[:, None]
    return cd.find_fixed_points(SWITCH.dynamics, states, SWITCH.inputs, **settings)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_start_gives_one_row_in_order() -> None:
    points = found([-0.9, 0.8, 0.05, -0.7])
    assert points.states.flatten().tolist() == pytest.approx([-M, M, 0, -M], abs=1e-9)
    assert points.states.dtype == torch.float64
    assert (points.kind == cd.Kind.FIXED).all()
    assert points.converged.all()
    assert points.summary() == "4 points: 4 fixed, 0 slow, 0 unconverged, 0 spurious"


def test_residuals_are_those_of_the_returned_states() -> None:
    points = found([-0.9, 0.3, 0.05])
    again = SWITCH.dynamics.residual(points.states, points.inputs).norm(dim=1)
    assert torch.equal(points.residual_norms, again)
    assert torch.equal(points.speed, again**2 / 2)
    assert torch.equal(points.speed_per_unit, again**2)


def test_merging_counts_the_searches_of_each_point() -> None:
    unique = found([-0.9, 0.8, 0.05, -0.7, -0.8]).unique()
    order = unique.states.flatten().argsort()
    assert unique.multiplicity[order].tolist() == [3, 1, 1]
    assert int(unique.multiplicity.sum()) == 5


def test_a_merged_point_keeps_its_smallest_residual() -> None:
    points = found([0.9, 0.8, 0.7, 0.6, 0.95])
    (kept,) = points.unique().residual_norms.tolist()
    assert kept == float(points.residual_norms.min())


@given(order=st.permutations(range(12)))
def test_merging_does_not_depend_on_order_and_is_idempotent(order: list[int]) -> None:
    system = coupled_switches()
    starts = system.sample_starts(12, generator=generator())
    points = cd.find_fixed_points(system.dynamics, starts, system.inputs)
    shuffled = points[torch.tensor(order)].unique()
    for merged in (shuffled, shuffled.unique()):
        assert same_rows(merged, points.unique())


def same_rows(one: cd.FixedPoints, other: cd.FixedPoints) -> bool:
    """Whether two sets hold the same points and counts, in any order."""
    tables = [
        sorted(zip(p.states.tolist(), p.multiplicity.tolist(), strict=True))
        for p in (one, other)
    ]
    return tables[0] == tables[1]


@given(
    states=st.lists(st.tuples(*[st.integers(-3, 3)] * 2), max_size=14),
    radius=st.sampled_from([0.0, 1.0, 1.5, 2.0]),
    parity=st.booleans(),
)
def test_groups_are_what_links_connect(
    states: list[tuple[int, int]], radius: float, parity: bool
) -> None:
    points = torch.tensor(states, dtype=torch.float64).reshape(-1, 2)
    # Every other radius is larger, so that one end of a link may reach the other.
    radii = torch.full((len(points),), radius) + 0.5 * (torch.arange(len(points)) % 2)
    labels = points[:, :1] % 2 if parity else points.new_zeros(len(points), 1)
    linked = torch.cdist(points, points) <= torch.maximum(radii[:, None], radii)
    linked &= (labels == labels.T) | torch.eye(len(points), dtype=torch.bool)
    for _ in range(4):  # paths of up to 16 links
        linked = (linked.double() @ linked.double()) > 0
    wanted = linked.double().argmax(1) if len(points) else torch.zeros(0)
    found = connected_groups(points, radii, labels)
    assert torch.equal(found[:, None] == found, wanted[:, None] == wanted)
    # Numbered by first appearance.
    firsts = (
        [found.tolist().index(g) for g in range(int(found.max()) + 1)] if states else []
    )
    assert firsts == sorted(firsts)


def test_close_neighbours_are_merged_across_a_chain_and_nan_with_nothing() -> None:
    states = torch.tensor([[0.0], [0.9], [torch.nan], [1.8], [5.0], [torch.nan]])
    groups = connected_groups(states.double(), torch.ones(6), torch.zeros(6, 1))
    assert groups.tolist() == [0, 0, 1, 0, 2, 3]


def test_a_thousand_tight_groups_are_not_flooded_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = torch.arange(1000.0).repeat(3)[:, None].double()
    states[1000:2000] += 0.05
    monkeypatch.setattr(merging, "_connected", lambda *_: pytest.fail("flooded"))
    groups = connected_groups(states, torch.full((3000,), 0.1), torch.zeros(3000, 1))
    assert groups.tolist() == [*range(1000)] * 3


def test_points_of_different_inputs_do_not_merge() -> None:
    starts, inputs = torch.full((3, 1), 0.9), torch.tensor([[0.0], [0.0], [1e-15]])
    points = cd.find_fixed_points(SWITCH.dynamics, starts, inputs)
    assert len(points.unique()) == 2


def test_unconverged_rows_stay_and_are_labelled() -> None:
    points = found([M, 0.3], solver=Iteration(max_steps=2))
    assert points.kind.tolist() == [cd.Kind.FIXED, cd.Kind.UNCONVERGED]
    assert points.status.tolist() == [cd.Status.CONVERGED, cd.Status.MAX_STEPS]
    assert len(points.unique()) == 2


def test_a_state_that_hardly_moves_is_slow_and_not_fixed() -> None:
    crawl = cd.FunctionAdapter(lambda h, x: h + 1e-3 * (1 + h**2), 1, 0)
    with pytest.warns(cd.ConvergenceWarning, match="1 STALLED"):
        points = cd.find_fixed_points(crawl, torch.ones(1, 1), torch.zeros(1, 0))
    assert points.kind.tolist() == [cd.Kind.SLOW]
    assert float(points.residual_norms) == pytest.approx(1e-3, rel=1e-3)
    with pytest.warns(cd.ConvergenceWarning):
        strict = cd.find_fixed_points(
            crawl, torch.ones(1, 1), torch.zeros(1, 0), q_slow=1e-9
        )
    assert strict.kind.tolist() == [cd.Kind.UNCONVERGED]


def saturated_gru() -> cd.RecurrentAdapter:
    """A GRU whose update gates close far outside the box [-1, 1]^2."""
    layer = nn.GRU(1, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_hh_l0[2:4] = torch.eye(2)  # z = sigmoid(h)
    return cd.adapt(layer)


@pytest.mark.parametrize("solver", [Iteration(), Newton()], ids=["iteration", "newton"])
def test_rest_by_saturated_gates_is_spurious(solver: cd.solvers.Solver) -> None:
    # At h = 50 the gate hides all but e^-50 of the way home to 0.
    dynamics = saturated_gru()
    points = cd.find_fixed_points(
        dynamics,
        torch.tensor([[50.0, 50.0], [0.1, 0.1]]),
        torch.zeros(1, 1),
        solver=solver,
    )
    assert points.residual_norms.max() < 1e-12
    assert points.kind.tolist() == [cd.Kind.SPURIOUS, cd.Kind.FIXED]
    assert len(points.unique()) == 2


def test_a_spurious_point_inside_the_box_is_told_by_its_gates() -> None:
    layer = nn.GRU(1, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0[2:4] = 40.0  # z = 1 - 4e-18 everywhere
    start = torch.tensor([[0.5, -0.5]])
    points = cd.find_fixed_points(cd.adapt(layer), start, torch.zeros(1, 1))
    assert points.kind.tolist() == [cd.Kind.SPURIOUS]


def test_the_default_search_stays_in_the_invariant_box() -> None:
    points = cd.find_fixed_points(
        saturated_gru(), torch.tensor([[50.0, -50.0]]), torch.zeros(1, 1)
    )
    assert points.states.abs().max() <= 1 or points.kind.tolist() == [cd.Kind.SPURIOUS]


def test_when_every_search_fails_one_warning_says_so_with_numbers() -> None:
    with pytest.warns(
        cd.ConvergenceWarning, match="None of 2 searches.*2 STALLED"
    ) as w:
        points = cd.find_fixed_points(
            flip().dynamics,
            torch.tensor([[0.5], [-0.5]]),
            torch.zeros(1, 0),
            solver=Iteration(patience=20),
        )
    assert len(w) == 1
    assert len(points) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found([0.9, 0.8])


def test_slow_points_are_where_states_are_after_relaxing() -> None:
    points = cd.find_slow_points(
        SWITCH.dynamics, torch.tensor([[0.5]]), SWITCH.inputs, steps=3
    )
    h = torch.tensor([[0.5]], dtype=torch.float64)
    for _ in range(3):
        h = torch.tanh(2 * h)
    assert torch.equal(points.states, h)
    assert points.kind.tolist() == [cd.Kind.UNCONVERGED]
    relaxed = cd.find_slow_points(SWITCH.dynamics, torch.ones(1, 1), SWITCH.inputs)
    assert relaxed.kind.tolist() == [cd.Kind.FIXED]


def test_one_start_is_enough() -> None:
    points = found([0.9])
    assert len(points) == len(points.unique()) == 1


def test_starts_at_zero_are_starts() -> None:
    points = cd.find_fixed_points(
        cd.adapt(nn.LSTM(3, 4)), torch.zeros(3, 8), torch.zeros(1, 3)
    )
    assert len(points.unique()) == 1
    assert int(points.unique().multiplicity) == 3


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("states", "inputs", "complaint"),
    [
        (torch.zeros(0, 1), torch.zeros(1, 1), "`initial_states` to have at least one"),
        (
            torch.zeros(2, 3),
            torch.zeros(1, 1),
            r"`initial_states` to have shape \(n, 1",
        ),
        (torch.zeros(2), torch.zeros(1, 1), "`initial_states` to have shape"),
        (
            torch.full((2, 1), torch.nan),
            torch.zeros(1, 1),
            "`initial_states` to be fin",
        ),
        (torch.zeros(2, 1), torch.full((1, 1), torch.nan), "`inputs` to be finite"),
        (torch.zeros(2, 1), torch.zeros(3, 1), "`inputs` to have shape"),
        (torch.zeros(2, 1), torch.zeros(2, 2), "`inputs` to have shape"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    states: Tensor, inputs: Tensor, complaint: str
) -> None:
    for search in (cd.find_fixed_points, cd.find_slow_points):
        with pytest.raises(ValueError, match=complaint):
            search(SWITCH.dynamics, states, inputs)


@pytest.mark.misuse
def test_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="`initial_states` to be a floating tensor"):
        cd.find_fixed_points(
            SWITCH.dynamics, torch.zeros(2, 1, dtype=torch.long), SWITCH.inputs
        )


def test_a_negative_slowness_is_refused() -> None:
    with pytest.raises(ValueError, match="`q_slow` to be positive"):
        found([0.0], q_slow=-1.0)


def test_nothing_given_is_changed() -> None:
    starts, inputs = torch.rand(4, 1).double(), torch.zeros(1, 1).double()
    kept = starts.clone(), inputs.clone()
    points = cd.find_fixed_points(SWITCH.dynamics, starts, inputs)
    points.states.zero_()
    points.inputs.fill_(1)
    assert torch.equal(starts, kept[0])
    assert torch.equal(inputs, kept[1])


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    dynamics = cd.adapt(nn.GRU(3, 6))
    starts, inputs = torch.rand(9, 6), torch.rand(9, 3)
    together = cd.find_fixed_points(dynamics, starts, inputs)
    for rows in ([0], [3, 4], [8, 2, 5]):
        alone = cd.find_fixed_points(dynamics, starts[rows], inputs[rows])
        assert torch.allclose(alone.states, together.states[rows], atol=1e-10)
        assert torch.equal(alone.kind, together.kind[rows])


def test_extra_starts_follow_the_generator_and_not_the_global_one() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        found([-0.5, 0.6], extra_starts=6, generator=generator(s)) for s in (1, 1, 2)
    )
    assert len(first) == 8
    assert torch.equal(first.states, again.states)
    assert torch.equal(first.steps, again.steps)
    assert not torch.equal(first.residual_norms, other.residual_norms)
    assert torch.equal(torch.get_rng_state(), before)


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_mixed_starts_stay_in_the_box_of_the_given_ones(seed: int, count: int) -> None:
    states = torch.tensor([[0.0, 0.0], [1.0, 3.0], [2.0, 1.0]]).double()
    mixed = mix_states(states, count, generator=generator(seed))
    assert mixed.shape == (count, 2)
    assert (mixed >= states.amin(0) - 1e-12).all()
    assert (mixed <= states.amax(0) + 1e-12).all()


@pytest.mark.misuse
def test_points_are_selected_by_mask_indices_or_slice_and_nothing_else() -> None:
    points = found([-0.9, 0.8, 0.05])
    assert len(points[points.states[:, 0] > 0.5]) == 1
    assert torch.equal(points[torch.tensor([2, 0])].states, points.states[[2, 0]])
    assert len(points[:2]) == 2
    with pytest.raises(TypeError, match="a slice, got int"):
        points[0]  # type: ignore[index]


def test_no_selected_points_are_merged_to_none() -> None:
    points = found([0.9])
    assert len(points[points.states[:, 0] < 0].unique()) == 0


def test_a_map_at_rest_everywhere_has_degenerate_points() -> None:
    dynamics = cd.FunctionAdapter(lambda h, x: h * 1.0, 2, 0)
    points = cd.find_fixed_points(dynamics, torch.rand(5, 2), torch.zeros(1, 0))
    assert points.degenerate.all()
    assert (points.merge_radii == 1e-2).all()


def test_a_looser_solver_merges_within_its_own_error() -> None:
    points = found([0.9, 0.8, 0.7, 0.6], solver=LevenbergMarquardt(atol=1e-4))
    assert len(points.unique()) == 1


def test_inputs_keep_their_digits_where_starts_are_single() -> None:
    gru = cd.adapt(torch.nn.GRU(3, 4))
    inputs = torch.full((1, 3), 0.1, dtype=torch.float64)
    points = cd.find_fixed_points(gru, torch.zeros(2, 4), inputs)
    assert torch.equal(points.inputs, inputs.expand(2, -1))
    assert torch.equal(points.inputs.double(), points.inputs)


def test_a_negative_number_of_extra_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="`extra_starts` to be zero or more, got -1"):
        cd.find_fixed_points(
            SWITCH.dynamics, SWITCH.states, SWITCH.inputs, extra_starts=-1
        )


def chaotic(
    width: int = 24, gain: float = 2.5
) -> tuple[cd.RecurrentAdapter, torch.Tensor]:
    """A random tanh net with several fixed points, and starts."""
    torch.manual_seed(3)
    rnn = torch.nn.RNN(2, width)
    with torch.no_grad():
        rnn.weight_hh_l0.normal_(0, gain / width**0.5)
    return cd.adapt(rnn), 2 * torch.rand(96, width, dtype=torch.float64) - 1


def test_single_precision_first_finds_what_double_precision_finds() -> None:
    dynamics, starts = chaotic()
    x = torch.zeros(1, 2)
    mixed = cd.find_fixed_points(dynamics, starts, x)
    fine = cd.find_fixed_points(
        dynamics, starts, x, solver=cd.solvers.LevenbergMarquardt()
    )
    assert mixed.residual_norms[mixed.converged].max() < 1e-11
    ours, theirs = (p[p.kind == cd.Kind.FIXED].unique().states for p in (mixed, fine))
    assert len(ours) > 3
    gaps = torch.cdist(ours, theirs)
    assert (gaps.amin(0) < 1e-9).double().mean() > 0.8
    parts = [cd.find_fixed_points(dynamics, starts[i::7], x).states for i in range(7)]
    for i, part in enumerate(parts):
        same = mixed.converged[i::7]
        assert (part - mixed.states[i::7]).abs()[same].max() < 1e-10


def test_two_points_closer_than_single_precision_tells_are_kept_apart() -> None:
    # h' = h - k ((h - .5)^2 - 1e-8): two fixed points, 2e-4 apart.
    def step(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return h - 0.5 * ((h - 0.5) ** 2 - 1e-8) + 0 * x

    dynamics = cd.FunctionAdapter(step, 1, 1, traits=cd.Traits(float32=True))
    starts = torch.linspace(0.4, 0.6, 41, dtype=torch.float64)[:, None]
    points = cd.find_fixed_points(dynamics, starts, SWITCH.inputs)
    states = points[points.converged].states.flatten()
    assert (states - 0.5001).abs().min() < 1e-7
    assert (states - 0.4999).abs().min() < 1e-7


def test_one_solve_for_many_searches_keeps_two_close_points_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As above in one coordinate; the others are at rest in zero.
    def step(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        first, others = h[:, :1], h[:, 1:]
        return torch.cat([first - 0.5 * ((first - 0.5) ** 2 - 1e-8), others / 2], 1) + x

    dynamics = cd.FunctionAdapter(step, 128, 1, traits=cd.Traits(float32=True))
    starts = 0.01 * torch.ones(40, 128, dtype=torch.float64)
    starts[:, 0] = torch.linspace(0.4, 0.6, 40)
    solves = []
    invert = _linalg.real_inverse

    def counted(matrices: torch.Tensor) -> torch.Tensor:
        solves.append(len(matrices))
        return invert(matrices)

    monkeypatch.setattr(_linalg, "real_inverse", counted)
    points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 1))
    assert solves
    assert points.converged.all()
    first = points.states[:, 0]
    assert ((first - 0.5).abs() - 1e-4).abs().max() < 1e-7
    assert 0 < (first > 0.5).sum() < 40


def test_the_budget_cuts_the_work_and_not_the_points() -> None:
    dynamics, starts = chaotic()
    x = torch.zeros(1, 2)
    one, many = (
        cd.find_fixed_points(dynamics, starts, x, budget=size)
        for size in (2**29, 50 * 4 * 8 * 24**2)
    )
    both = one.converged & many.converged
    assert torch.equal(one.converged, many.converged)
    assert (one.states - many.states)[both].abs().max() < 1e-10


def test_no_tensor_is_made_where_the_points_are_not() -> None:
    dynamics, starts = chaotic()
    with torch.device("meta"):
        points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 2, device="cpu"))
        assert len(points.unique()) > 1


def test_an_lstm_has_the_points_of_its_resting_cells_and_no_others() -> None:
    torch.manual_seed(2)
    lstm = nn.LSTM(2, 6)
    with torch.no_grad():
        lstm.weight_hh_l0.mul_(12)
    dynamics, x = cd.adapt(lstm), torch.zeros(1, 2)
    starts = 2 * torch.rand(200, 12, dtype=torch.float64) - 1
    whole = LevenbergMarquardt()
    reduced, full = (
        cd.find_fixed_points(dynamics, starts, x, solver=solver)
        for solver in (None, whole)
    )
    ours, theirs = (p[p.kind == cd.Kind.FIXED].unique().states for p in (reduced, full))
    assert len(ours) == len(theirs) == 5
    assert torch.cdist(ours, theirs).amin(1).max() < 1e-9
    assert reduced.residual_norms[reduced.converged].max() < 1e-12


def test_a_wide_map_is_searched_by_products_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(2, 300)
    with torch.no_grad():
        gru.weight_hh_l0.mul_(2)
    dynamics, x = cd.adapt(gru), torch.zeros(1, 2)
    starts = 2 * torch.rand(20, 300, dtype=torch.float64) - 1
    dense = cd.find_fixed_points(
        dynamics, starts, x, solver=cd.solvers.MixedPrecision()
    )
    solved: list[int] = []
    solve = _linalg.solve

    def counted(matrices: torch.Tensor, *rest: Any) -> torch.Tensor:
        solved.append(len(matrices))
        return solve(matrices, *rest)

    monkeypatch.setattr(_linalg, "solve", counted)
    wide = cd.find_fixed_points(dynamics, starts, x)
    assert wide.converged.all()
    assert torch.equal(wide.kind, dense.kind)
    assert (wide.states - dense.states).abs().max() < 1e-9
    assert sum(solved) < 20  # for 20 searches of several steps


def test_a_map_too_wide_for_its_budget_is_searched_by_products() -> None:
    torch.manual_seed(0)
    dynamics = cd.adapt(nn.GRU(2, 120))
    starts = 2 * torch.rand(3, 120, dtype=torch.float64) - 1
    x = torch.zeros(1, 2)
    dense = cd.find_fixed_points(dynamics, starts, x)
    products = cd.find_fixed_points(dynamics, starts, x, budget=4 * 8 * 119**2)
    assert products.converged.all()
    assert (products.states - dense.states).abs().max() < 1e-9
