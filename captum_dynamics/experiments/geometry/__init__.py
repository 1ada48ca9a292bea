"""Geometry: what a net must remember decides the shape on which it remembers.

Aitken, Ramasesh, Garg, Cao, Sussillo and Maheswaranathan (2021), The geometry of
integration in text classification RNNs, ICLR; arXiv 2010.15114.
"""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import Claim
from captum_dynamics.experiments.geometry import _nets
from captum_dynamics.experiments.geometry._measures import (
    Effort,
    Geometry,
    measure_geometry,
)
from captum_dynamics.experiments.geometry._nets import Net, Recipe
from captum_dynamics.experiments.geometry._sections import (
    draw_net,
    draw_variances,
    free_claims,
    label_claims,
    ordered_claims,
    simplex_claims,
)

_CATEGORICAL = (
    "Each word speaks for one of N classes or for none, and the class with most words "
    "wins: N - 1 differences must be kept, on a simplex of N - 1 dimensions. Documents "
    "of 20 to 25 words drawn one by one, {size} units, readout without bias, squared "
    "weights in the loss ({penalty:g}), as in the authors' public notebook. Variance "
    "is that of the states after every word of {documents} documents."
)
_ORDERED = (
    "Words add +1, -1 or 0, and the classes are equal intervals of the sum: one number "
    "to keep. All sums are equally likely, since those of words drawn one by one are "
    "nearly all in the middle. Squared weights in the loss: {penalty:g}, as the "
    "authors' files of such nets are named; once more with that of the categories."
)
_LABELS = (
    "Several labels, each yes or no by a sum of its own: a number each, on a square or "
    "a cube. Drawn and trained as the categories."
)
_OTHERS = (
    "Three categories again. Of the LSTM the state is that of the equations, h and c "
    "side by side."
)
_FREE = (
    "The three categories once more, by a GRU that is trained in the same way but with "
    "no penalty on its weights."
)


def run(bench: Bench) -> None:
    """Train all nets and look at each."""
    recipe = _nets.QUICK if bench.quick else _nets.FULL
    effort = Effort(300, 600, 48, 1500) if bench.quick else Effort()
    fields = {"size": recipe.size, "documents": effort.documents}
    found: dict[str, Geometry] = {}

    def look(net: Net) -> Geometry:
        measured = _look(bench, net, recipe, effort)
        found[net.title] = measured
        return measured

    bench.section("Categories", _CATEGORICAL.format(penalty=_nets.PENALTY, **fields))
    for net in _nets.CATEGORICAL:
        _add(bench, net, simplex_claims(net, look(net)), found)
    bench.section("Ordered classes", _ORDERED.format(penalty=_nets.ORDERED_PENALTY))
    for net in _nets.ORDERED:
        judged = net is _nets.ORDERED[1]
        _add(bench, net, ordered_claims(net, look(net), judged=judged), found)
    bench.section("Labels", _LABELS)
    for net in _nets.LABELS:
        _add(bench, net, label_claims(net, look(net)), found)
    bench.section("Other architectures", _OTHERS)
    for net in _nets.OTHERS:
        _add(bench, net, simplex_claims(net, look(net)), found)
    bench.section("Without a penalty", _FREE)
    _add(bench, _nets.FREE, free_claims(_nets.FREE, look(_nets.FREE)), found)
    bench.section("All nets", "Components of the visited states of every net.")
    draw_variances(bench, found)


def _look(bench: Bench, net: Net, recipe: Recipe, effort: Effort) -> Geometry:
    """Train a net, and measure it."""
    trained = _nets.trained(bench, net, recipe)
    bench.say(f"{net.name}: looking at it")
    return measure_geometry(trained, net.task, effort, generator=bench.generator())


def _add(
    bench: Bench, net: Net, claims: list[Claim], found: dict[str, Geometry]
) -> None:
    """Add the rows, the picture and the numbers of a net."""
    geometry = found[net.title]
    bench.claim(*claims)
    draw_net(bench, net, geometry)
    bench.numbers[net.name] = {
        "variance": geometry.variance[:20].tolist(),
        "variance_of_last_states": geometry.last_variance[:20].tolist(),
        "readout_cosines": geometry.cosines.tolist(),
        "time_constants": geometry.times[:10].tolist(),
        "fixed_point_unstable_dims": geometry.unstable_dims.tolist(),
        "fixed_point_answers": geometry.answers.tolist(),
        "fixed_point_reach": geometry.reach.tolist(),
        "steps_of_relaxation": geometry.manifold.steps,
        "slow_modes": geometry.manifold.evidence.slow_modes,
        "shape": geometry.manifold.shape.value,
    }
