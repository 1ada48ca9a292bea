"""Graph edit distance between two skeletons, from below and from above.

Edits cost 1 each: adding or removing a node or an orbit, changing a node's label. To
map a node then never costs more than to remove it and add another, so that the best
edit maps all nodes of the smaller graph, and is a quadratic assignment: choose the
permutation X that maximises <C, X> + 2 sum_t <A_t, X B_t X^T>, where C is what mapping
a node saves, and A_t and B_t tell between which nodes there are t orbits or more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from captum_dynamics.topology._skeleton import Orbits, Skeleton

Numbers = NDArray[np.float64]
Choice = NDArray[np.int64]  # the place in the second of each node of the first
STARTS = 40
SEED = 0  # of the starts: the same graphs give the same bounds
ROUNDS = 50  # of one ascent; it is over after about ten
SMALL = 8  # nodes up to which an exact search is tried


@dataclass(frozen=True, eq=False)
class Edit:
    """Bounds of the edit distance, and the mapping that costs the upper one."""

    lower: int
    upper: int
    mapping: dict[int, int]


def edit_distance(first: Skeleton, second: Skeleton, time_limit: float) -> Edit:
    """Bound the edit distance of two that are not isomorphic, exactly where cheap."""
    lower = max(1, _lower_bound(first, second))
    problem = _Assignment(first, second)
    upper, best = problem.solve(lower)
    largest = max(first.size, second.size)
    if lower < upper and 0 < largest <= SMALL:
        lower = _search(first, second, time_limit) or lower
    places = enumerate(best[: first.size].tolist())
    return Edit(lower, upper, {a: b for a, b in places if b < second.size})


class _Assignment:
    """The edit of one graph into another as a quadratic assignment, on padded nodes."""

    def __init__(self, first: Skeleton, second: Skeleton) -> None:
        self.size = max(first.size, second.size)
        pads = [(0, self.size - first.size), (0, self.size - second.size)]
        self._first = np.pad(first.orbits, pads[0])
        self._second = np.pad(second.orbits, pads[1])
        self._saved = np.pad(2.0 - _relabelled(first, second), pads)
        self._dearest = (
            first.size + second.size + int(first.orbits.sum() + second.orbits.sum())
        )
        most = max(self._first.max(initial=0), self._second.max(initial=0))
        self._layers = [
            ((self._first >= t).astype(float), (self._second >= t).astype(float))
            for t in range(1, most + 1)
        ]

    def solve(self, goal: int) -> tuple[int, Choice]:
        """Least cost found, with the choice that has it; stop when it meets `goal`."""
        best = np.arange(self.size)
        least = self.cost(best)
        for start in self._starts():
            for choice in self._ascend(start):
                if (cost := self.cost(choice)) < least:
                    least, best = cost, choice
            if least <= goal:
                break
        return least, best

    def cost(self, choice: Choice) -> int:
        """What the edit costs that maps each node i of the first to choice[i]."""
        moved = self._second[np.ix_(choice, choice)]
        kept = np.minimum(self._first, moved).sum()
        saved = self._saved[np.arange(self.size), choice].sum()
        return round(float(self._dearest - saved - 2 * kept))

    def _starts(self) -> Iterator[Numbers]:
        """Equal shares for all nodes of the same label, then shares drawn at random."""
        likely = np.where(self._saved == 2, 1.0, 0.1)
        shares = likely / likely.sum(1, keepdims=True)
        yield shares
        random = np.random.default_rng(SEED)
        for _ in range(STARTS - 1):
            yield shares * random.exponential(size=shares.shape)

    def _ascend(self, share: Numbers) -> Iterator[Choice]:
        """Vertices on the way of Frank and Wolfe's ascent (Leordeanu 2009, IPFP)."""
        for _ in range(ROUNDS):
            gradient = self._saved + 2 * sum(
                (a @ share @ b.T + a.T @ share @ b for a, b in self._layers),
                np.zeros_like(share),
            )
            rows, choice = linear_sum_assignment(gradient, maximize=True)
            yield choice
            way = -share
            way[rows, choice] += 1
            slope = (gradient * way).sum()
            if slope <= 1e-9:
                return
            bend = 2 * sum((a * (way @ b @ way.T)).sum() for a, b in self._layers)
            step = min(1.0, -slope / (2 * bend)) if bend < 0 else 1.0
            share = share + step * way


def _relabelled(first: Skeleton, second: Skeleton) -> Numbers:
    """1 where mapping one node to another changes its label, else 0."""
    changed = [[float(a != b) for b in second.labels] for a in first.labels]
    return np.array(changed).reshape(first.size, second.size)


def _lower_bound(first: Skeleton, second: Skeleton) -> int:
    """Each node with half of its orbits, assigned at least cost (Blumenthal 2018)."""
    n, m = first.size, second.size
    sides = [np.stack([g.orbits.sum(1), g.orbits.sum(0)], 1) for g in (first, second)]
    costs = np.full((n + m, n + m), np.inf)
    unlike = np.abs(sides[0][:, None] - sides[1][None]).sum(-1)
    costs[:n, :m] = _relabelled(first, second) + unlike / 2
    costs[np.arange(n), m + np.arange(n)] = 1 + sides[0].sum(1) / 2
    costs[n + np.arange(m), np.arange(m)] = 1 + sides[1].sum(1) / 2
    costs[n:, m:] = 0
    least = costs[linear_sum_assignment(costs)].sum()
    return int(np.ceil(least - 1e-9))  # the distance is a whole number


def _search(first: Skeleton, second: Skeleton, time_limit: float) -> int:
    """The distance, which is not 0, by networkx; 0 if its search was cut short."""
    began = time.monotonic()
    least = nx.graph_edit_distance(
        _plain(first),
        _plain(second),
        node_match=lambda a, b: a["label"] == b["label"],
        edge_subst_cost=lambda a, b: abs(a["orbits"] - b["orbits"]),
        edge_del_cost=lambda a: a["orbits"],
        edge_ins_cost=lambda a: a["orbits"],
        timeout=time_limit,
    )
    done = least is not None and time.monotonic() - began < time_limit
    return int(least) if done else 0


def _plain(graph: Skeleton) -> nx.DiGraph[int]:
    plain: nx.DiGraph[int] = nx.DiGraph()
    plain.add_nodes_from((row, {"label": x}) for row, x in enumerate(graph.labels))
    orbits: Orbits = graph.orbits
    for source, target in np.argwhere(orbits).tolist():
        plain.add_edge(source, target, orbits=int(orbits[source, target]))
    return plain
