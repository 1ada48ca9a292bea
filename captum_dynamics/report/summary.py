"""The summary: how a network decides, in plain words."""

from __future__ import annotations

import math

import torch

from captum_dynamics.findings import Findings, Visits
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Stability
from captum_dynamics.topology import Shape
from captum_dynamics.topology.graph import counted


def summarize(findings: Findings) -> str:
    """Put every finding into a paragraph of its own, with its numbers."""
    parts = [
        _what(findings),
        _points(findings),
        _line(findings),
        _memory(findings),
        _words(findings),
        _connections(findings),
        _attribution(findings),
    ]
    return "\n\n".join(part for part in parts if part)


def _what(findings: Findings) -> str:
    s = findings.setting
    where = f" at {s.path!r}" if s.path else ""
    visits = findings.visits
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


def _points(findings: Findings) -> str:
    points, linear = findings.points, findings.linearization
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


def _line(findings: Findings) -> str:
    slow = findings.manifold
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
        f"{findings.readout_alignment:.2f}), and it covers {findings.coverage:.0%} of "
        f"the range of readouts in use. Drift along it is {slow.speed_ratio:.1%} of a "
        f"step in use{_in_the_end(findings)}."
    )


def _in_the_end(findings: Findings) -> str:
    """Whether the slow points are really neutral: between attractors they are not."""
    ends = len(findings.graph.attractors)
    if ends < 2:
        return ""
    return (
        f"; in the very long run the state drifts along it to one of {ends} attractors"
    )


def _memory(findings: Findings) -> str:
    slow = findings.manifold
    if not len(slow) or math.isnan(slow.memory):
        return ""
    first = slow.leading_times[:, 0]
    first = first[~first.isnan()]
    marks = torch.tensor([0.25, 0.75], dtype=first.dtype).to(first)
    low, high = torch.quantile(first, marks).tolist()
    second = float(slow.leading_times[:, 1].nanmedian())
    later = "" if math.isnan(second) else f", the next mode in {second:.0f}"
    text = (
        f"MEMORY  what is written on the slowest mode fades to 1/e in "
        f"{slow.memory:.0f} steps (quartiles {low:.0f} to {high:.0f}){later}."
    )
    if slow.growing_share > 0:
        text += (
            f" At {slow.growing_share:.0%} of the points the slowest mode grows "
            f"instead; they are not counted in that median."
        )
    return text


def _words(findings: Findings) -> str:
    words = findings.words
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


def _connections(findings: Findings) -> str:
    return f"GRAPH  {findings.graph.summary()}"


def _attribution(findings: Findings) -> str:
    documents = findings.documents
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
