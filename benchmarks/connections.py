"""Connections between the fixed points of trained flip-flops: found, missing, spurious.

    python benchmarks/connections.py --out connections.md
    python benchmarks/connections.py --nets FOLDER --only gru

A 3-bit flip-flop that has learned a cube has 54 connections that lose one unstable
dimension: 6 from its centre, 24 from its faces, 24 from its edges. Which of them are
right is decided without `connect`: pulses tell the signs of the attractors, a linear
readout of those the signs of all points, zero for a bit that is undecided, and a
connection decides one bit. The first run trains the nets, and keeps them (--cache).
"""

from __future__ import annotations

import itertools
import time
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from functools import partial
from pathlib import Path

import torch
from _nets import Net, Recipe, flipflop_net, folder_recipes
from _table import load_line, machine_lines
from fixed_points import user_cache
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from tqdm import tqdm

import captum_dynamics as cd

HEAD = "net d points 3>2 2>1 1>0 missing spurious Betti audit survey connect"
CELLS, WIDTHS = ("gru", "lstm", "tanh"), (16, 24)
SETTLING = 2000  # steps after a pulse
Pairs = Counter[tuple[int, int]]


def main() -> None:
    """Print one line a net."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nets", type=Path, nargs="+", default=[], help="folders of safetensors files")
    add("--nets-a-size", type=int, default=2, help="trained seeds (%(default)s)")
    add("--threads", type=int, default=1, help="of torch (%(default)s)")
    add("--only", nargs="+", default=[""], metavar="NAME", help="parts of names")
    add("--cache", type=Path, default=user_cache(), help="folder of trained nets")
    add("--out", type=Path, help="Markdown file to write")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipes = [
        Recipe(
            f"flipflop-{cell}-{width}-s{seed}",
            partial(flipflop_net, cell, width, seed, given.cache),
        )
        for cell, width in itertools.product(CELLS, WIDTHS)
        for seed in range(given.nets_a_size)
    ]
    recipes += folder_recipes(given.nets)
    lines = [f"- {line}" for line in (*machine_lines(), load_line("before"))] + [""]
    lines += [row(HEAD.split()), row(["---"] * len(HEAD.split()))]
    chosen = [r for r in recipes if any(part in r.name for part in given.only)]
    for recipe in tqdm(chosen, desc="Nets"):
        lines.append(row([recipe.name, *cells(recipe.build())]))
        tqdm.write(lines[-1])
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(values: list[str]) -> str:
    """One line of the table."""
    return f"| {' | '.join(values)} |"


def cells(net: Net) -> list[str]:
    """All that is known of one net's connections; CPU seconds come last."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cd.ConvergenceWarning)
        points = cd.survey_fixed_points(
            net.dynamics,
            net.visited,
            net.inputs,
            generator=torch.Generator().manual_seed(0),
        ).points
    linear = cd.linearize(net.dynamics, points[points.kind == cd.Kind.FIXED])
    surveyed = time.process_time()
    graph = cd.connect(net.dynamics, linear, generator=torch.Generator().manual_seed(0))
    audit = graph.audit
    ended = time.process_time()
    edges: Pairs = Counter(
        (a, b)
        for a, b, data in graph.graph.edges(data=True)
        if data["unstable_drop"] == 1 and data["verified"]
    )
    dims = linear.unstable_dims.tolist()
    levels = Counter(dims[source] for source, _ in edges.elements())
    expected = cube_edges(net, linear)
    known = expected is not None
    missing = str(((expected or Counter()) - edges).total()) if known else "?"
    spurious = str((edges - (expected or Counter())).total()) if known else "?"
    return [
        str(net.dynamics.state_dim),
        str(len(linear)),
        *(str(levels[dim]) for dim in (3, 2, 1)),
        missing,
        spurious,
        ", ".join(map(str, audit.betti)),
        audit.verdict.name.lower().replace("_", " "),
        f"{surveyed - began:.2g}",
        f"{ended - surveyed:.3g}",
    ]


def cube_edges(net: Net, linear: cd.Linearization) -> Pairs | None:
    """Connections that decide one bit; None where the points are those of no cube."""
    dims = linear.unstable_dims
    corners = torch.nonzero(dims == 0)[:, 0]
    states = linear.points.states
    if dims.bincount().tolist() != [8, 12, 6, 1]:
        return None
    signs = attractor_signs(net, states[corners])
    if len(torch.unique(signs, dim=0)) != 8:
        return None
    ones = torch.ones_like(states[:, :1])
    with_one = torch.cat([states, ones], 1)
    readout = torch.linalg.pinv(with_one[corners]) @ signs
    decoded = with_one @ readout
    words: dict[int, tuple[float, ...]] = {}
    for dim in range(4):
        rows = torch.nonzero(dims == dim)[:, 0]
        faces = [
            word
            for word in itertools.product((-1.0, 0.0, 1.0), repeat=3)
            if word.count(0.0) == dim
        ]
        costs = torch.cdist(decoded[rows], torch.tensor(faces, dtype=states.dtype))
        for point, face in zip(*linear_sum_assignment(costs.numpy()), strict=True):
            words[int(rows[point])] = faces[face]
    return Counter(
        (a, b)
        for a, b in itertools.permutations(words, 2)
        if words[a].count(0.0) - words[b].count(0.0) == 1
        and all(x in (0.0, y) for x, y in zip(words[a], words[b], strict=True))
    )


def attractor_signs(net: Net, states: Tensor) -> Tensor:
    """Bits (n, 3) of attractors: +1 where a positive pulse changes nothing."""
    signs = []
    rest = net.inputs.expand(len(states), -1)
    for bit in range(3):
        pulse = rest.clone()
        pulse[:, bit] = 1
        after = net.dynamics.step(states, pulse)
        for _ in range(SETTLING):
            after = net.dynamics.step(after, rest)
        stays = torch.cdist(after, states).argmin(1) == torch.arange(len(states))
        signs.append(torch.where(stays, 1.0, -1.0))
    return torch.stack(signs, 1).to(states)


if __name__ == "__main__":
    main()
