"""How often recorded sequences really go from one basin to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.linearization import Linearization
from captum_dynamics.recording import Trajectories
from captum_dynamics.topology._attracting import attracting_rows, check_one_input
from captum_dynamics.topology._destinations import (
    UNRESOLVED,
    capture_radii,
    follow,
)
from captum_dynamics.topology.transitions import TransitionGraph

OTHER = -1  # the id of a token that is none of the symbols

TokenIds = Int[Tensor, "n t"]
Matrix = Int[Tensor, "s s"]


@dataclass(frozen=True, eq=False)
class TransitionCounts:
    """Steps of recorded sequences, counted by the basins before and after them.

    Attributes:
        attractors: rows of the linearization, the order of matrix rows; ends at no
            known attractor come last, in row and column `len(attractors)`.
        symbols: names of the token ids 0, 1, ...
        moves: distinct moves (r, 3): token id, or -1 for other tokens, row and column.
        numbers: how often (r,) each of them was seen.
    """

    attractors: tuple[int, ...]
    symbols: tuple[str, ...]
    moves: Int[Tensor, "r 3"]
    numbers: Int[Tensor, " r"]

    @property
    def total(self) -> int:
        """Number of steps counted."""
        return int(self.numbers.sum())

    def matrix(self, symbol: str | None = None) -> Matrix:
        """Count moves (a + 1, a + 1) from row to column.

        Args:
            symbol: count the steps that read this symbol alone; all by default.

        Returns:
            The counts; the last row and column are ends at no known attractor.

        Raises:
            ValueError: for a symbol that was not named.
        """
        chosen = torch.ones_like(self.numbers, dtype=torch.bool)
        if symbol is not None:
            if symbol not in self.symbols:
                raise ValueError(
                    f"Expected `symbol` to be one of {len(self.symbols)} that were "
                    f"counted, got {symbol!r}."
                )
            chosen = self.moves[:, 0] == self.symbols.index(symbol)
        size = len(self.attractors) + 1
        matrix = self.numbers.new_zeros(size, size)
        rows, columns = self.moves[chosen, 1], self.moves[chosen, 2]
        return matrix.index_put((rows, columns), self.numbers[chosen], accumulate=True)

    def probabilities(self, symbol: str | None = None) -> Float[Tensor, "s s"]:
        """Shares of each row's moves; NaN in rows that were never left."""
        counts = self.matrix(symbol).double()
        return counts / counts.sum(1, keepdim=True)

    def agreement(self, transitions: TransitionGraph) -> tuple[int, int]:
        """Compare with where the same symbols lead from the attractors themselves.

        A recorded state is somewhere in a basin, still on its way: the two need not
        agree where symbols follow each other faster than the state settles.

        Args:
            transitions: found with the same linearization.

        Returns:
            Steps that went where the graph says, and steps whose symbol it knows.

        Raises:
            ValueError: for a graph of other attractors.
        """
        if tuple(transitions.attractors) != self.attractors:
            raise ValueError(
                f"Expected `transitions` of the attractors {self.attractors}, got "
                f"{tuple(transitions.attractors)}."
            )
        rows = {node: row for row, node in enumerate(self.attractors)}
        columns = {name: i for i, name in enumerate(transitions.symbols)}
        table = transitions.table.tolist()
        agreed = known = 0
        moves = zip(self.moves.tolist(), self.numbers.tolist(), strict=True)
        for (token, source, target), number in moves:
            name = self.symbols[token] if token != OTHER else ""
            if token == OTHER or name not in columns or source == len(rows):
                continue
            said = rows.get(table[source][columns[name]], len(rows))
            known += number
            agreed += number * (said == target)
        return agreed, known

    def summary(self) -> str:
        """Steps that stayed, moved, and had no known basin, in plain words."""
        matrix = self.matrix()
        lost = int(matrix[-1].sum() + matrix[:-1, -1].sum())
        stayed = int(matrix[:-1, :-1].diagonal().sum())
        return (
            f"{self.total} steps between {len(self.attractors)} basins: {stayed} "
            f"stayed, {self.total - stayed - lost} moved, {lost} began or ended at no "
            f"known attractor"
        )


@torch.no_grad()
def count_transitions(
    dynamics: DynamicsMap,
    linearization: Linearization,
    runs: Trajectories,
    *,
    tokens: TokenIds | None = None,
    symbols: Sequence[str] | None = None,
    max_steps: int = 20_000,
    show_progress: bool = False,
) -> TransitionCounts:
    """Count from which basin to which each recorded step went.

    Every visited state, the initial ones included, settles under the constant input of
    the points to an attractor; pairs of consecutive states are counted.

    Args:
        dynamics: the map.
        linearization: of distinct points, all under the same input.
        runs: what `record` returned.
        tokens: ids (n, t) of what was read at each step, to count by; -1 where it is
            none of the symbols.
        symbols: names of the ids 0, 1, ...; by default the ids themselves.
        max_steps: steps after which a state counts as unresolved.
        show_progress: show a progress bar.

    Returns:
        The counts.

    Raises:
        ValueError: when the points do not share one input, points or runs do not fit
            the map, or tokens do not fit runs or symbols.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layer = torch.nn.RNN(1, 1, bias=False)
        >>> _ = layer.weight_ih_l0.data.fill_(3), layer.weight_hh_l0.data.fill_(2)
        >>> dynamics = cd.adapt(layer)
        >>> starts = torch.tensor([[-1.0], [1.0]])
        >>> points = cd.find_fixed_points(dynamics, starts, torch.zeros(1, 1))
        >>> pulses = torch.tensor([1.0, 0.0, -1.0, -1.0, 1.0])[:, None, None]
        >>> runs = cd.record(layer, None, pulses)
        >>> counts = count_transitions(dynamics, cd.linearize(dynamics, points), runs)
        >>> counts.matrix().tolist()
        [[1, 1, 0], [1, 1, 0], [0, 1, 0]]
    """
    _checks.check_count("max_steps", max_steps)
    check_one_input(dynamics, linearization)
    points = linearization.points
    dynamics.check(runs.initial_states, points.inputs[:1], "runs.initial_states")
    ids, names = _read_tokens(tokens, symbols, runs)
    rows = attracting_rows(linearization)
    attractors = points.states[rows]
    valid = torch.nn.functional.pad(runs.valid, (1, 0), value=True)
    states = torch.cat([runs.initial_states[:, None], runs.states], dim=1)
    visited: States = states[valid].to(attractors)
    ends = follow(
        dynamics,
        visited,
        points.inputs[:1].expand(len(visited), -1),
        attractors,
        capture=capture_radii(points.states, attractors),
        max_steps=max_steps,
        show_progress=show_progress,
        desc="Visited states",
    )
    found: Counts = torch.where(ends.targets == UNRESOLVED, len(rows), ends.targets)
    basins = torch.zeros_like(valid, dtype=torch.long)
    basins[valid] = found
    steps = torch.stack([ids.to(basins), basins[:, :-1], basins[:, 1:]], dim=-1)
    moves, numbers = torch.unique(steps[runs.valid], dim=0, return_counts=True)
    return TransitionCounts(tuple(rows.tolist()), names, moves, numbers)


def _read_tokens(
    tokens: TokenIds | None, symbols: Sequence[str] | None, runs: Trajectories
) -> tuple[TokenIds, tuple[str, ...]]:
    if tokens is None:
        if symbols is not None:
            raise ValueError("Expected `tokens` together with `symbols`, got none.")
        return torch.full_like(runs.valid, OTHER, dtype=torch.long), ()
    if tokens.shape != runs.valid.shape or tokens.is_floating_point():
        raise ValueError(
            f"Expected `tokens` to be whole numbers of shape "
            f"{tuple(runs.valid.shape)}, got {tuple(tokens.shape)} of {tokens.dtype}."
        )
    read = tokens[runs.valid.to(tokens.device)]
    low, high = int(read.min()), int(read.max())
    names = tuple(map(str, range(high + 1))) if symbols is None else tuple(symbols)
    if low < OTHER or high >= len(names):
        raise ValueError(
            f"Expected `tokens` from -1 to {len(names) - 1}, an id for each of "
            f"{len(names)} symbols, got values from {low} to {high}."
        )
    return tokens, names
