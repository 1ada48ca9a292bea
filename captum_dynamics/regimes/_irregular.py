"""Runs that neither rest nor repeat: their Lyapunov exponents tell what they do."""

from __future__ import annotations

import math

import torch

from captum_dynamics._typing import States
from captum_dynamics.lyapunov import LyapunovSpectrum, lyapunov_exponents
from captum_dynamics.regimes._endings import Ending, Regime
from captum_dynamics.regimes._runs import Problem
from captum_dynamics.regimes._samples import SPAN, Samples

MEASURED = 2048  # steps over which exponents are measured
SETTLING = 256
SHOWN = 1024  # states of a set that are kept
REPEATED = 1e-6  # times 1 + |h|: a run this close to its past repeats itself
LOST = "leaves every bound in the end"
PRECISE = 5e-3  # tolerance up to which an exponent of zero is one
HOLLOW = 0.05  # of the largest distance from its middle: closer a curve does not come


def irregular(problem: Problem, samples: Samples) -> list[Ending]:
    """Say of each run what its exponents, and whether it returns, make of it."""
    states = samples.states[:, -1]
    spectrum = lyapunov_exponents(
        problem.dynamics,
        states,
        problem.one_input,
        count=problem.count,
        steps=MEASURED,
        transient=SETTLING,
        show_progress=problem.show_progress,
    )
    slow, recurrent = samples.slow.tolist(), samples.recurrent.tolist()
    endings = []
    for row in range(len(states)):
        own = samples[torch.tensor([row], device=states.device)]
        repeat = _first_repeat(problem, spectrum, row)
        if bool(spectrum.exponents[row].isnan().any()):
            endings.append(unfinished(own, reason=LOST))
        elif repeat:
            reason = f"repeats itself after {repeat} steps, more than were looked for"
            endings.append(unfinished(own, reason=reason))
        elif slow[row] or _fades(spectrum, row):
            endings.append(unfinished(own))
        elif not recurrent[row]:
            reason = f"does not come back within {SPAN} steps"
            endings.append(unfinished(own, reason=reason))
        elif not _is_told(spectrum, row):
            reason = "its largest exponent is not told from zero"
            endings.append(unfinished(own, reason=reason))
        else:
            endings.append(_set(problem, own, spectrum, row))
    return endings


def unfinished(samples: Samples, *, reason: str = "") -> Ending:
    """The end of runs that are slow or, where there is a reason, not resolved."""
    states = samples.states[:, -1]
    none = states.new_zeros(0)
    return Ending(
        Regime.UNRESOLVED if reason else Regime.SLOW,
        states,
        0,
        float(samples.speeds[:, -1].max()),
        none,
        none,
        reason=reason,
    )


def _fades(spectrum: LyapunovSpectrum, row: int) -> bool:
    """Whether every deviation from a run fades."""
    return bool(spectrum.exponents[row, 0] < -spectrum.tolerances[row, 0])


def _is_told(spectrum: LyapunovSpectrum, row: int) -> bool:
    """Whether the largest exponent is positive, or zero to a good precision."""
    tolerance = float(spectrum.tolerances[row, 0])
    return tolerance < PRECISE or float(spectrum.exponents[row, 0]) > tolerance


def _first_repeat(problem: Problem, spectrum: LyapunovSpectrum, row: int) -> int:
    """Steps until a run whose deviations fade comes back to itself, or 0."""
    if not _fades(spectrum, row):
        return 0
    state = later = spectrum.states[row : row + 1]
    near = REPEATED * (1 + state.norm())
    for step in range(1, MEASURED + 1):
        later = problem.step(later)
        if step > problem.longest and bool((later - state).norm() < near):
            return step
    return 0


def _set(
    problem: Problem, own: Samples, spectrum: LyapunovSpectrum, row: int
) -> Ending:
    """A set on which runs turn or wander."""
    chaotic = bool(spectrum.exponents[row, 0] > spectrum.tolerances[row, 0])
    zeros = int(spectrum.zeros[row])
    visited = [own.states[:, -1]]
    for _ in range(MEASURED):
        visited.append(problem.step(visited[-1]))
    orbit = torch.cat(visited)
    turning = not chaotic and zeros == 1
    return Ending(
        Regime.CHAOTIC if chaotic else Regime.QUASI_PERIODIC,
        orbit[:SHOWN],
        0,
        float((orbit[SHOWN] - orbit[SHOWN - 1]).norm()),
        spectrum.exponents[row],
        spectrum.errors[row],
        zeros=zeros,
        dimension=float(spectrum.dimension[row]),
        rotation=_rotation(orbit) if turning else math.nan,
    )


def _rotation(orbit: States) -> float:
    """Turns per step around the middle of a closed curve; NaN where it has none.

    By weighted averages (Das et al. 2017), which make full use of smooth motion.
    """
    centred = orbit - orbit.mean(0)
    plane = centred @ torch.linalg.svd(centred, full_matrices=False)[2][:2].mT
    distances = plane.norm(dim=1)
    if plane.shape[1] < 2 or bool(distances.min() < HOLLOW * distances.max()):
        return math.nan
    angles = torch.atan2(plane[:, 1], plane[:, 0]) / (2 * math.pi)
    turns = angles.diff()
    # Each step turns by about as much as the first: which way round, it tells.
    turns = turns - (turns - turns[0]).round()
    # Smooth weights that vanish at both ends: the mean converges like no power of 1/n.
    times = torch.linspace(0, 1, len(turns) + 2).to(turns)[1:-1]
    weights = (-1 / (times * (1 - times))).exp()
    turn = float((weights * turns).sum() / weights.sum())
    return abs(turn - round(turn))
