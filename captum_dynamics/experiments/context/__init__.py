"""Context: modifiers in a toy language, and in film reviews.

Maheswaranathan and Sussillo (2020), How recurrent networks implement contextual
processing in sentiment analysis, ICML; arXiv 2004.08013.
"""

from __future__ import annotations

from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments.context import _net, _reviews
from captum_dynamics.experiments.context._toy import toy_sections


def run(bench: Bench) -> None:
    """Train a net on the toy language and read it; then film reviews, if there are."""
    if bench.quick:
        net = _net.trained_net(bench, _net.QUICK)
        toy_sections(bench, net, starts=12, sentences=2000)
        quick = _reviews.Effort(least_count=8000, points=3, named=6, reviews=2000)
        _reviews.reviews_sections(bench, quick)
        return
    net = _net.trained_net(bench, _net.FULL)
    toy_sections(bench, net, starts=48, sentences=8000)
    _reviews.reviews_sections(bench, _reviews.Effort())
