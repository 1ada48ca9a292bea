"""Runs that neither rest nor repeat: their Lyapunov exponents tell what they do."""

from __future__ import annotations

import math

import torch

from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import States, StateSequences
from captum_dynamics.lyapunov import LyapunovSpectrum, lyapunov_exponents
from captum_dynamics.regimes._endings import Ending, Regime
from captum_dynamics.regimes._runs import Problem
from captum_dynamics.regimes._samples import SPAN, Samples

MEASURED = 2048  # steps over which exponents are measured
SETTLING = 256
SHOWN = 1024  # states of a set that are kept
REPEATED = 1e-6  # of its step: a run this close to where it was repeats itself
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
    recurrent = samples.recurrent.tolist()
    endings = []
    bytes_per_row = 8 * 2 * (MEASURED + 1) * states.shape[1]
    for rows in row_chunks(len(states), bytes_per_row):
        orbits = _orbits(problem, spectrum.states[rows])
        for row, orbit in zip(range(len(states))[rows], orbits, strict=True):
            reason = _objection(problem, spectrum, row, orbit, recurrent[row])
            if reason or _fades(spectrum, row):
                own = samples[torch.tensor([row], device=states.device)]
                endings.append(unfinished(own, reason=reason))
            else:
                endings.append(_set(spectrum, row, orbit))
    return endings


def _orbits(problem: Problem, states: States) -> StateSequences:
    """States (n, t, d) that each run visits from where it is."""
    visited = [states]
    for _ in range(MEASURED):
        visited.append(problem.step(visited[-1]))
    return torch.stack(visited, dim=1)


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


def _objection(
    problem: Problem,
    spectrum: LyapunovSpectrum,
    row: int,
    orbit: States,
    recurrent: bool,
) -> str:
    """Why a run is no set that is told by its exponents; empty where it is one."""
    if bool(spectrum.exponents[row].isnan().any()):
        return LOST
    if _fades(spectrum, row):
        repeat = _first_repeat(orbit)
        if repeat > problem.longest:
            return f"repeats itself after {repeat} steps, more than were looked for"
        return ""
    if not recurrent:
        return f"does not come back within {SPAN} steps"
    tolerance = float(spectrum.tolerances[row, 0])
    told = tolerance < PRECISE or float(spectrum.exponents[row, 0]) > tolerance
    return "" if told else "its largest exponent is not told from zero"


def _first_repeat(orbit: States) -> int:
    """Steps until a run is back where it was, but for little of a step, or 0."""
    gaps = (orbit[1:] - orbit[0]).norm(dim=-1)
    close = torch.nonzero(gaps < REPEATED * gaps[0])[:, 0].tolist()
    return close[0] + 1 if close else 0


def _set(spectrum: LyapunovSpectrum, row: int, orbit: States) -> Ending:
    """A set on which runs turn or wander."""
    chaotic = bool(spectrum.exponents[row, 0] > spectrum.tolerances[row, 0])
    zeros = int(spectrum.zeros[row])
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
