"""The graph of what inputs do: from which attractor to which each symbol leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx
import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Graph, PerPoint
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.linearization import Linearization, Stability
from captum_dynamics.topology._attracting import attracting_rows, check_one_input
from captum_dynamics.topology._destinations import (
    AT_REST,
    UNRESOLVED,
    Destinations,
    capture_radii,
)
from captum_dynamics.topology._kicks import Kicks, read_symbols
from captum_dynamics.topology.automaton import Automaton, read_outputs

SCAN = 16  # amplitudes tried in equal steps before bisection
NAMED = 8  # transitions of one attractor that a summary spells out

Table = Int[Tensor, "a m"]
PerPair = Float[Tensor, "a m"]


@dataclass(frozen=True, eq=False)
class TransitionGraph:
    """Attractors as nodes; one edge from each of them for each symbol.

    Node i is row i of the linearization; only attractors are nodes. Ends at no known
    attractor are nodes after the last row: `kind` "unresolved" with the `reason`:
    "at rest", "still moves" or "runs off". Attractors have `kind` "fixed_point",
    `stability`, `residual_norm` and `spectral_radius`.

    Edges A -> A' have the symbol's place as their key, and carry `symbol`, `switches`
    (whether A' is another node), settling `steps`, `verified` (whether the end is
    inside the capture radius of A') and its `distance` there. Where some amplitude
    drives the state out of the basin of A, they carry the smallest as `threshold`, and
    `margin` = 1 - `threshold`. A threshold on an edge that does not switch means that
    weaker inputs do what the full one does not.

    Attributes:
        graph: a networkx MultiDiGraph with plain scalar attributes.
        linearization: the points behind the nodes.
        symbols: names, in the order of edge keys and table columns.
    """

    graph: Graph
    linearization: Linearization
    symbols: tuple[str, ...]

    @property
    def attractors(self) -> list[int]:
        """Rows of the linearization that attract, in the order of table rows."""
        nodes = self.graph.nodes(data=True)
        return [node for node, data in nodes if data["kind"] == "fixed_point"]

    @property
    def table(self) -> Table:
        """The node (a, m) to which each symbol leads from each attractor."""
        table = torch.full(self._shape, UNRESOLVED)
        for row, node in enumerate(self.attractors):
            for _, target, symbol in self.graph.out_edges(node, keys=True):
                table[row, symbol] = target
        return table

    @property
    def thresholds(self) -> PerPair:
        """Smallest amplitude (a, m) that leaves the basin; NaN where none does."""
        return self._numbers("threshold")

    @property
    def margins(self) -> PerPair:
        """1 - threshold (a, m): by how much each input is stronger than it need be."""
        return 1 - self.thresholds

    @property
    def steps(self) -> PerPair:
        """Steps (a, m) from a symbol's last input to capture, or to giving up."""
        return self._numbers("steps")

    def automaton(self, readout: Callable[[Tensor], Tensor]) -> Automaton:
        """The smallest machine that answers every word of symbols as the attractors do.

        A Moore machine: its output belongs to the state. Attractors that no word can
        tell apart by outputs become one state. Unresolved ends become states of their
        own that nothing leaves, with the output "unresolved".

        Args:
            readout: decodes states (a, d) of attractors to whole numbers or truth
                values, (a,) or (a, b): a class, or bits.

        Returns:
            The minimal machine; `members` tells which nodes each state stands for.

        Raises:
            TypeError: when the readout returns floating numbers: no two are equal.
            ValueError: when it does not return one row for each attractor.

        References:
            Moore (1956), Gedanken-experiments on sequential machines; Hopcroft (1971),
            for the algorithm.

        Example:
            >>> import torch, captum_dynamics as cd
            >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
            >>> starts = torch.tensor([[-1.0], [1.0]])
            >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
            >>> up = {"up": torch.tensor([3.0])}
            >>> found = cd.find_transitions(switch, cd.linearize(switch, points), up)
            >>> machine = found.automaton(lambda states: states[:, 0] > 0)
            >>> machine.run(0, ["up", "up"])
            ['0', '1', '1']
        """
        nodes = list(self.graph.nodes)
        attractors = self.attractors
        states = self.linearization.points.states[attractors].clone()
        outputs = read_outputs(readout, states)
        place = {node: row for row, node in enumerate(nodes)}
        table = [[place[node] for node in row] for row in self.table.tolist()]
        for node in nodes[len(attractors) :]:
            table.append([place[node]] * len(self.symbols))
            outputs.append("unresolved")
        return Automaton.minimal(table, outputs, self.symbols, nodes)

    def summary(self) -> str:
        """Count transitions, and say where each attractor goes, in plain words."""
        edges = self.graph.edges(data=True)
        switching = sum(data["switches"] for *_, data in edges)
        lost = sum(not data["verified"] for *_, data in edges)
        rows, columns = self._shape
        lines = [
            f"attractors: {rows}, symbols: {columns}; {switching} of {len(edges)} "
            f"transitions switch, {lost} end at no known attractor"
        ]
        found = self.thresholds[~self.thresholds.isnan()]
        if len(found):
            lines.append(
                f"thresholds {float(found.min()):.3g} to {float(found.max()):.3g} of "
                f"the full input ({len(found)} of {len(edges)} transitions have one)"
            )
        return "\n".join(lines + [self._describe(node) for node in self.attractors])

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.attractors), len(self.symbols)

    def _numbers(self, name: str) -> PerPair:
        numbers = torch.full(self._shape, torch.nan, dtype=torch.float64)
        for row, node in enumerate(self.attractors):
            for *_, symbol, data in self.graph.out_edges(node, keys=True, data=True):
                numbers[row, symbol] = data.get(name, torch.nan)
        return numbers

    def _describe(self, node: int) -> str:
        edges = list(self.graph.out_edges(node, data=True))
        gone = [(target, data) for _, target, data in edges if data["switches"]]
        words = [
            f"{data['symbol']} -> {self.graph.nodes[target].get('reason', target)}"
            for target, data in gone[:NAMED]
        ]
        if len(gone) > NAMED:
            words.append(f"{len(gone) - NAMED} more")
        words.append(f"stays under {len(edges) - len(gone)}")
        return f"  {node}: {', '.join(words)}"


@torch.no_grad()
def find_transitions(
    dynamics: DynamicsMap,
    linearization: Linearization,
    symbols: Mapping[str, Tensor],
    *,
    amplitudes: int = SCAN,
    tolerance: float = 1e-6,
    max_steps: int = 20_000,
    show_progress: bool = False,
) -> TransitionGraph:
    """Find from which attractor to which each input leads, and by what margin.

    The state is put at an attractor A under the constant input x* of the points. A
    symbol's inputs are fed, and the state settles under x* again: the attractor it
    reaches is where the symbol leads. Ends at no known attractor are nodes too.

    Of every pair, the threshold is the least amplitude a in (0, 1] for which the inputs
    x* + a (x - x*) drive the state out of the basin of A, to another attractor or to
    none that is known. It is found to `tolerance` by a scan of `amplitudes` equal steps
    and bisection; a window of amplitudes narrower than a step can be missed.

    For the fixed points under each symbol held constant, see `survey_fixed_points`,
    which takes all symbols at once, one a row.

    Args:
        dynamics: the map.
        linearization: of distinct points, all under the same input x*.
        symbols: name and input (k,) of every token or pulse, or inputs (steps, k).
        amplitudes: amplitudes to scan in equal steps, the full input the last. The
            scan is most of the work: with thousands of tokens, 1 takes those that
            switch at the full input for the only ones.
        tolerance: largest error of a threshold, as a share of the full input.
        max_steps: steps after which a trajectory counts as unresolved.
        show_progress: show progress bars.

    Returns:
        The graph; node i is row i of `linearization`. Without an attractor it is empty.

    Raises:
        TypeError: when `symbols` is no mapping from names to floating tensors.
        ValueError: when the points do not share one input, or points or inputs do not
            fit the map.

    References:
        Ceni et al. (2020), Interpreting recurrent neural networks behaviour via
        excitable network attractors, Cognitive Computation 12.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
        >>> starts = torch.tensor([[-1.0], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
        >>> pulses = {"up": torch.tensor([3.0]), "down": torch.tensor([-3.0])}
        >>> found = cd.find_transitions(switch, cd.linearize(switch, points), pulses)
        >>> found.table.tolist()
        [[1, 0], [1, 0]]
        >>> round(float(found.thresholds[0, 0]), 4)
        0.6383
    """
    _checks.check_count("amplitudes", amplitudes)
    _checks.check_count("max_steps", max_steps)
    _checks.check_positive("tolerance", tolerance)
    check_one_input(dynamics, linearization)
    points = linearization.points
    alphabet = read_symbols(symbols, dynamics, points.inputs[0])
    rows = attracting_rows(linearization)
    attractors = points.states[rows]
    capture = capture_radii(points.states, attractors)
    kicks = Kicks(dynamics, alphabet, attractors, capture, max_steps, show_progress)
    builder = _Builder(linearization, rows, kicks)
    columns = len(alphabet.names)
    steps, width = alphabet.inputs.shape[1:]
    each = 8 * amplitudes * (2 * steps * width + 4 * dynamics.state_dim)
    for part in row_chunks(len(rows) * columns, each):
        pairs = torch.arange(part.start, part.stop, device=rows.device)
        sources, which = pairs // columns, pairs % columns
        ends = kicks.settle(sources, which, attractors.new_ones(len(pairs)))
        leave = ends.targets != sources
        thresholds = kicks.thresholds(
            sources, which, leave, amplitudes=amplitudes, tolerance=tolerance
        )
        builder.add(sources, which, ends, thresholds)
    return TransitionGraph(builder.graph, linearization, alphabet.names)


class _Builder:
    """A graph under construction."""

    def __init__(
        self, linearization: Linearization, attractors: Counts, kicks: Kicks
    ) -> None:
        self.graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        self._alphabet = kicks.alphabet
        self._attractors = attractors.tolist()
        self._first_unresolved = len(linearization)
        self._reasons: dict[str, int] = {}
        for node in self._attractors:
            self.graph.add_node(
                node,
                kind="fixed_point",
                stability=Stability(int(linearization.stability[node])).name.lower(),
                residual_norm=float(linearization.points.residual_norms[node]),
                spectral_radius=float(linearization.spectral_radius[node]),
            )

    def add(
        self,
        sources: Counts,
        symbols: Counts,
        ends: Destinations,
        thresholds: PerPoint,
    ) -> None:
        """Add one edge for each kick."""
        # Settling under rest began before the end of sequences that were filled up.
        lengths = self._alphabet.lengths
        steps = ends.steps + (lengths.max() - lengths)[symbols]
        columns = (sources, symbols, steps, ends.targets, ends.distances)
        rows = zip(
            *(column.tolist() for column in columns),
            ends.residual_norms.tolist(),
            thresholds.tolist(),
            strict=True,
        )
        for source, symbol, step, target, distance, norm, threshold in rows:
            data: dict[str, Any] = {"symbol": self._alphabet.names[symbol]}
            node = self._attractors[source]
            known = target != UNRESOLVED
            end = self._attractors[target] if known else self._unresolved(norm)
            data |= {"switches": end != node, "steps": step, "verified": known}
            if known:
                data["distance"] = distance
            if threshold == threshold:  # NaN where no amplitude switches
                data |= {"threshold": threshold, "margin": 1 - threshold}
            self.graph.add_edge(node, end, key=symbol, **data)

    def _unresolved(self, residual_norm: float) -> int:
        """The node of all ends that are no known attractor for the same reason."""
        reason = "runs off"
        if residual_norm < float("inf"):
            reason = "at rest" if residual_norm < AT_REST else "still moves"
        if reason not in self._reasons:
            node = self._first_unresolved + len(self._reasons)
            self._reasons[reason] = node
            self.graph.add_node(
                node, kind="unresolved", stability="unknown", reason=reason
            )
        return self._reasons[reason]
