"""The rows and pictures of one net, and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import (
    Claim,
    at_least,
    at_most,
    holds,
    reported,
)
from captum_dynamics.experiments.geometry._measures import SHARE, Geometry
from captum_dynamics.experiments.geometry._nets import Net
from captum_dynamics.plots import plot_labelled_states, plot_variances
from captum_dynamics.tasks.integration import LabelIntegration

COSINE = 0.1  # how far from -1 / (N - 1) the cosine of two readout vectors may be
# Of three classes, from the outputs of the authors' public notebook.
PAPER_SHARE, PAPER_RATIO = ".957", "2.18"


def simplex_claims(net: Net, found: Geometry) -> list[Claim]:
    """Rows of a net whose N classes have no order."""
    wanted = -1 / net.dims
    three = net.dims == 2
    farthest = float((found.cosines - wanted).abs().max())
    return [
        _accuracy(net, found, ".98 to 1.00" if three else ""),
        at_least(
            _components(net),
            found.held(net.dims),
            SHARE,
            paper=PAPER_SHARE if three else "≥ .95",
            form=".3f",
            note=_restless(found),
        ),
        reported(
            f"{net.title}: participation ratio",
            found.participation,
            paper=PAPER_RATIO if three else "",
        ),
        at_most(
            f"{net.title}: readout cosines, farthest from {wanted:.2f}",
            farthest,
            COSINE,
            paper="0" if three else "",
            note=f"from {float(found.cosines.min()):.3f} to "
            f"{float(found.cosines.max()):.3f}",
        ),
        _dimension(net, found, (net.dims,)),
        *_dynamics(
            net, found, labels=net.dims + 1, points=f"{2 ** (net.dims + 1) - 1}"
        ),
    ]


def ordered_claims(net: Net, found: Geometry, *, judged: bool) -> list[Claim]:
    """Rows of a net whose classes are intervals of one number."""
    dims = (1, 2) if judged else ()
    return [
        _accuracy(net, found),
        reported(_components(net), found.held(1), form=".3f"),
        reported(
            f"{net.title}: components for 95 % of the variance", f"{found.components}"
        ),
        reported(f"{net.title}: participation ratio", found.participation),
        _dimension(net, found, dims),
        *_dynamics(net, found, labels=net.task.output_size, points=""),
    ]


def label_claims(net: Net, found: Geometry) -> list[Claim]:
    """Rows of a net with several labels: nothing but a picture was told of them."""
    corners = 2**net.dims
    return [
        _accuracy(net, found),
        reported(_components(net), found.held(net.dims), form=".3f"),
        reported(f"{net.title}: participation ratio", found.participation),
        reported(
            f"{net.title}: readout cosine farthest from 0",
            float(found.cosines.abs().max()),
        ),
        _dimension(net, found, ()),
        *_dynamics(net, found, labels=corners, points=f"{3**net.dims}"),
    ]


def free_claims(net: Net, found: Geometry) -> list[Claim]:
    """Rows of a net that was trained without a penalty: it shows what that one does."""
    return [
        _accuracy(net, found),
        reported(_components(net), found.held(net.dims), form=".3f"),
        reported(
            f"{net.title}: components for 95 % of the variance", f"{found.components}"
        ),
        reported(f"{net.title}: participation ratio", found.participation),
        _dimension(net, found, ()),
    ]


def _components(net: Net) -> str:
    one = "component" if net.dims == 1 else "components"
    return f"{net.title}: share of variance in {net.dims} {one}"


def _accuracy(net: Net, found: Geometry, paper: str = "") -> Claim:
    return reported(f"{net.title}: accuracy", found.accuracy, paper=paper, form=".3f")


def _dimension(net: Net, found: Geometry, wanted: Sequence[int]) -> Claim:
    """Local dimension of the slow points, and the shape that they form."""
    evidence = found.manifold.evidence
    dims = str(evidence.dimension) if evidence.dimension else "undecided"
    what = f"{net.title}: dimension of the slow manifold"
    note = f"shape: {found.manifold.summary()}"
    if not wanted:
        return reported(what, dims, note=note)
    bound = " or ".join(map(str, wanted))
    so = evidence.dimension in wanted
    return holds(what, dims, so, wanted=bound, paper=bound, note=note)


def _dynamics(net: Net, found: Geometry, *, labels: int, points: str) -> list[Claim]:
    """Fixed points, where they are, and how long slow modes last."""
    times = found.times
    slow = ", ".join(f"{time:.0f}" for time in times[: net.dims].tolist())
    lasting = f"{slow}; {float(times[net.dims]):.1f}"
    if not len(found.manifold):
        lasting = "no state is slow"
    ends = f"{found.at_ends:.0%}, for {found.labels_held} of {labels} answers"
    if not found.attractors.any():
        ends = "none attracts"
    rows = [
        reported(
            f"{net.title}: fixed points under the neutral word",
            f"{len(found.points)}, of which {int(found.attractors.sum())} attract",
            note=f"one for every face, edge and corner would be {points}"
            if points
            else "",
        ),
        reported(
            f"{net.title}: attractors at the far ends of their answers",
            ends,
        ),
        reported(
            f"{net.title}: time constants of slow modes, then the next, in words",
            lasting,
            note="medians over slow points; a document has 20 to 25 words",
        ),
    ]
    if found.regimes is not None:
        what = f"{net.title}: long runs under the neutral word"
        rows.append(reported(what, found.regimes.summary()))
    return rows


def _restless(found: Geometry) -> str:
    """The likely reason for many components, where no state rests."""
    if found.regimes is None:
        return ""
    return (
        "no fixed point attracts: the net remembers by how its states move, and where "
        "they are in that motion likely takes components of its own"
    )


def draw_net(bench: Bench, net: Net, found: Geometry) -> None:
    """Add the picture of a net."""
    figure, _ = plot_labelled_states(
        found.plane,
        found.states,
        found.labels,
        names=_names(net),
        slow=found.manifold.points.states,
        fixed=found.fixed,
        readouts=found.readouts,
    )
    bench.picture(
        net.name,
        figure,
        f"{net.title}: visited states by the label of their document, slow and fixed "
        "points under the neutral word, and the readout vectors (to a scale of their "
        "own).",
    )


def _names(net: Net) -> list[str]:
    count = net.task.output_size
    if not isinstance(net.task, LabelIntegration):
        return [f"class {number}" for number in range(count)]
    return [
        "".join("+" if number >> label & 1 else "-" for label in range(count))
        for number in range(2**count)
    ]


def draw_variances(bench: Bench, found: Mapping[str, Geometry]) -> None:
    """Add the picture of all nets' components."""
    figure, _ = plot_variances({name: one.variance for name, one in found.items()})
    bench.picture(
        "variance",
        figure,
        "Share of the variance of all visited states in the first components.",
    )
