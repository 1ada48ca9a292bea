"""Individuality: distances of the states that networks visit on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

import captum_dynamics.plots as plots
from captum_dynamics.adapters import adapt
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import at_most, holds, reported
from captum_dynamics.experiments.universality._clusters import find_clusters
from captum_dynamics.experiments.universality._plan import Plan
from captum_dynamics.matching import (
    align_canonical,
    embed_distances,
    linear_cka,
    representation_distances,
    svcca,
)
from captum_dynamics.recording import record

SIMILARITIES = {"SVCCA": svcca, "linear CKA": linear_cka}
CHANCE = 0.05  # the usual level; set before the run
OTHER_SHARES = (0.95, 0.999)  # of the variance
CUT = (
    " How many components reach 99 % differs from net to net, and the distance with "
    "it: a component of hardly any variance counts as much as the first."
)
LEAST_DISTANCE = 1e-6  # far above rounding: what two equal networks would have


@torch.no_grad()
def visited_units(net: nn.Module, inputs: Float[Tensor, "n t k"]) -> Tensor:
    """What the units of a net say (m, d) at all steps; of an LSTM h without c.

    That is what the readout sees, and as wide in every architecture.
    """
    dynamics = adapt(net, "rnn")
    runs = record(net, "rnn", inputs, dynamics=dynamics)
    return dynamics.layout.split(runs.states[runs.valid])["h"]


def compare_geometry(
    bench: Bench, plan: Plan, visited: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Claim that networks differ, and more so across architectures.

    Args:
        bench: where claims go.
        plan: names of the networks.
        visited: states of each network at the same times.

    Returns:
        The distances by each similarity.
    """
    all_distances = {}
    for name, similarity in SIMILARITIES.items():
        distances = representation_distances(visited, similarity=similarity)
        all_distances[name] = distances
        found = find_clusters(
            distances,
            plan.groups,
            permutations=plan.permutations,
            generator=bench.generator(),
        )
        rows, columns = torch.triu_indices(len(visited), len(visited), 1)
        least = float(distances[rows, columns].min())
        bench.claim(
            holds(
                f"smallest {name} distance of two nets",
                f"{least:.3g}",
                least > LEAST_DISTANCE,
                wanted="> 0",
                paper="> 0",
            ),
            reported(f"mean {name} distance within an architecture", found.within),
            reported(f"mean {name} distance across architectures", found.across),
            at_most(
                f"{name}: chance of such a difference",
                found.p_value,
                CHANCE,
                paper="clusters by architecture",
                form=".2g",
                note=f"Permutation test, {plan.permutations} random groupings of the "
                f"nets.{'' if name == 'linear CKA' else CUT}",
            ),
            reported(
                f"{name}: nets whose nearest is of their architecture",
                found.nearest,
                paper="clusters by architecture",
                form=".0%",
                note=f"By chance {(plan.seeds - 1) / (len(visited) - 1):.0%}.",
            ),
        )
    _claim_cuts(bench, plan, visited)
    return all_distances


def _claim_cuts(bench: Bench, plan: Plan, visited: Sequence[Tensor]) -> None:
    """Report how much the number of components decides; looked at after a first run."""
    kept = [len(align_canonical(states, states).correlations) for states in visited]
    by_group = {
        group: [n for name, n in zip(plan.groups, kept, strict=True) if name == group]
        for group in plan.groups
    }
    shown = "; ".join(
        f"{group} {', '.join(map(str, counts))}" for group, counts in by_group.items()
    )
    bench.claim(reported("components that hold 99 % of the variance", shown))
    for share in OTHER_SHARES:
        found = find_clusters(
            representation_distances(
                visited, similarity=partial(svcca, variance=share)
            ),
            plan.groups,
            permutations=plan.permutations,
            generator=bench.generator(),
        )
        bench.claim(
            reported(
                f"SVCCA of {share:.1%} of the variance: within, across, chance",
                f"{found.within:.2g}, {found.across:.2g}, {found.p_value:.2g}",
                note="Looked at after a first run had failed.",
            )
        )


def draw_embeddings(
    bench: Bench,
    name: str,
    plan: Plan,
    embedded: dict[str, Tensor],
    caption: str,
) -> None:
    """Draw networks as points, once by each of several distances."""
    figure, axes = plots.panels(list(embedded), columns=len(embedded), height=3.7)
    for ax, distances in zip(axes, embedded.values(), strict=True):
        plots.plot_embedding(embed_distances(distances), plan.groups, ax=ax)
    bench.picture(name, figure, caption)
