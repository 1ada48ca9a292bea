"""The flip-flop: one graph of fixed points for all architectures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import torch

import captum_dynamics.plots as plots
from captum_dynamics._typing import Graph
from captum_dynamics.adapters import adapt
from captum_dynamics.completeness import CompletenessReport, Verdict
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import (
    Claim,
    at_least,
    at_most,
    holds,
    reported,
)
from captum_dynamics.experiments.universality._geometry import (
    compare_geometry,
    draw_embeddings,
    visited_units,
)
from captum_dynamics.experiments.universality._plan import NAMES, Plan
from captum_dynamics.linearization import linearize
from captum_dynamics.models import ARCHITECTURES
from captum_dynamics.recording import record
from captum_dynamics.survey import survey_fixed_points
from captum_dynamics.tasks.flipflop import (
    FlipFlopNet,
    evaluate_flipflop,
    load_flipflop,
    sample_flipflop,
    save_flipflop,
    train_flipflop,
)
from captum_dynamics.topology import (
    AuditVerdict,
    FixedPointGraph,
    compare_graphs,
    connect,
    graph_distances,
)

ACCURACY = 0.99  # of a net that has learned the task; set before the run
ROUNDING = 1e-9  # of spectral distances, in nodes


@dataclass(frozen=True, eq=False)
class Memory:
    """A trained network and what is known of its fixed points at zero input.

    Attributes:
        name: architecture and seed.
        accuracy: share of right answers.
        counts: fixed points with 0, 1, 2, ... unstable dimensions.
        report: how far they can be trusted to be all.
        graph: how they hang together.
    """

    name: str
    accuracy: float
    counts: tuple[int, ...]
    report: CompletenessReport
    graph: FixedPointGraph


def run(bench: Bench, plan: Plan) -> None:
    """Train networks, and compare their graphs and their states."""
    nets = [_net(bench, plan, arch, seed) for arch, seed in plan.nets]
    found = []
    for (arch, seed), net in zip(plan.nets, nets, strict=True):
        name = f"{NAMES[arch]}, seed {seed}"
        bench.say(f"flip-flop, {name}: fixed points and connections")
        found.append(analyze_memory(name, net, bench.generator()))
    bench.section(
        f"{plan.bits}-bit flip-flop: one topology",
        f"{len(nets)} networks of {plan.memory_size} units, {plan.memory_updates} "
        "updates each. Fixed points at zero input are searched until a doubling of the "
        "starts brings nothing new, and connected. Two graphs are compared by the "
        "stability of their points and by the single connections between them.",
    )
    claim_graphs(bench, found, ideal_graph(plan.bits))
    _draw_graphs(bench, plan, found)
    inputs = sample_flipflop(64, 64, bits=plan.bits, generator=bench.generator()).inputs
    bench.section(
        f"{plan.bits}-bit flip-flop: geometry by architecture",
        "The states of all networks on the same 64 sequences of 64 steps. Distances: "
        "one minus the mean canonical correlation of the components that hold 99 % of "
        "the variance (SVCCA, as in the paper), or one minus linear CKA. Of an LSTM h "
        "alone is compared.",
    )
    distances = compare_geometry(bench, plan, [visited_units(n, inputs) for n in nets])
    topology = graph_distances([memory.graph.graph for memory in found])
    draw_embeddings(
        bench,
        "flipflop_networks",
        plan,
        {"by states (SVCCA)": distances["SVCCA"], "by topology": topology},
        "Every ring is a network. Left: distances of states; right: spectral distances "
        "of graphs of fixed points, in nodes.",
    )


def _net(bench: Bench, plan: Plan, arch: str, seed: int) -> FlipFlopNet:
    bits, size, updates = plan.bits, plan.memory_size, plan.memory_updates
    return bench.net(
        f"flipflop_{arch}_{seed}",
        {"arch": arch, "net": seed, "bits": bits, "size": size, "updates": updates},
        lambda checkpoint: train_flipflop(
            arch,
            size,
            bench.seed + seed,
            bits=bits,
            updates=updates,
            checkpoint=checkpoint,
            show_progress=bench.show_progress,
        ),
        save_flipflop,
        load_flipflop,
    )


def analyze_memory(name: str, net: FlipFlopNet, generator: torch.Generator) -> Memory:
    """Survey the fixed points of a network at zero input, and connect them."""
    dynamics = adapt(net, "rnn")
    data = sample_flipflop(32, 64, bits=net.bits, generator=generator)
    runs = record(net, "rnn", data.inputs, dynamics=dynamics)
    survey = survey_fixed_points(
        dynamics, runs, torch.zeros(net.bits), generator=generator
    )
    linear = linearize(dynamics, survey.points)
    graph = connect(dynamics, linear, generator=generator)
    # Of the graph's points: the search may have added some.
    counts = torch.bincount(graph.linearization.unstable_dims, minlength=net.bits + 1)
    accuracy = evaluate_flipflop(net)[1]
    return Memory(name, accuracy, tuple(counts.tolist()), survey.reports[0], graph)


def ideal_graph(bits: int) -> Graph:
    """The faces of a cube: a point for each, and a way down to each that bounds it.

    A node is a word of -1, 0 and 1; those with k zeros have k unstable dimensions, and
    send one connection to each node that has one of the zeros settled.
    """
    graph: Graph = nx.MultiDiGraph()
    words = list(itertools.product((-1, 0, 1), repeat=bits))
    for node, word in enumerate(words):
        graph.add_node(node, kind="fixed_point", unstable_dim=word.count(0))
    for node, word in enumerate(words):
        for place, sign in itertools.product(range(bits), (-1, 1)):
            if word[place] == 0:
                settled = (*word[:place], sign, *word[place + 1 :])
                end = words.index(settled)
                graph.add_edge(node, end, verified=True, unstable_drop=1)
    return graph


def claim_graphs(bench: Bench, found: Sequence[Memory], ideal: Graph) -> None:
    """Claim that every network has the ideal graph, and any two the same."""
    least = min(memory.accuracy for memory in found)
    bench.claim(at_least("lowest accuracy of a net", least, ACCURACY, form=".4f"))
    dims = [int(data["unstable_dim"]) for _, data in ideal.nodes(data=True)]
    wanted = tuple(dims.count(k) for k in range(max(dims) + 1))
    for memory in found:
        bench.claim(_points_claim(memory, wanted, ideal))
    graphs = [memory.graph.graph for memory in found]
    pairs = list(itertools.combinations(graphs, 2))
    same = sum(compare_graphs(*pair).isomorphic for pair in pairs)
    saturated = sum(m.report.verdict is Verdict.SATURATED for m in found)
    consistent = sum(m.graph.audit.verdict is AuditVerdict.CONSISTENT for m in found)
    bench.claim(
        _all_of("isomorphic pairs of networks", same, len(pairs)),
        at_most(
            "largest spectral distance of two graphs, in nodes",
            float(graph_distances(graphs).max()),
            ROUNDING,
            paper="similar across architectures",
            note="The paper compares graphs by a distance of its own, which is not "
            "zero.",
        ),
        reported("searches for points that ran dry", f"{saturated} of {len(found)}"),
        reported("graphs that pass the audit", f"{consistent} of {len(found)}"),
    )
    bench.numbers["flipflop"] = {
        memory.name: {
            "accuracy": memory.accuracy,
            "points": memory.counts,
            "survey": memory.report.verdict.name,
            "audit": memory.graph.audit.verdict.name,
            "compared with the ideal": compare_graphs(
                memory.graph.graph, ideal
            ).summary(),
        }
        for memory in found
    }


def _points_claim(memory: Memory, wanted: tuple[int, ...], ideal: Graph) -> Claim:
    comparison = compare_graphs(memory.graph.graph, ideal)
    shown = " / ".join(map(str, memory.counts))
    return holds(
        f"{memory.name}: points by unstable dimensions",
        f"{shown}, {'the' if comparison.isomorphic else 'not the'} graph of a cube",
        comparison.isomorphic and memory.counts == wanted,
        wanted=f"{' / '.join(map(str, wanted))}, the graph of a cube",
        paper="the same in all nets",
        note="" if comparison.isomorphic else _why_not(memory, comparison.summary()),
    )


def _why_not(memory: Memory, difference: str) -> str:
    return (
        f"Against the cube {difference}. The net answers {memory.accuracy:.2%} right; "
        f"its points: {memory.report.verdict.name.lower()}, index sum "
        f"{memory.report.index_sum}; {memory.graph.audit.summary()}."
    )


def _all_of(what: str, count: int, total: int) -> Claim:
    return holds(what, f"{count} of {total}", count == total, wanted=f"{total}")


def _draw_graphs(bench: Bench, plan: Plan, found: Sequence[Memory]) -> None:
    """Draw the first network of each architecture."""
    first = found[:: plan.seeds]
    titles = [NAMES[arch] for arch in ARCHITECTURES]
    figure, axes = plots.panels(titles, width=5.8, height=3.4)
    for ax, memory in zip(axes, first, strict=True):
        plots.plot_graph(memory.graph, ax=ax)
    bench.picture(
        "flipflop_graphs",
        figure,
        "Fixed points and connections in principal components of the points, for the "
        "first net of each architecture.",
    )
    figure, axes = plots.panels(titles, width=5.0, height=2.6)
    for ax, memory in zip(axes, first, strict=True):
        plots.plot_hierarchy(memory.graph, ax=ax)
    bench.picture(
        "flipflop_hierarchies",
        figure,
        "The same graphs in rows by unstable dimensions, without places.",
    )
