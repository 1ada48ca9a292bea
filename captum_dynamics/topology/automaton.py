"""A finite machine with an output for each state, in its smallest form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx
import torch
from jaxtyping import Int
from torch import Tensor

from captum_dynamics._typing import States
from captum_dynamics.topology._hopcroft import equivalent_states


@dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic Moore machine: outputs belong to states, symbols move them.

    It has no first state: each may be one.

    Attributes:
        table: the next state (s, m) of each state under each symbol.
        outputs: of each state, as text: bits "101", or whole numbers "3" or "3,1".
        symbols: names of the columns of the table.
        members: nodes of the transition graph that each state stands for.
    """

    table: Int[Tensor, "s m"]
    outputs: tuple[str, ...]
    symbols: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Number of states."""
        return len(self.outputs)

    @classmethod
    def minimal(
        cls,
        table: Sequence[Sequence[int]],
        outputs: Sequence[str],
        symbols: Sequence[str],
        nodes: Sequence[int],
    ) -> Automaton:
        """Merge states that no word tells apart.

        Args:
            table: the next state of each state under each symbol.
            outputs: of each state.
            symbols: names of the columns of the table.
            nodes: what each state stands for.

        Returns:
            The minimal machine, states in the order of their first members.
        """
        classes = equivalent_states(table, outputs)
        members: list[list[int]] = [[] for _ in set(classes)]
        for state, number in enumerate(classes):
            members[number].append(state)
        firsts = [group[0] for group in members]
        rows = [[classes[target] for target in table[first]] for first in firsts]
        return cls(
            torch.tensor(rows, dtype=torch.long).reshape(len(firsts), len(symbols)),
            tuple(outputs[first] for first in firsts),
            tuple(symbols),
            tuple(tuple(nodes[state] for state in group) for group in members),
        )

    @property
    def graph(self) -> nx.MultiDiGraph[int]:
        """States with their `output`, and an edge for every symbol, as networkx."""
        graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        for state, output in enumerate(self.outputs):
            names = ",".join(map(str, self.members[state]))
            graph.add_node(state, output=output, members=names)
        for state, targets in enumerate(self.table.tolist()):
            for key, target in enumerate(targets):
                graph.add_edge(state, target, key=key, symbol=self.symbols[key])
        return graph

    def run(self, start: int, word: Sequence[str]) -> list[str]:
        """Read a word of symbols and say the outputs on the way, the first included.

        Args:
            start: the state to begin in.
            word: names of symbols.

        Returns:
            One output more than there are symbols.

        Raises:
            ValueError: for a state or a symbol that the machine does not have.
        """
        if not 0 <= start < len(self):
            raise ValueError(
                f"Expected `start` to be a state from 0 to {len(self) - 1}, got "
                f"{start}."
            )
        columns = {name: column for column, name in enumerate(self.symbols)}
        unknown = [name for name in word if name not in columns]
        if unknown:
            raise ValueError(
                f"Expected `word` to hold symbols of the machine, got {unknown[0]!r}; "
                f"it knows {', '.join(self.symbols)}."
            )
        states = [start]
        for name in word:
            states.append(int(self.table[states[-1], columns[name]]))
        return [self.outputs[state] for state in states]

    def summary(self) -> str:
        """Outputs and sizes of the states, in plain words."""
        lines = [f"{len(self)} states, {len(self.symbols)} symbols"]
        for state, output in enumerate(self.outputs):
            nodes = ", ".join(map(str, self.members[state]))
            lines.append(f"  {state}: output {output}, nodes {nodes}")
        return "\n".join(lines)


def read_outputs(readout: Callable[[Tensor], Tensor], states: States) -> list[str]:
    """Decode states, and write what each says as text."""
    if not len(states):
        return []
    values = readout(states)
    if not isinstance(values, Tensor) or values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(
            f"Expected `readout` to return a tensor of whole numbers or truth values, "
            f"got {got}; decode it, by `> 0` or `.argmax(-1)`."
        )
    if values.ndim not in (1, 2) or len(values) != len(states):
        raise ValueError(
            f"Expected `readout` to return shape ({len(states)},) or "
            f"({len(states)}, b), got {tuple(values.shape)}."
        )
    between = "" if values.dtype == torch.bool else ","
    rows = values.reshape(len(states), -1).tolist()
    return [between.join(str(int(value)) for value in row) for row in rows]
