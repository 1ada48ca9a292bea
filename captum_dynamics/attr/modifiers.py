"""How a modifier acts at a fixed point: what it changes, how long, through what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Inputs, OneState, OtherStates, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.linearization import Linearization

GONE = 0.2
"""Of a modifier's largest effect: what is below counts as gone."""

BEAM = 32
"""Sets of subspaces that the search keeps; two of them are found nearly always."""

LAST = 1e30
"""Shares of a change are far below."""

LIVE_STATES = 16
"""States a step of a layer holds at once for each row, about: gates and copies."""

PerLag = Float[Tensor, "n m q l"]
PerWord = Float[Tensor, "n q"]
Modifiers = Float[Tensor, "m k"]
Words = Float[Tensor, "q k"]
Several = Float[Tensor, "n a d"]
Ranked = Int[Tensor, "n m r"]
Removals = Float[Tensor, "n m q z"]


@dataclass(frozen=True, eq=False)
class ModifierEffects:
    """What modifiers read at fixed points change in the effects of words.

    With w the readout, h_1 = F(h*, x_m) the state after the modifier and
    h_(l+1) = F(h_l, x*) those that follow under the point's own input x*, a word adds

    slopes: w . B(h_l, x*) (x - x*), by the input Jacobian B there,
    effects: w . (F(h_l, x) - F(h_l, x*)), by the map itself.

    They differ where a word opens gates for itself.

    Attributes:
        plain_slopes: w . B(h*, x*) (x - x*), at each point for each word (n, q).
        slopes: (n, m, q, l), for each modifier and word, 1, 2, ... steps later.
        plain_effects: w . (F(h*, x) - F(h*, x*)), (n, q).
        effects: (n, m, q, l).
        parts: norms (n, m, s) of the parts P_s (h_1 - h*) of the deflection in the
            invariant subspaces of J at h*; zero where a point has fewer of them.
        ranking: r subspaces (n, m, r) to remove together: those that leave least of the
            change in the word where most is left, as far as a beam search finds them;
            first the one that leaves least where it is removed alone.
        without: effects one step after the modifier, less the parts of none, the first,
            the first two, ... of the ranking, (n, m, q, r + 1).
        only: effects with these parts alone kept, (n, m, q, r + 1).
    """

    plain_slopes: PerWord
    slopes: PerLag
    plain_effects: PerWord
    effects: PerLag
    parts: Float[Tensor, "n m s"]
    ranking: Ranked
    without: Removals
    only: Removals

    def __len__(self) -> int:
        """Number of points."""
        return len(self.plain_effects)

    @property
    def strengths(self) -> Float[Tensor, "n m q"]:
        """Change of the slopes one step after the modifier."""
        return self.slopes[..., 0] - self.plain_slopes[:, None]

    @property
    def left(self) -> Float[Tensor, "n m z"]:
        """Share of the change that removals leave, in the word where it is largest.

        1 for no removal; NaN where a modifier does not change a word at all.
        """
        changes = (self.without - self.plain_effects[:, None, :, None]).abs()
        return (changes / changes[..., :1]).amax(2)

    def gone_after(self, *, share: float = GONE) -> Int[Tensor, "n m q"]:
        """Steps for which a modifier changes a word's effect.

        Args:
            share: Of the largest change of this word, over all steps followed.

        Returns:
            The last step at which the change is at least this share; 0 for none.

        Raises:
            ValueError: If `share` is not positive.
        """
        _checks.check_positive("share", share)
        changes = (self.effects - self.plain_effects[:, None, :, None]).abs()
        least = share * changes.amax(3, keepdim=True)
        lags = torch.arange(1, changes.shape[3] + 1, device=changes.device)
        return (((changes >= least) & (changes > 0)) * lags).amax(3)


def measure_modifiers(
    dynamics: DynamicsMap,
    linearization: Linearization,
    readout: OneState,
    modifiers: Modifiers,
    words: Words,
    *,
    steps: int = 8,
    removals: int = 2,
) -> ModifierEffects:
    """Read modifiers at fixed points, and see what words add afterwards.

    A modifier deflects the state from h* to where the input Jacobian is another one,
    for a few steps. The deflection is divided among the invariant subspaces of J at h*,
    and parts of it are taken away to see which of them carry the effect: a causal test
    by the map itself.

    Give several words: there are many subspaces, and some removal brings any single
    word near its plain effect, whatever it does to others. A removal says that parts
    are needed, not that they are enough (see `only`); those of oblique subspaces may be
    larger than their sum.

    Args:
        dynamics: The layer's map.
        linearization: Fixed or slow points h*, with their inputs x*. Words that are
            one-hot have no neutral zero: take the mean of neutral words for x*.
        readout: How the output reads the state, (d,).
        modifiers: What the layer reads at the modifiers, (m, k).
        words: What it reads at the words whose effects are measured, (q, k); words
            that the modifiers change.
        steps: Steps followed after a modifier.
        removals: Subspaces to remove.

    Returns:
        Effects at each point, for each modifier and word.

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
        >>> linear = cd.linearize(dynamics, points)
        >>> readout, words = torch.tensor([1.0, 0]), torch.tensor([[1.0, 0]])
        >>> negation = torch.tensor([[0, -2.0]])
        >>> found = measure_modifiers(dynamics, linear, readout, negation, words)
        >>> found.plain_effects.tolist(), found.effects[0, 0, 0, :3].tolist()
        ([[1.0]], [-1.0, 1.0, 1.0])
        >>> found.gone_after().tolist(), found.without[0, 0, 0, :2].tolist()
        ([[[1]]], [-1.0, 1.0])
    """
    states, reference = linearization.points.states, linearization.points.inputs
    states, reference = dynamics.check(states, reference, "linearization.points.states")
    read = _checks.check_matrix("modifiers", modifiers, dynamics.input_dim)
    _checks.check_rows("modifiers", read)
    width = dynamics.state_dim
    w = _checks.check_inputs("readout", readout, 1, width)[0].to(states)
    x = _checks.check_matrix("words", words, dynamics.input_dim).to(states)
    _checks.check_rows("words", x)
    _checks.check_count("steps", steps)
    _checks.check_count("removals", removals)
    probe = _Probe(dynamics, reference, w, x)
    with torch.no_grad():
        return _measure(probe, linearization, states, read.to(states), steps, removals)


@dataclass(frozen=True, eq=False)
class _Probe:
    """Words, read at a states of each point beside the point's own input."""

    dynamics: DynamicsMap
    reference: Inputs
    readout: OneState
    words: Words

    def effects(self, states: Several) -> Float[Tensor, "n q a"]:
        """w . (F(h, x) - F(h, x*))."""
        rest = self.after(states, self.reference)
        read = [self.after(states, x.expand_as(self.reference)) for x in self.words]
        return torch.stack([(one - rest) @ self.readout for one in read], dim=1)

    def slopes(self, states: Several) -> Float[Tensor, "n q a"]:
        """w . B(h, x*) (x - x*)."""
        still = torch.zeros_like(states[:, 0])
        found = [
            torch.stack(
                [
                    self.dynamics.jvp(at, self.reference, still, x - self.reference)
                    for at in states.unbind(1)
                ],
                dim=1,
            )
            for x in self.words
        ]
        return torch.stack(found, dim=1) @ self.readout

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
    modifiers: Modifiers,
    steps: int,
    removals: int,
) -> ModifierEffects:
    """Follow and dissect one modifier after another."""
    points = states[:, None]
    plain = probe.effects(points)[..., 0]
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
        probe.slopes(points)[..., 0],
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
    probe: _Probe,
    after: Several,
    parts: Float[Tensor, "n s d"],
    plain: PerWord,
    count: int,
) -> Int[Tensor, "n r"]:
    """Search for the parts to take away, point by point."""
    found = []
    for row in range(len(after)):
        at = slice(row, row + 1)
        here = replace(probe, reference=probe.reference[at])
        found.append(_beam_search(here, after[row], parts[row], plain[row], count))
    return torch.stack(found)


def _beam_search(
    probe: _Probe,
    after: Float[Tensor, "1 d"],
    parts: OtherStates,
    plain: Float[Tensor, " q"],
    count: int,
) -> Int[Tensor, " r"]:
    """Take away one part more of the best few sets, again and again."""
    whole = (probe.effects(after[None])[0, :, 0] - plain).abs()
    # A word that is not changed has no say.
    weights = torch.where(whole > 0, 1 / whole, 0.0)
    # Subspaces that a point has not come last.
    last = LAST * (parts == 0).all(1).to(parts)

    def left_by(fewer: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
        """Largest share of a change that is left in these states."""
        effects = probe.effects(fewer.flatten(0, 1)[None])[0]
        misses = (effects - plain[:, None]).abs() * weights[:, None]
        return misses.amax(0).view(fewer.shape[:2]) + last

    states, taken = after, torch.zeros_like(last, dtype=torch.bool)[None]
    chosen = torch.zeros(1, 0, dtype=torch.long, device=parts.device)
    for _ in range(count):
        fewer = states[:, None] - parts
        shares = left_by(fewer).masked_fill(taken, torch.inf).flatten()
        ranked = shares.argsort()[: min(BEAM, int((~taken).sum()))]
        before, part = ranked // len(parts), ranked % len(parts)
        states = fewer.flatten(0, 1)[ranked]
        chosen = torch.cat([chosen[before], part[:, None]], dim=1)
        taken = taken[before].scatter(1, part[:, None], True)
    alone = left_by(after - parts[None])[0]
    return chosen[0][alone[chosen[0]].argsort()]
