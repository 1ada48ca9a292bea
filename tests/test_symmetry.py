"""Points modulo permutations of the state, against lists of all permutations."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, permutations, product

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.symmetry import orbit_groups

NOTHING = torch.zeros(1, 0, dtype=torch.float64)


def units(count: int, coupling: float) -> cd.FunctionAdapter:
    """Identical units, each driven by itself and by the mean of all."""
    return cd.FunctionAdapter(
        lambda h, x: torch.tanh(2 * h + coupling * h.mean(-1, keepdim=True)), count, 0
    )


def found(count: int, coupling: float) -> cd.FixedPoints:
    grid = torch.tensor([-1.0, -0.3, 0.05, 0.4, 1.0], dtype=torch.float64)
    starts = torch.cartesian_prod(*[grid] * count)
    points = cd.find_fixed_points(units(count, coupling), starts, NOTHING)
    return points[points.kind == cd.Kind.FIXED]


def all_orders(count: int, width: int = 1) -> Tensor:
    """Columns (m!, m w) of every permutation of slots of some width."""
    orders = torch.tensor(list(permutations(range(count))))
    return (orders[:, :, None] * width + torch.arange(width)).flatten(1)


def groups_by_listing(states: Tensor, orders: Tensor, radius: float) -> int:
    """Number of states of which no permutation is within a radius of another one."""
    left = list(states)
    count = 0
    while left:
        images = left[0][orders]
        left = [s for s in left if (images - s).norm(dim=-1).min() > radius]
        count += 1
    return count


def slots(count: int, width: int = 1) -> cd.SlotSymmetry:
    return cd.SlotSymmetry.of(cd.StateLayout.of({"m": (count, width)}), "m")


def test_three_uncoupled_switches_have_27_points_which_are_10_multisets() -> None:
    points = found(3, 0.0)
    values = points.unique().states.unique().tolist()
    orbits = cd.find_orbits(units(3, 0.0), points, slots(3))
    assert len(points.unique()) == 27
    distinct = sorted({round(value, 6) + 0.0 for value in values})
    wanted = {*combinations_with_replacement(distinct, 3)}
    rows = [tuple(round(v, 6) + 0.0 for v in h) for h in orbits.points.states.tolist()]
    assert len(rows) == 10
    assert {*rows} == wanted
    assert orbits.sizes == tuple(len({*permutations(row)}) for row in rows)
    assert orbits.found.tolist() == [*orbits.sizes]
    assert int(orbits.points.multiplicity.sum()) == len(points)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("coupling", [-0.9, 0.6])
def test_orbits_of_coupled_units_are_those_of_all_permutations(
    count: int, coupling: float
) -> None:
    points = found(count, coupling)
    orbits = cd.find_orbits(units(count, coupling), points, slots(count))
    apart = points.unique()
    assert len(orbits) == groups_by_listing(apart.states, all_orders(count), 1e-8)
    assert int(orbits.found.sum()) == len(apart)
    for state, size in zip(orbits.points.states, orbits.sizes, strict=True):
        images = state[all_orders(count)]
        assert size == len(torch.unique((images * 1e7).round(), dim=0))
    listed = cd.PermutationSymmetry(slots(count).generators)
    assert len(listed.elements) == math.factorial(count)
    again = cd.find_orbits(units(count, coupling), points, listed)
    assert again.sizes == orbits.sizes
    assert again.found.tolist() == orbits.found.tolist()


@pytest.mark.parametrize("listed", [False, True])
def test_noise_within_the_radius_changes_neither_orbits_nor_their_image(
    listed: bool,
) -> None:
    generator = torch.Generator().manual_seed(0)
    slot = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    # Slots that differ in their last value only, which is what sorting must mind.
    slot[1, :2] = slot[0, :2]
    slot[2] = slot[0] + torch.tensor([1e-11, -1e-11, 0.0])
    orders = all_orders(4, 3)
    noise = torch.randn(24, 12, generator=generator, dtype=torch.float64)
    states = slot.flatten()[orders] + 1e-12 * noise
    radii = torch.full((24,), 1e-9, dtype=torch.float64)
    symmetry = slots(4, 3)
    tried = cd.PermutationSymmetry(symmetry.generators) if listed else symmetry
    groups = orbit_groups(tried, states, radii, torch.zeros(24, 1))
    assert groups.unique().tolist() == [0]
    images = tried.canonical(states, radii)
    assert (images - images[0]).abs().max() < 1e-10
    assert {*tried.orbit_sizes(states, radii)} == {12}


def test_slots_closer_than_the_root_of_round_off_are_still_told_apart() -> None:
    state = torch.tensor([0.5, 0.5 + 3e-9, -1.0, 2.0], dtype=torch.float64)
    swapped = state[[1, 0, 3, 2]]
    moved = swapped + torch.tensor([0.0, 2e-9, 0.0, 0.0], dtype=torch.float64)
    radii = torch.full((2,), 1e-12, dtype=torch.float64)
    same = slots(4).same_orbit(state, torch.stack([swapped, moved]), radii)
    assert same.tolist() == [True, False]


def test_ten_slots_need_no_list_of_their_three_million_permutations() -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (10, 10, 4)
    parts = torch.randn(shape, generator=generator, dtype=torch.float64)
    rows = [
        part[torch.randperm(10, generator=generator)].flatten()
        for part in parts
        for _ in range(30)
    ]
    states, symmetry = torch.stack(rows), slots(10, 4)
    radii = torch.full((300,), 1e-10, dtype=torch.float64)
    groups = orbit_groups(symmetry, states, radii, torch.zeros(300, 1))
    assert groups.tolist() == [row // 30 for row in range(300)]
    assert {*symmetry.orbit_sizes(states, radii)} == {math.factorial(10)}
    images = symmetry.canonical(states, radii)
    assert torch.equal(images, images[::30].repeat_interleave(30, dim=0))


def test_states_that_agree_value_by_value_but_not_slot_by_slot_are_two() -> None:
    first = torch.tensor([1.0, 5.0, 2.0, 6.0]).double()
    second = torch.tensor([1.0, 6.0, 2.0, 5.0]).double()
    symmetry = slots(2, 2)
    told = symmetry.invariants(torch.stack([first, second]))
    assert torch.equal(told[0], told[1])
    radii = torch.full((2,), 1e-9, dtype=torch.float64)
    states = torch.stack([first, second])
    assert orbit_groups(symmetry, states, radii, torch.zeros(2, 1)).tolist() == [0, 1]


def test_a_ring_of_units_is_turned_but_not_mirrored() -> None:
    weight = torch.tensor([2.0, 0.7, -0.4, 0.0]).double()
    turns = torch.stack([weight.roll(k) for k in range(4)])
    ring = cd.FunctionAdapter(lambda h, x: torch.tanh(h @ turns), 4, 0)
    turn = cd.PermutationSymmetry(((1, 2, 3, 0),))
    starts = torch.tensor(list(product([-1.0, 0.1, 1.0], repeat=4))).double()
    points = cd.find_fixed_points(ring, starts, NOTHING)
    points = points[points.kind == cd.Kind.FIXED]
    orbits = cd.find_orbits(ring, points, turn)
    apart = points.unique().states
    orders = torch.stack([torch.arange(4).roll(k) for k in range(4)])
    assert len(orbits) == groups_by_listing(apart, orders, 1e-8)
    assert len(orbits) < len(apart)
    mirror = cd.PermutationSymmetry(((3, 2, 1, 0),))
    with pytest.raises(ValueError, match=r"`symmetry` to be one of the dynamics.*row"):
        cd.find_orbits(ring, points, mirror)


def test_merging_modulo_a_symmetry_is_idempotent_and_keeps_all_counts() -> None:
    points, symmetry = found(3, 0.6), slots(3)
    once = points.unique(symmetry=symmetry)
    twice = once.unique(symmetry=symmetry)
    assert torch.equal(twice.states, once.states)
    assert int(twice.multiplicity.sum()) == len(points)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(2))
    other = points[order].unique(symmetry=symmetry)
    gaps = torch.cdist(other.states, once.states)
    assert gaps.amin(1).max() < 1e-9
    assert len(other) == len(once)


def test_blocks_of_one_unit_are_permuted_together() -> None:
    layout = cd.StateLayout.of({"h": 3, "c": 3, "clock": 1})
    symmetry = cd.SlotSymmetry.of(layout, "h", "c")
    assert symmetry.slots == ((0, 3), (1, 4), (2, 5))
    assert symmetry.generators[0] == (1, 0, 2, 4, 3, 5, 6)
    across = cd.SlotSymmetry.of(cd.StateLayout.of({"m": (2, 3)}), "m", axis=1)
    assert across.slots == ((0, 3), (1, 4), (2, 5))


def test_an_lstm_of_identical_units_keeps_its_symmetry() -> None:
    layer = torch.nn.LSTM(1, 3)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            weight.copy_(
                weight.view(4, 3, -1)[:, :1].expand(4, 3, -1).reshape_as(weight)
            )
            if name.startswith("weight_hh"):
                weight.copy_(weight[:, :1].expand_as(weight))
    dynamics = cd.adapt(layer)
    symmetry = cd.SlotSymmetry.of(dynamics.layout, "h", "c")
    states = torch.randn(5, 6, dtype=torch.float64)
    inputs = torch.zeros(1, 1, dtype=torch.float64)
    assert cd.check_symmetry(dynamics, symmetry, states, inputs) < 1e-14
    alone = cd.SlotSymmetry.of(dynamics.layout, "h")
    with pytest.raises(ValueError, match="got a relative difference of"):
        cd.check_symmetry(dynamics, alone, states, inputs)


def test_points_that_are_not_finite_stand_alone() -> None:
    points = found(2, 0.0)[:4]
    points.states[0] = torch.nan
    assert torch.isnan(points.unique(symmetry=slots(2)).states).any(1).sum() == 1


@pytest.mark.misuse
def test_what_is_no_symmetry_is_refused() -> None:
    layout = cd.StateLayout.of({"m": (2, 3), "c": 2})
    for call, said in (
        (lambda: cd.PermutationSymmetry(((0, 2),)), "`permutations` to order all"),
        (lambda: cd.PermutationSymmetry(()), "`permutations` to order all"),
        (lambda: cd.PermutationSymmetry(slots(8).generators), "at most 10000, got mo"),
        (lambda: cd.SlotSymmetry(3, ((0,), (1, 2))), "`slots` to be tuples of equ"),
        (lambda: cd.SlotSymmetry(3, ((0,), (3,))), "`slots` to hold different colu"),
        (lambda: cd.SlotSymmetry(3, ((0,), (0,))), "`slots` to hold different colu"),
        (lambda: cd.SlotSymmetry.of(layout), "`blocks` to name at least one"),
        (lambda: cd.SlotSymmetry.of(layout, "m", "c", axis=1), "got 'c' and 1"),
        (lambda: cd.SlotSymmetry.of(layout, "z"), "`blocks` among"),
        (lambda: found(2, 0.0).unique(symmetry=slots(3)), "`symmetry` to permute the"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
