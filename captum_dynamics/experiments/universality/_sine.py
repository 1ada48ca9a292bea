"""Sine waves on cue: the linearized dynamics turn as fast as the wave."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

import captum_dynamics.plots as plots
from captum_dynamics._typing import Counts
from captum_dynamics.adapters import RecurrentAdapter, adapt
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import at_least, at_most, reported
from captum_dynamics.experiments.universality._geometry import (
    compare_geometry,
    draw_embeddings,
    visited_units,
)
from captum_dynamics.experiments.universality._nets import trained_net
from captum_dynamics.experiments.universality._plan import NAMES, Plan
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.models import ARCHITECTURES, SequenceNet
from captum_dynamics.recording import record
from captum_dynamics.tasks.sequence_task import evaluate_task
from captum_dynamics.tasks.sine import OFFSET, FrequencyCuedSine

# Set before the run: a net that has learned, and frequencies that match.
SCORE = 0.9
CORRELATION = 0.95
ERROR = 0.1
LARGE_WAVES = (
    "The nets solve the task, and their waves last at the right frequency. But the "
    "leading pair lies far outside the unit circle: the wave is large, and its "
    "frequency is not that of small deviations. How far the paper's nets are off we "
    "could not see."
)
LONG = 1024  # steps after which a wave is taken to be the one that lasts
STILL = 0.05  # standard deviation of an answer that is no wave; waves have .7

PerCue = Float[Tensor, " c"]


@dataclass(frozen=True, eq=False)
class Oscillator:
    """A trained network and the fixed point under each of c cues.

    Where there are several under a cue, it is the one nearest to the wave's centre;
    where the search found none, the state that is nearest to being one.

    Attributes:
        name: architecture and seed.
        score: share of the waves' variance that it explains.
        points: number of fixed points under each cue.
        linearization: of the fixed point of each cue.
        lasting: radians a step of the wave after a long time; NaN where it dies out.
    """

    name: str
    score: float
    points: Counts
    linearization: Linearization
    lasting: PerCue

    @property
    def leading_pairs(self) -> Tensor:
        """Largest multiplier (c,) that is one of a complex pair; NaN without any."""
        values = self.linearization.eigenvalues
        sizes = torch.where(values.imag.abs() > 0, values.abs(), -1.0)
        largest, place = sizes.max(1)
        pairs = values.gather(1, place[:, None])[:, 0]
        return torch.where(largest > 0, pairs, torch.nan)

    @property
    def frequencies(self) -> PerCue:
        """Radians a step (c,) by which the leading pair turns."""
        return self.leading_pairs.angle().abs()


def run(bench: Bench, plan: Plan) -> None:
    """Train networks, linearize them under some cues, and compare frequencies."""
    task = FrequencyCuedSine()
    nets = [_net(bench, plan, task, arch, seed) for arch, seed in plan.nets]
    levels = torch.linspace(0, task.levels - 1, plan.cues).round()
    found = []
    for (arch, seed), net in zip(plan.nets, nets, strict=True):
        name = f"{NAMES[arch]}, seed {seed}"
        bench.say(f"sine waves, {name}: fixed points under {plan.cues} cues")
        found.append(analyze_oscillator(name, net, task, levels, bench.generator()))
    bench.section(
        "Sine waves: the same linear dynamics",
        f"{len(nets)} networks of {plan.sine_size} units, {plan.sine_updates} updates "
        f"each: a constant cue j / {task.levels} + 1/4 asks for one of {task.levels} "
        f"frequencies, {task.lowest} to {task.highest} radians a step, for "
        f"{task.steps} steps. Under {plan.cues} of the cues fixed points are searched. "
        "The angle of the largest complex pair of multipliers is set beside the "
        "frequency asked for.",
    )
    wanted = frequencies_of(task, levels)
    claim_frequencies(bench, plan, found, wanted)
    _draw(bench, plan, found, wanted)
    cues = cue_inputs(task, torch.arange(task.levels).double())
    bench.section(
        "Sine waves: geometry by architecture",
        f"The states of all networks on all {task.levels} cues, as for the flip-flop.",
    )
    distances = compare_geometry(bench, plan, [visited_units(n, cues) for n in nets])
    draw_embeddings(
        bench,
        "sine_networks",
        plan,
        {f"by states ({name})": by for name, by in distances.items()},
        "Every ring is a network, placed by the distances of states.",
    )


def _net(
    bench: Bench, plan: Plan, task: FrequencyCuedSine, arch: str, seed: int
) -> SequenceNet:
    updates = plan.sine_updates
    name = f"sine_{arch}_{seed}"
    size = plan.sine_size
    return trained_net(bench, name, task, arch, seed, size=size, updates=updates)


def cue_inputs(task: FrequencyCuedSine, levels: PerCue) -> Float[Tensor, "c t 1"]:
    """The inputs that ask for some levels, one sequence for each."""
    return (
        (levels / task.levels + OFFSET)
        .float()[:, None, None]
        .expand(-1, task.steps, -1)
    )


def frequencies_of(task: FrequencyCuedSine, levels: PerCue) -> PerCue:
    """Radians a step of some levels."""
    span = task.highest - task.lowest
    return task.lowest + span * levels.double() / (task.levels - 1)


@torch.no_grad()
def analyze_oscillator(
    name: str,
    net: SequenceNet,
    task: FrequencyCuedSine,
    levels: PerCue,
    generator: torch.Generator,
) -> Oscillator:
    """Find and linearize the fixed point of a network under each cue."""
    dynamics = adapt(net, "rnn")
    inputs = cue_inputs(task, levels)
    runs = record(net, "rnn", inputs, dynamics=dynamics)
    cues = inputs[:, 0].double()
    counts, chosen = [], []
    for states, cue in zip(runs.states, cues, strict=True):
        points = find_fixed_points(
            dynamics, states, cue[None], extra_starts=len(states), generator=generator
        )
        own = points[points.kind == Kind.FIXED].unique()
        counts.append(len(own))
        if not len(own):
            own = points[points.residual_norms.argmin()[None]]
        apart = (own.states - states.mean(0)).norm(dim=1)
        chosen.append(own[apart.argmin()[None]])
    linear = linearize(dynamics, FixedPoints.concatenate(chosen))
    return Oscillator(
        name,
        evaluate_task(task, net),
        torch.tensor(counts),
        linear,
        lasting_frequencies(net, dynamics, runs.final_states, cues),
    )


def lasting_frequencies(
    net: SequenceNet, dynamics: RecurrentAdapter, states: Tensor, cues: Tensor
) -> PerCue:
    """Radians a step (c,) of the answers in the second half of a long run."""
    visited = dynamics.rollout(states, cues[:, None].expand(-1, LONG, -1))
    units = dynamics.layout.split(visited)["h"][:, LONG // 2 :]
    answers = (units @ net.readout.weight.double().T)[..., 0]
    return torch.stack([crossing_frequency(answer) for answer in answers])


def crossing_frequency(answer: Float[Tensor, " t"]) -> Float[Tensor, ""]:
    """Radians a step by the times at which an answer rises through its mean."""
    centred = answer - answer.mean()
    rises = torch.nonzero((centred[:-1] <= 0) & (centred[1:] > 0))[:, 0]
    if len(rises) < 2 or centred.std() < STILL:
        return torch.tensor(torch.nan, dtype=answer.dtype)
    before, after = centred[rises], centred[rises + 1]
    times = rises + before / (before - after)
    return 2 * math.pi * (len(times) - 1) / (times[-1] - times[0])


def claim_frequencies(
    bench: Bench, plan: Plan, found: Sequence[Oscillator], wanted: PerCue
) -> None:
    """Claim that multipliers turn as fast as waves, for each architecture."""
    for arch in ARCHITECTURES:
        own = [
            net for (one, _), net in zip(plan.nets, found, strict=True) if one == arch
        ]
        angles = torch.cat([net.frequencies for net in own])
        asked = wanted.repeat(len(own))
        pair = torch.stack([angles, asked])
        lasting = torch.cat([net.lasting for net in own])
        name = NAMES[arch]
        bench.claim(
            at_least(
                f"{name}: lowest share of variance",
                min(net.score for net in own),
                SCORE,
                form=".4f",
            ),
            at_least(
                f"{name}: correlation of angle and frequency",
                float(torch.corrcoef(pair)[0, 1]),
                CORRELATION,
                paper="match",
                form=".4f",
            ),
            at_most(
                f"{name}: median relative error of the angle",
                _median_error(angles, asked),
                ERROR,
                paper="match",
                note=LARGE_WAVES if _median_error(angles, asked) > ERROR else "",
            ),
            reported(f"{name}: size of the leading pair", _sizes(own)),
            reported(f"{name}: unstable dimensions of the points", _dims(own)),
            reported(
                f"{name}: median relative error of waves that last",
                _median_error(lasting, asked),
                note=f"Looked at after {LONG // 2} to {LONG} further steps, where "
                f"{float(lasting.isfinite().double().mean()):.0%} of the waves last.",
            ),
        )
    _claim_all(bench, found, wanted)


def _claim_all(bench: Bench, found: Sequence[Oscillator], wanted: PerCue) -> None:
    """Report what all networks have in common, and where linear frequencies are off."""
    singles = torch.cat([net.points for net in found]) == 1
    sizes = torch.cat([net.leading_pairs.abs() for net in found])
    angles = torch.cat([net.frequencies for net in found])
    asked = wanted.repeat(len(found))
    errors = (angles - asked).abs() / asked
    growth = float(spearmanr(sizes, errors, nan_policy="omit").statistic)
    bench.claim(
        reported(
            "cues with one fixed point only", float(singles.double().mean()), form=".0%"
        ),
        reported(
            "rank correlation of size and error of the leading pair",
            growth,
            note="Positive where pairs that lie further outside the unit circle are "
            "further off: they start larger waves, whose frequency the linear part "
            "alone does not decide.",
        ),
    )
    bench.numbers["sine"] = {
        net.name: {
            "score": net.score,
            "points": net.points.tolist(),
            "unstable dimensions": net.linearization.unstable_dims.tolist(),
            "angle": net.frequencies.tolist(),
            "size": net.leading_pairs.abs().tolist(),
            "lasting": net.lasting.tolist(),
        }
        for net in found
    } | {"asked for": wanted.tolist()}


def _median_error(found: Tensor, asked: Tensor) -> float:
    return float(((found - asked).abs() / asked).nanmedian())


def _sizes(nets: Sequence[Oscillator]) -> str:
    sizes = torch.cat([net.leading_pairs.abs() for net in nets])
    return f"{float(sizes.min()):.3f} to {float(sizes.max()):.3f}"


def _dims(nets: Sequence[Oscillator]) -> str:
    dims = torch.cat([net.linearization.unstable_dims for net in nets]).tolist()
    return ", ".join(
        f"{dim} in {count} of {len(dims)}"
        for dim, count in sorted(Counter(dims).items())
    )


def _draw(
    bench: Bench, plan: Plan, found: Sequence[Oscillator], wanted: PerCue
) -> None:
    first = dict(zip(ARCHITECTURES, found[:: plan.seeds], strict=True))
    titles = [NAMES[arch] for arch in first]
    figure, axes = plots.panels(titles, width=4.4, height=3.2)
    for ax, net in zip(axes, first.values(), strict=True):
        plots.plot_spectrum(net.linearization, ax=ax)
    bench.picture(
        "sine_spectra",
        figure,
        "Multipliers of the fixed points under the cues, dark for the lowest frequency "
        "and bright for the highest, in the first net of each architecture.",
    )
    figure, axes = plots.panels(titles, columns=4, width=3.2, height=2.8)
    for ax, arch in zip(axes, ARCHITECTURES, strict=True):
        own = {
            f"seed {seed}": net.frequencies
            for (one, seed), net in zip(plan.nets, found, strict=True)
            if one == arch
        }
        plots.plot_frequencies(wanted, own, ax=ax)
    bench.picture(
        "sine_frequencies",
        figure,
        "The angle of the leading complex pair at the fixed point of a cue, over the "
        "frequency that the cue asks for. Grey: where they are the same.",
    )
