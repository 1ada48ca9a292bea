"""The summary: how a network decides, in plain words."""

from __future__ import annotations

import math

import torch

from captum_dynamics.analysis._result import Analysis, Visits
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Stability
from captum_dynamics.topology import Shape
from captum_dynamics.topology.graph import counted


def summarize(analysis: Analysis) -> str:
    """Put every finding into a paragraph of its own, with its numbers."""
    parts = [
        _what(analysis),
        _points(analysis),
        _line(analysis),
        _memory(analysis),
        _words(analysis),
        _connections(analysis),
        _attribution(analysis),
    ]
    return "\n\n".join(part for part in parts if part)


def _what(analysis: Analysis) -> str:
    s = analysis.setting
    where = f" at {s.path!r}" if s.path else ""
    visits = analysis.visits
    dims = visits.dims_for(0.9, visits.variance)
    text = (
        f"LAYER  {s.layer}{where} of {s.model}: {s.state_dim} state dimensions "
        f"({', '.join(s.blocks)}), {s.input_dim} inputs; {s.sequences} sequences, "
        f"{s.steps} steps recorded. 90 % of the variance of its states lies in {dims} "
        f"{_plural(dims, 'dimension')}"
    )
    if len(visits.untrained_variance):
        fresh = Visits.dims_for(0.9, visits.untrained_variance)
        text += f" ({fresh} with untrained weights)"
    return text + "."


def _points(analysis: Analysis) -> str:
    points, linear = analysis.points, analysis.linearization
    fixed = points.kind == Kind.FIXED
    count = int(fixed.sum())
    if not count:
        return "FIXED POINTS  none found by this search at the mean input."
    kinds = [
        counted(n, stability.name.lower())
        for stability in Stability
        if (n := int((linear.stability[fixed] == stability).sum()))
    ]
    sizes = ", ".join(f"{v:.4f}" for v in linear.spectral_radius[fixed].tolist()[:5])
    more = ", ..." if count > 5 else ""
    largest = float(points.residual_norms[fixed].max())
    return (
        f"FIXED POINTS  {count} at the mean input ({', '.join(kinds)}), leading "
        f"multipliers {sizes}{more}; residuals at most {largest:.0e}. A search cannot "
        f"prove that there are no others."
    )


def _line(analysis: Analysis) -> str:
    slow = analysis.manifold
    if slow.shape is Shape.NONE:
        return (
            f"SLOW POINTS  {slow.slow_share:.0%} of the visited states stay slow after "
            f"{slow.steps} steps of the mean input: too few for a line attractor."
        )
    verdict = {
        Shape.LINE: "They lie on a line: a line attractor.",
        Shape.UNDECIDED: "Whether they form a line is undecided.",
    }[slow.shape]
    alignment = float(slow.tangent_alignment.median())
    return (
        f"SLOW POINTS  {slow.slow_share:.0%} of the visited states stay slow after "
        f"{slow.steps} steps of the mean input. {verdict} The main axis holds "
        f"{float(slow.variance_ratios[0]):.1%} of their variance, the slow mode "
        f"follows it (cosine {alignment:.3f}), the readout reads it (cosine "
        f"{analysis.readout_alignment:.2f}), and it covers {analysis.coverage:.0%} of "
        f"the range of readouts in use. Drift along it is {slow.speed_ratio:.1%} of a "
        f"step in use."
    )


def _memory(analysis: Analysis) -> str:
    slow = analysis.manifold
    if not len(slow) or math.isnan(slow.memory):
        return ""
    first = slow.leading_times[:, 0]
    first = first[~first.isnan()]
    marks = torch.tensor([0.25, 0.75], dtype=first.dtype).to(first)
    low, high = torch.quantile(first, marks).tolist()
    second = float(slow.leading_times[:, 1].nanmedian())
    text = (
        f"MEMORY  what is written on the slowest mode fades to 1/e in "
        f"{slow.memory:.0f} steps (quartiles {low:.0f} to {high:.0f}), "
        f"the next mode in {second:.0f}."
    )
    if slow.growing_share > 0:
        text += (
            f" At {slow.growing_share:.0%} of the points the slowest mode grows "
            f"instead; they are not counted in that median."
        )
    return text


def _words(analysis: Analysis) -> str:
    words = analysis.words
    if not words.names or not words.names[0]:
        return ""
    up = ", ".join(words.strongest(10, positive=True))
    down = ", ".join(words.strongest(10, positive=False))
    text = f"WORDS  up: {up}. Down: {down}."
    if not math.isnan(words.score_correlation):
        text += (
            f" Over {len(words.names)} words the projection on the slowest mode "
            f"correlates {words.score_correlation:.2f} with a bag-of-words model."
        )
    return text


def _connections(analysis: Analysis) -> str:
    return f"GRAPH  {analysis.graph.summary()}"


def _attribution(analysis: Analysis) -> str:
    documents = analysis.documents
    if not documents.explanations:
        return ""
    ours = documents.explanations[0]
    count = len(documents.tokens)
    delta = float(ours.deltas.abs().max())
    lines = [
        f"ATTRIBUTION  {ours.method} on {count} {_plural(count, 'sequence')}: "
        f"contributions sum to the change of the output within {delta:.1e} "
        f"({ours.seconds:.1f} s)."
    ]
    for row, other in enumerate(documents.explanations[1:], start=1):
        text = f"  {other.method}: correlation {documents.agreement(row):.2f} with it"
        if not bool(other.deltas.isnan().any()):
            text += f", within {float(other.deltas.abs().max()):.1e}"
        lines.append(f"{text} ({other.seconds:.1f} s).")
    return "\n".join(lines)


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
