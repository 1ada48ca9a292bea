"""Branches of fixed points over a parameter, their events, and how they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import networkx as nx
import torch
from jaxtyping import Complex
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, Graph, OneState, PerPoint, States
from captum_dynamics.fixed_points import FixedPoints

# Ends of branches are solved to rounding: closer than this they are one point.
SAME = 1e-6


class EventKind(IntEnum):
    """What happens to a fixed point as the parameter moves."""

    FOLD = 0
    """It meets another one, and both are gone: the branch turns back."""
    BRANCH_POINT = 1
    """Another branch crosses here: a pitchfork or a transcritical point."""
    FLIP = 2
    """A multiplier passes -1: a cycle of two states is born or dies."""
    NEIMARK_SACKER = 3
    """A complex pair passes the unit circle: an invariant circle is born or dies."""
    CORNER = 4
    """Multipliers jump at a kink of the map, such as that of a ReLU."""
    CORNER_FOLD = 5
    """It meets another one at a kink, and both are gone: the branch turns back."""


class BranchEnd(IntEnum):
    """Why a branch was followed no further."""

    REACHED = 0
    """It came to the end of the path."""
    RETURNED = 1
    """It turned back, and came to the start of the path again."""
    CLOSED = 2
    """It came back to the branch point that it left."""
    DIVERGED = 3
    """Its states grew beyond bounds."""
    STEP_UNDERFLOW = 4
    """No step was small enough: the map is not smooth there, or singular."""
    MAX_STEPS = 5
    """The budget of steps was used up."""


@dataclass(frozen=True, eq=False)
class Event:
    """Where the stability of a branch, or its direction, changes.

    Attributes:
        kind: what happens.
        row: the event lies between this row of the branch and the next.
        state: (d,), solved for together with the condition of its kind.
        parameter: value of the parameter at the event.
        multiplier: the multiplier that is on the unit circle; of a pair, the one
            with the positive imaginary part; at a corner, one that jumps there.
        multiplicity: how many multipliers lie there; 0 at corners.
        residual_norm: |F(h) - h|, recomputed at `state`.
    """

    kind: EventKind
    row: int
    state: OneState
    parameter: float
    multiplier: complex
    multiplicity: int
    residual_norm: float

    @property
    def name(self) -> str:
        """The kind in plain words."""
        return self.kind.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False)
class Branch:
    """Fixed points that hang together, in the order in which they were followed.

    Attributes:
        states: (m, d), in float64; of a branch that was switched to, the first is the
            branch point.
        parameters: (m,) value of the parameter at each.
        residual_norms: |F(h) - h| (m,), recomputed at `states`.
        multipliers: (m, k) of largest magnitude, six at most.
        unstable_dims: (m,) number of multipliers outside the unit circle.
        events: in the order in which they were passed.
        end: why the branch was followed no further.
        point: row of the given points where it starts; -1 if it was switched to.
        parent: row of the branch that it leaves at a branch point; -1 if none.
    """

    states: States
    parameters: PerPoint
    residual_norms: PerPoint
    multipliers: Complex[Tensor, "n k"]
    unstable_dims: Counts
    events: tuple[Event, ...]
    end: BranchEnd
    point: int
    parent: int

    def __len__(self) -> int:
        """Number of states."""
        return len(self.states)

    def summary(self) -> str:
        """Say where the branch starts, what it passes and how it ends, in one line."""
        last = float(self.parameters[-1])
        start = f"point {self.point}"
        if self.parent >= 0:
            first = float(self.parameters[0])
            start = f"from branch {self.parent} at {first:.6g}"
        passed = [f"{event.name} at {event.parameter:.6g}" for event in self.events]
        first, after = int(self.unstable_dims[0]), int(self.unstable_dims[-1])
        if self.parent >= 0 and len(self) > 1:
            first = int(self.unstable_dims[1])  # the branch point itself is neutral
        stability = f"{first} unstable" + (f" to {after}" if after != first else "")
        ends = {
            BranchEnd.REACHED: "reaches the end",
            BranchEnd.RETURNED: "comes back to the start",
            BranchEnd.CLOSED: "closes at the branch point it left",
            BranchEnd.DIVERGED: f"leaves all bounds near {last:.6g}",
            BranchEnd.STEP_UNDERFLOW: f"is lost at {last:.6g}: no step is small enough",
            BranchEnd.MAX_STEPS: f"is cut at {last:.6g}: the steps were used up",
        }
        middle = f"passes {', '.join(passed)}; " if passed else ""
        return f"{start}: {middle}{ends[self.end]}; {stability}"


@dataclass(frozen=True, eq=False)
class Branches:
    """Branches of the given points, and those that cross them.

    Branch i starts at point i; branches that were switched to come after all of them.

    Attributes:
        branches: in that order.
        points: where the first branches start.
        start: value of the parameter at the points.
        end: value of the parameter at the other end.
        name: what the parameter is, in a few words.
        untried: branch points whose crossing branch was not followed: more than
            `max_new_branches`, several multipliers at once, or no first step.
    """

    branches: tuple[Branch, ...]
    points: FixedPoints
    start: float
    end: float
    name: str
    untried: int

    def __len__(self) -> int:
        """Number of branches."""
        return len(self.branches)

    def __getitem__(self, row: int) -> Branch:
        """One branch."""
        return self.branches[row]

    def __iter__(self) -> Iterator[Branch]:
        """Go through the branches."""
        return iter(self.branches)

    def summary(self) -> str:
        """Count how branches end, then one line for each."""
        kinds = Counter(branch.end.name.lower() for branch in self)
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in kinds.items())
        plural = "branch" if len(self) == 1 else "branches"
        lines = [f"{len(self)} {plural} from {self.start:g} to {self.end:g}: {counts}"]
        ends = [end for _, end, _ in sorted(self.graph.edges(data="branch"), key=_last)]
        for row, (branch, end) in enumerate(zip(self, ends, strict=True)):
            met = branch.end == BranchEnd.RETURNED and end < len(self.points)
            other = f" (it is one with point {end})" if met else ""
            lines.append(f"  {row}: {branch.summary()}{other}")
        if self.untried:
            lines.append(f"  crossing branches not followed: {self.untried}")
        return "\n".join(lines)

    def heights(self, readout: OneState | None = None) -> tuple[PerPoint, ...]:
        """One number for each state of each branch, to draw it.

        Args:
            readout: weights (d,); by default the first principal component of all
                states, whose largest weight is positive.
        """
        weights = self._weights(readout)
        return tuple(branch.states @ weights for branch in self)

    def event_heights(self, readout: OneState | None = None) -> tuple[list[float], ...]:
        """The same number for each event of each branch."""
        weights = self._weights(readout)
        return tuple(
            [float(event.state @ weights) for event in branch.events] for branch in self
        )

    def _weights(self, readout: OneState | None) -> OneState:
        if readout is None:
            return self._first_component()
        first = self.branches[0].states
        _checks.check_floating("readout", readout)
        _checks.check_shape("readout", readout, (first.shape[1],))
        return readout.detach().to(first)

    def _first_component(self) -> OneState:
        states = torch.cat([branch.states for branch in self])
        axes = torch.linalg.svd(states - states.mean(0), full_matrices=False)[2]
        axis: Tensor = axes[0]
        return axis * axis[axis.abs().argmax()].sign()

    @property
    def repeated(self) -> tuple[bool, ...]:
        """Whether each branch is an earlier one that was followed the other way."""
        partners = {p: q for p, q in self.graph.edges() if q < p < len(self.points)}
        return tuple(row in partners for row in range(len(self)))

    @property
    def graph(self) -> Graph:
        """Which point becomes which, as a networkx MultiDiGraph of plain scalars.

        Nodes 0 to n - 1 are the given points. Nodes carry `kind` ("start", "end",
        "branch_point", or "lost" where a branch was followed no further), `parameter`
        and, but for lost ones, `unstable_dim`. Every branch is one edge with its row
        `branch`, its `end`, and how many events of each kind it passes.
        """
        return _Nodes(self).graph


def _last(edge: tuple[int, int, int]) -> int:
    return edge[2]


class _Nodes:
    """Ends of branches as nodes, each point once."""

    def __init__(self, branches: Branches) -> None:
        self.graph: Graph = nx.MultiDiGraph()
        self._places: list[tuple[str, OneState, float]] = []
        for row in range(len(branches.points)):
            branch = branches[row]
            self._add("start", branch.states[0], branches.start, branch, 0)
        for row, branch in enumerate(branches):
            source = branch.point
            if source < 0:
                first = float(branch.parameters[0])
                source = self._known("branch_point", branch, 0, first)
            target = self._target(branch, branches)
            kinds = Counter(event.kind.name.lower() for event in branch.events)
            counts = {kind.name.lower(): 0 for kind in EventKind} | kinds
            data = {"branch": row, "end": branch.end.name.lower(), **counts}
            self.graph.add_edge(source, target, **data)

    def _target(self, branch: Branch, branches: Branches) -> int:
        if branch.end == BranchEnd.REACHED:
            return self._known("end", branch, -1, branches.end)
        if branch.end == BranchEnd.RETURNED:
            return self._known("start", branch, -1, branches.start)
        last = float(branch.parameters[-1])
        if branch.end == BranchEnd.CLOSED:
            return self._known("branch_point", branch, -1, last)
        node = len(self._places)
        self._places.append(("lost", branch.states[-1], last))
        self.graph.add_node(node, kind="lost", parameter=last)
        return node

    def _known(self, kind: str, branch: Branch, row: int, parameter: float) -> int:
        """The node of a kind at one end of a branch; a new one if there is none."""
        state = branch.states[row]
        reach = SAME * (1 + float(state.norm()))
        for node, (other, place, value) in enumerate(self._places):
            near = float((place - state).norm()) <= reach
            if other == kind and near and abs(value - parameter) <= SAME:
                return node
        return self._add(kind, state, parameter, branch, row)

    def _add(
        self, kind: str, state: OneState, parameter: float, branch: Branch, row: int
    ) -> int:
        node = len(self._places)
        self._places.append((kind, state, parameter))
        data: dict[str, Any] = {"kind": kind, "parameter": parameter}
        data["unstable_dim"] = int(branch.unstable_dims[row])
        self.graph.add_node(node, **data)
        return node
