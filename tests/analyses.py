"""A small analysis to draw: a GRU that forgets so slowly that every state lingers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import networkx as nx
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.analysis import Analysis
from captum_dynamics.topology import SlowManifold, trace_slow_manifold

TOKENS = ("<b>bold</b>", "$5 & up", "", "plain")
STEPS = 12


class Slow(nn.Module):
    """Sequences in, one number from the last state out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.rnn = nn.GRU(4, width, batch_first=True)
            self.readout = nn.Linear(width, 1)
        with torch.no_grad():
            # An update gate of .998 moves the state by 2 parts in 1,000; inputs away
            # from their mean open it.
            self.rnn.bias_ih_l0[width : 2 * width] = 6.0
            self.rnn.weight_ih_l0[width : 2 * width] *= 10.0

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0][:, -1])


@cache
def small_analysis(width: int = 6, *, named: bool = True) -> Analysis:
    """Analyse the slow GRU; with names for its inputs, or without any."""
    generator = torch.Generator().manual_seed(2)
    sequences = torch.randn(20, STEPS, 4, generator=generator)
    vectors = torch.randn(40, 4, generator=generator)
    names = [f"<w{row}>" for row in range(len(vectors))]
    return cd.analyze(
        Slow(width).eval(),
        "rnn",
        sequences,
        compare=[IntegratedGradients, Saliency],
        tokens=[TOKENS * (STEPS // len(TOKENS))] * len(sequences) if named else None,
        words=cd.NamedInputs(names, vectors, vectors[:, 0]) if named else None,
        explained=3,
        starts=16,
    )


def no_slow_points(width: int = 6) -> SlowManifold:
    """Trace the slow points of a rotation, which has none away from 0."""
    turn = torch.eye(width, dtype=torch.float64).roll(1, 0)
    rotation = cd.FunctionAdapter(lambda h, x: -h @ turn, width, 0)
    states = torch.randn(30, width, generator=torch.Generator().manual_seed(3))
    return trace_slow_manifold(rotation, states, torch.zeros(1, 0), task_step=1.0)


def without_any_point(analysis: Analysis) -> Analysis:
    """Replace fixed and slow points by none."""
    none = no_slow_points()
    graph = cd.FixedPointGraph(nx.MultiDiGraph(), none.linearization)
    return replace(analysis, manifold=none, graph=graph)


def with_kind(analysis: Analysis, kind: cd.Kind) -> Analysis:
    """Relabel all distinct points."""
    linear = analysis.linearization
    kinds = torch.full_like(linear.points.kind, int(kind))
    points = replace(linear.points, kind=kinds)
    graph = analysis.graph.graph.copy()
    nx.set_node_attributes(graph, kind.name.lower(), "kind")
    relabelled = cd.FixedPointGraph(graph, replace(linear, points=points))
    return replace(analysis, graph=relabelled)


def with_nan(analysis: Analysis) -> Analysis:
    """Lose some numbers of words and contributions."""
    words, documents = analysis.words, analysis.documents
    lost = torch.arange(len(words.projections)) % 3 == 0
    projections = torch.where(lost, torch.nan, words.projections)
    plane = torch.where(lost[:, None], torch.nan, words.plane)
    explanations = tuple(
        replace(e, contributions=torch.full_like(e.contributions, torch.nan))
        for e in documents.explanations
    )
    return replace(
        analysis,
        words=replace(
            words,
            projections=projections,
            plane=plane,
            scores=torch.full_like(words.scores, torch.nan),
            leading=torch.full_like(words.leading, torch.nan),
        ),
        documents=replace(documents, explanations=explanations),
    )
