"""How a modifier acts at a fixed point: what it changes, how long, through what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, OneInput, OneState, PerPoint, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.linearization import Linearization

GONE = 0.2
"""Of a modifier's largest effect: what is below counts as gone."""

LIVE_STATES = 16
"""States a step of a layer holds at once for each row, about: gates and copies."""

PerLag = Float[Tensor, "n m l"]
Several = Float[Tensor, "n a d"]
Ranked = Int[Tensor, "n m r"]
Removals = Float[Tensor, "n m q"]


@dataclass(frozen=True, eq=False)
class ModifierEffects:
    """What modifiers read at fixed points change in the effect of one word.

    With w the readout, h_1 = F(h*, x_m) the state after the modifier and
    h_(l+1) = F(h_l, x*) those that follow under the point's own input x*, the word adds

    slopes: w . B(h_l, x*) (x - x*), by the input Jacobian B there,
    effects: w . (F(h_l, x) - F(h_l, x*)), by the map itself.

    They differ where a word opens gates for itself.

    Attributes:
        plain_slopes: w . B(h*, x*) (x - x*), at each point (n,).
        slopes: (n, m, l), for each modifier, and 1, 2, ... steps after it.
        plain_effects: w . (F(h*, x) - F(h*, x*)), (n,).
        effects: (n, m, l).
        parts: norms (n, m, s) of the parts P_s (h_1 - h*) of the deflection in the
            invariant subspaces of J at h*; zero where a point has fewer of them.
        ranking: the subspaces (n, m, r) in the order of removal: each brings the
            effect nearest to the plain one, those before it being removed.
        without: effects one step after the modifier, less the parts of none, the first,
            the first two, ... of the ranking, (n, m, r + 1).
        only: effects with these parts alone kept, (n, m, r + 1).
    """

    plain_slopes: PerPoint
    slopes: PerLag
    plain_effects: PerPoint
    effects: PerLag
    parts: Float[Tensor, "n m s"]
    ranking: Ranked
    without: Removals
    only: Removals

    def __len__(self) -> int:
        """Number of points."""
        return len(self.plain_effects)

    @property
    def strengths(self) -> Float[Tensor, "n m"]:
        """Change of the slope one step after the modifier."""
        return self.slopes[..., 0] - self.plain_slopes[:, None]

    def gone_after(self, *, share: float = GONE) -> Int[Tensor, "n m"]:
        """Steps for which a modifier changes the word's effect.

        Args:
            share: Of the modifier's largest change, over all steps that were followed.

        Returns:
            The last step at which the change is at least this share; 0 for none.

        Raises:
            ValueError: If `share` is not positive.
        """
        _checks.check_positive("share", share)
        changes = (self.effects - self.plain_effects[:, None, None]).abs()
        least = share * changes.amax(2, keepdim=True)
        lags = torch.arange(1, changes.shape[2] + 1, device=changes.device)
        return (((changes >= least) & (changes > 0)) * lags).amax(2)


def measure_modifiers(
    dynamics: DynamicsMap,
    linearization: Linearization,
    readout: OneState,
    modifiers: Inputs,
    word: OneInput,
    *,
    steps: int = 8,
    removals: int = 3,
) -> ModifierEffects:
    """Read modifiers at fixed points, and see what a word adds afterwards.

    A modifier deflects the state from h* to where the input Jacobian is another one,
    for a few steps. The deflection is divided among the invariant subspaces of J at h*,
    and parts of it are taken away to see which of them carry the effect: a causal test
    by the map itself.

    A removal says that a part is needed, not that it is enough (see `only`), and parts
    of oblique subspaces may be larger than their sum.

    Args:
        dynamics: The layer's map.
        linearization: Fixed or slow points h*, with their inputs x*. Words that are
            one-hot have no neutral zero: take the mean of neutral words for x*.
        readout: How the output reads the state, (d,).
        modifiers: What the layer reads at the modifiers, (m, k).
        word: What it reads at the word whose effect is measured, (k,).
        steps: Steps followed after a modifier.
        removals: Subspaces to remove, one after another.

    Returns:
        Effects at each point, for each modifier.

    Raises:
        ValueError: If shapes do not fit the map, or numbers are not finite.

    References:
        Maheswaranathan and Sussillo (2020), arXiv 2004.08013, sections 3 and 4.

    Example:
        A memory of one step, h_2, multiplies what the next input adds to the sum h_1.

        >>> import torch, captum_dynamics as cd
        >>> def step(h, x):
        ...     return torch.stack([h[:, 0] + (1 + h[:, 1]) * x[:, 0], x[:, 1]], -1)
        >>> dynamics = cd.FunctionAdapter(step, 2, 2)
        >>> rest = torch.zeros(1, 2).double()
        >>> points = cd.find_fixed_points(dynamics, rest, torch.zeros(1, 2))
        >>> readout, word = torch.tensor([1.0, 0]), torch.tensor([1.0, 0])
        >>> negation = torch.tensor([[0, -2.0]])
        >>> found = measure_modifiers(
        ...     dynamics, cd.linearize(dynamics, points), readout, negation, word
        ... )
        >>> found.plain_effects.tolist(), found.effects[0, 0, :3].tolist()
        ([1.0], [-1.0, 1.0, 1.0])
        >>> found.gone_after().tolist(), found.without[0, 0, :2].tolist()
        ([[1]], [-1.0, 1.0])
    """
    states, reference = linearization.points.states, linearization.points.inputs
    states, reference = dynamics.check(states, reference, "linearization.points.states")
    read = _checks.check_matrix("modifiers", modifiers, dynamics.input_dim)
    _checks.check_rows("modifiers", read)
    width = dynamics.state_dim
    w = _checks.check_inputs("readout", readout, 1, width)[0].to(states)
    x = _checks.check_inputs("word", word, 1, dynamics.input_dim)[0].to(states)
    _checks.check_count("steps", steps)
    _checks.check_count("removals", removals)
    probe = _Probe(dynamics, reference, w, x)
    with torch.no_grad():
        return _measure(probe, linearization, states, read.to(states), steps, removals)


@dataclass(frozen=True, eq=False)
class _Probe:
    """One word, read at a states of each point beside the point's own input."""

    dynamics: DynamicsMap
    reference: Inputs
    readout: OneState
    word: OneInput

    def effects(self, states: Several) -> Float[Tensor, "n a"]:
        """w . (F(h, x) - F(h, x*))."""
        read = self.after(states, self.word.expand(len(self.reference), -1))
        return (read - self.after(states, self.reference)) @ self.readout

    def slopes(self, states: Several) -> Float[Tensor, "n a"]:
        """w . B(h, x*) (x - x*)."""
        found = states.new_zeros(states.shape)
        change = self.word - self.reference
        for column in range(states.shape[1]):
            at = states[:, column]
            still = torch.zeros_like(at)
            found[:, column] = self.dynamics.jvp(at, self.reference, still, change)
        return found @ self.readout

    def after(self, states: Several, inputs: Inputs) -> Several:
        """F(h, x), with one input for the states of each point."""
        flat = states.flatten(0, 1)
        read = inputs.repeat_interleave(states.shape[1], dim=0)
        chunks = row_chunks(len(flat), flat[:1].nbytes * LIVE_STATES)
        moved = [self.dynamics.step(flat[rows], read[rows]) for rows in chunks]
        return torch.cat(moved).view_as(states)


def _measure(
    probe: _Probe,
    linearization: Linearization,
    states: States,
    modifiers: Inputs,
    steps: int,
    removals: int,
) -> ModifierEffects:
    """Follow and dissect one modifier after another."""
    points = states[:, None]
    plain = probe.effects(points)[:, 0]
    parts, ranking, without, only, slopes, effects = ([] for _ in range(6))
    for modifier in modifiers:
        after = probe.after(points, modifier.expand(len(states), -1))
        followed = _followed(probe, after, steps)
        slopes.append(probe.slopes(followed))
        effects.append(probe.effects(followed))
        held = _parts(linearization, after[:, 0] - states)
        parts.append(held.norm(dim=2))
        chosen = _rank(probe, after, held, plain, min(removals, held.shape[1]))
        ranking.append(chosen)
        taken = held.gather(1, chosen[..., None].expand(-1, -1, held.shape[2]))
        sums = nn.functional.pad(taken.cumsum(1), (0, 0, 1, 0))
        without.append(probe.effects(after - sums))
        only.append(probe.effects(points + sums))
    return ModifierEffects(
        probe.slopes(points)[:, 0],
        torch.stack(slopes, dim=1),
        plain,
        torch.stack(effects, dim=1),
        torch.stack(parts, dim=1),
        torch.stack(ranking, dim=1),
        torch.stack(without, dim=1),
        torch.stack(only, dim=1),
    )


def _followed(probe: _Probe, after: Several, steps: int) -> Float[Tensor, "n l d"]:
    """States of the steps from the modifier on, under the reference input."""
    visited = [after]
    for _ in range(1, steps):
        visited.append(probe.after(visited[-1], probe.reference))
    return torch.cat(visited, dim=1)


def _parts(linearization: Linearization, deflections: States) -> Several:
    """P_s of a deflection for every subspace s of each point; zero for missing ones."""
    subspaces = linearization.subspaces
    right, left = (part.to(deflections) for part in (subspaces.right, subspaces.left))
    by_column = right.mT * (left @ deflections[..., None])
    parts = deflections.new_zeros(len(deflections), subspaces.most, right.shape[1])
    index = subspaces.labels[..., None].expand_as(by_column)
    return parts.scatter_add(1, index, by_column)


def _rank(
    probe: _Probe, after: Several, parts: Several, plain: PerPoint, count: int
) -> Int[Tensor, "n r"]:
    """Take away the part that brings the effect nearest to `plain`; again and again."""
    left, chosen = after, []
    taken = torch.zeros(parts.shape[:2], dtype=torch.bool, device=parts.device)
    for _ in range(count):
        misses = (probe.effects(left - parts) - plain[:, None]).abs()
        best = misses.masked_fill(taken, torch.inf).argmin(1, keepdim=True)
        taken = taken.scatter(1, best, True)
        left = left - parts.gather(1, best[..., None].expand(-1, -1, parts.shape[2]))
        chosen.append(best)
    return torch.cat(chosen, dim=1)
