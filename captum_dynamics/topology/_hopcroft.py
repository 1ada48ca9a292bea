"""Minimal machines: which states no sequence of symbols can tell apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def equivalent_states(
    table: Sequence[Sequence[int]], outputs: Sequence[Hashable]
) -> list[int]:
    """Class of each state: one class where all words lead to the same outputs.

    Partition refinement: states of different outputs are apart; a class is split where
    a symbol takes only a part of it into another class. Of two halves the smaller is
    enough to split others by, hence O(m n log n) for n states and m symbols.

    Args:
        table: the next state of each state under each symbol.
        outputs: of each state.

    Returns:
        Numbers from 0, in the order of each class's first state.

    References:
        Hopcroft (1971), An n log n algorithm for minimizing states in a finite
        automaton.

    Example:
        >>> equivalent_states([[1], [2], [1]], ["a", "b", "b"])
        [0, 1, 1]
    """
    sources = _inverse(table)
    classes: dict[Hashable, set[int]] = {}
    for state, output in enumerate(outputs):
        classes.setdefault(output, set()).add(state)
    partition = list(classes.values())
    waiting = {
        (number, symbol)
        for number in range(len(partition))
        for symbol in range(len(sources))
    }
    where = {state: i for i, members in enumerate(partition) for state in members}
    while waiting:
        splitter, symbol = waiting.pop()
        arriving: dict[int, set[int]] = {}
        for target in partition[splitter]:
            for state in sources[symbol].get(target, ()):
                arriving.setdefault(where[state], set()).add(state)
        for number, inside in arriving.items():
            if len(inside) == len(partition[number]):
                continue
            partition[number] -= inside
            smaller, larger = sorted((inside, partition[number]), key=len)
            # The larger half keeps the number, and its place among the waiting.
            partition[number] = larger
            where.update(dict.fromkeys(smaller, len(partition)))
            waiting.update((len(partition), each) for each in range(len(sources)))
            partition.append(smaller)
    order = {number: i for i, number in enumerate(dict.fromkeys(_by_state(where)))}
    return [order[number] for number in _by_state(where)]


def _inverse(table: Sequence[Sequence[int]]) -> list[dict[int, list[int]]]:
    """For each symbol, the states from which it leads to each state."""
    sources: list[dict[int, list[int]]] = [{} for _ in (table[0] if table else ())]
    for state, targets in enumerate(table):
        for symbol, target in enumerate(targets):
            sources[symbol].setdefault(target, []).append(state)
    return sources


def _by_state(where: dict[int, int]) -> list[int]:
    return [where[state] for state in range(len(where))]
