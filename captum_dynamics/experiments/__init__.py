"""Reproductions of the papers, one module each: `captum-dynamics reproduce NAME`."""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench, Options
from captum_dynamics.experiments._catalogue import EXPERIMENTS, Experiment, reproduce
from captum_dynamics.experiments._claims import Claim, Verdict
from captum_dynamics.experiments._result import Picture, Reproduction, Section

__all__ = [
    "EXPERIMENTS",
    "Bench",
    "Claim",
    "Experiment",
    "Options",
    "Picture",
    "Reproduction",
    "Section",
    "Verdict",
    "reproduce",
]
