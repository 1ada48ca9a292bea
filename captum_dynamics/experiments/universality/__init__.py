"""Universality and individuality (Maheswaranathan et al. 2019, arXiv 1907.08549).

Networks of four architectures, several of each, learn three tasks. What they compute
with (fixed points, connections, linearized dynamics) is compared across them, and so
are the states that they visit on the same inputs.
"""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments.universality import _flipflop, _integration, _sine
from captum_dynamics.experiments.universality._plan import FULL, QUICK

__all__ = ["run"]


def run(bench: Bench) -> None:
    """Compare networks on the flip-flop, on sine waves, and on integration."""
    plan = QUICK if bench.quick else FULL
    bench.numbers["plan"] = plan.numbers
    _flipflop.run(bench, plan)
    _sine.run(bench, plan)
    _integration.run(bench, plan)
