"""The summary: how a network decides, in plain words."""

from __future__ import annotations

import math
from cmath import phase

import torch

from captum_dynamics.findings import Findings, Visits
from captum_dynamics.fixed_points import Kind
from captum_dynamics.linearization import Stability
from captum_dynamics.topology import Shape, SlowManifold
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
        f"LAYER  {s.layer}{where} of {s.model}: {s.state_dim} state "
        f"{_plural(s.state_dim, 'dimension')} ({', '.join(s.blocks)}), {s.input_dim} "
        f"{_plural(s.input_dim, 'input')}; {s.sequences:,} "
        f"{_plural(s.sequences, 'sequence')}, {s.steps:,} steps recorded. 90 % of the "
        f"variance of its states lies in {dims} {_plural(dims, 'dimension')}"
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
        return "FIXED POINTS  none found by this search under the reference input."
    kinds = [
        counted(n, stability.name.lower())
        for stability in Stability
        if (n := int((linear.stability[fixed] == stability).sum()))
    ]
    leading = linear.eigenvalues[fixed, 0][:5].tolist()
    sizes = ", ".join(_multiplier(value) for value in leading)
    more = ", ..." if count > 5 else ""
    largest = float(points.residual_norms[fixed].max())
    return (
        f"FIXED POINTS  {count} under the reference input ({', '.join(kinds)}), "
        f"leading {_plural(count, 'multiplier')} {sizes}{more}; residuals at most "
        f"{_said(largest, '.0e')}. A search cannot prove that there are no others."
    )


def _multiplier(value: complex) -> str:
    if value.imag == 0:
        return f"{abs(value):.4f}"
    turn = _steps(2 * math.pi / abs(phase(value)))
    return f"{abs(value):.4f} (a pair that turns once in {turn} steps)"


_VERDICTS = {
    Shape.LINE: "They lie on a line: a line attractor",
    Shape.RING: "They lie on a ring: a ring attractor",
    Shape.PLANE: "They lie on a plane: a plane attractor",
    Shape.SIMPLEX: "They form a simplex, one corner for each of a few choices",
    Shape.TORUS: "They lie on a torus",
    Shape.CLOUD: "They form a cloud, and no line",
    Shape.UNDECIDED: "What they form is undecided",
}


def _line(findings: Findings) -> str:
    slow = findings.manifold
    kept = (
        f"SLOW POINTS  {slow.slow_share:.0%} of the visited states stay slow after "
        f"{slow.steps} steps of the reference input"
    )
    if slow.shape is Shape.NONE:
        return f"{kept}: too few for a line attractor."
    because = f"because {slow.evidence.reason}."
    if slow.shape is Shape.PLACES:
        return f"{kept}, in one or a few separate places: no line attractor, {because}"
    verdict = f"{_VERDICTS[slow.shape]}, {because}{_without_loops(slow)}"
    alignment = float(slow.tangent_alignment.median())
    text = (
        f"{kept}. {verdict} The main axis holds "
        f"{float(slow.variance_ratios[0]):.1%} of their variance, the slow mode "
        f"follows it (cosine {_said(alignment, '.3f')}), the readout reads it (cosine "
        f"{_said(findings.readout_alignment, '.2f')}), and it covers "
        f"{findings.coverage:.0%} of the range of readouts in use."
    )
    if math.isfinite(slow.speed_ratio):
        text += f" Drift along it is {slow.speed_ratio:.1%} of a step in use."
    return text + _motion(slow) + _in_the_end(findings)


def _without_loops(slow: SlowManifold) -> str:
    """Say so where loops were not looked for and might have told."""
    if slow.evidence.homology or slow.shape is not Shape.UNDECIDED:
        return ""
    return " Loops were not looked for: gudhi is not installed."


def _motion(slow: SlowManifold) -> str:
    """Where the speed along a line or ring changes its sign, and how soon it tells."""
    profile = slow.profile
    if not len(profile):
        return ""
    soonest = float(profile.drift_times().min())
    if math.isinf(soonest):
        text = " No state drifts along it by a tenth of its length"
    else:
        text = (
            f" At the fastest place a state drifts along it by a tenth of its length "
            f"in {_steps(soonest)} steps"
        )
    return f"{text}; {profile.summary()}."


def _in_the_end(findings: Findings) -> str:
    """Whether the slow points are really neutral: between attractors they are not."""
    ends = len(findings.graph.attractors)
    if ends < 2:
        return ""
    return (
        f" In the very long run the state drifts along it to one of {ends} attractors."
    )


def _memory(findings: Findings) -> str:
    slow = findings.manifold
    if not len(slow):
        return ""
    times = slow.leading_times
    first = times[~times[:, 0].isnan(), 0]
    if not len(first):
        text = "MEMORY  at every slow point the slowest mode grows: none decays."
        return text + _turning(slow)
    marks = torch.tensor([0.25, 0.75], dtype=first.dtype).to(first)
    # Neighbours, not a mixture of them: one may be infinite.
    low, high = torch.quantile(first, marks, interpolation="nearest").tolist()
    text = f"MEMORY  what is written on the slowest mode {_fades(slow.memory)}"
    if math.isfinite(low):
        text += f" (quartiles {_steps(low)} to {_steps(high)})"
    second = float(times[:, 1].nanmedian())
    if math.isfinite(second):
        text += f", the next mode in {_steps(second)}"
    text += "." + _turning(slow)
    if slow.growing_share > 0:
        text += (
            f" At {slow.growing_share:.0%} of the points the slowest mode grows "
            f"instead; they are not counted in that median."
        )
    return text


def _fades(steps: float) -> str:
    if math.isinf(steps):
        return "does not decay"
    return f"fades to 1/e in {_steps(steps)} steps"


def _steps(count: float) -> str:
    if math.isinf(count):
        return "no decay"
    return f"{count:,.0f}" if count >= 10 else f"{count:.1f}"


def _turning(slow: SlowManifold) -> str:
    """Whether the slowest mode turns; of a mode and its conjugate both count."""
    if not slow.turning_share > 0:
        return ""
    return (
        f" At {slow.turning_share:.0%} of the points the slowest mode is a pair that "
        f"turns, once in {_steps(slow.turning_period)} steps."
    )


def _words(findings: Findings) -> str:
    words = findings.words
    if not any(words.names):
        return ""
    if bool(words.projections.isnan().all()):
        return (
            "WORDS  at no point is the slowest mode independent of the others, so that "
            "projections on it are not defined."
        )
    up = ", ".join(words.strongest(10, positive=True)) or "none"
    down = ", ".join(words.strongest(10, positive=False)) or "none"
    text = f"WORDS  up: {up}. Down: {down}."
    known = int((~words.scores.isnan()).sum())
    if not known:
        return text
    correlation = words.score_correlation
    verb = "has no defined correlation"
    if not math.isnan(correlation):
        verb = f"correlates {correlation:.2f}"
    return (
        f"{text} Over {known:,} {_plural(known, 'word')} the projection on the slowest "
        f"mode {verb} with the scores given for them."
    )


def _connections(findings: Findings) -> str:
    return f"GRAPH  {findings.graph.summary()}"


def _attribution(findings: Findings) -> str:
    documents = findings.documents
    if not documents.explanations:
        return ""
    ours = documents.explanations[0]
    count = len(documents.tokens)
    whole = "all " if 1 < count == findings.setting.sequences else ""
    delta = float(ours.deltas.abs().max())
    lines = [
        f"ATTRIBUTION  {ours.method} on {whole}{count} {_plural(count, 'sequence')}: "
        f"contributions sum to the change of the output within {_said(delta, '.1e')} "
        f"({ours.seconds:.1f} s)."
    ]
    for row, other in enumerate(documents.explanations[1:], start=1):
        agreement = _said(documents.agreement(row), ".2f")
        text = f"  {other.method}: correlation with it {agreement}"
        if other.complete:
            text += f", within {_said(float(other.deltas.abs().max()), '.1e')}"
        lines.append(f"{text} ({other.seconds:.1f} s).")
    return "\n".join(lines)


def _said(value: float, form: str) -> str:
    """Write a number, or say in words that there is none."""
    if not math.isfinite(value):
        return "infinite" if math.isinf(value) else "not defined"
    return format(value, form) if value else "0"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
