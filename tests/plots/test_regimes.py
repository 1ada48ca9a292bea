"""Long runs and their exponents are drawn where their numbers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from captum_dynamics import Ending, LyapunovSpectrum, Regime, Regimes
from captum_dynamics.plots import _base, plot_exponents, plot_regimes

NONE = torch.zeros(1, 0)
NOTHING = torch.zeros(0, dtype=torch.float64)


def ending(regime: Regime, states: list[list[float]], runs: int) -> Ending:
    where = torch.tensor(states, dtype=torch.float64)
    return Ending(regime, where, 0, 0.0, NOTHING, NOTHING, runs, 9)


def regimes_of(*endings: Ending) -> Regimes:
    members = torch.repeat_interleave(torch.tensor([end.runs for end in endings]))
    return Regimes(endings, members, torch.zeros(9, 2, dtype=torch.float64))


def offsets(mark: PathCollection) -> np.ndarray:
    return np.asarray(mark.get_offsets())


def test_sets_are_drawn_in_their_plane_and_cycles_are_closed() -> None:
    square = [[3.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [0.0, -1.0]]
    regimes = regimes_of(
        ending(Regime.CYCLE, square, 4),
        ending(Regime.CHAOTIC, [[1.0, 0.1], [2.0, -0.1], [-3.0, 0.0]], 3),
        ending(Regime.UNBOUNDED, [[1e6, 1e6]], 2),
    )
    _, ax = plot_regimes(regimes)
    cycle, chaos = ax.collections[:2]
    assert offsets(cycle) == pytest.approx(regimes.planes[0].numpy())
    assert offsets(chaos) == pytest.approx(regimes.planes[1].numpy())
    (line,) = ax.lines
    path = np.asarray(line.get_xydata())
    assert path == pytest.approx(np.concatenate([offsets(cycle), offsets(cycle)[:1]]))
    assert to_hex(chaos.get_facecolor()[0]) == _base.ORANGE.lower()
    # What left the picture is counted, not drawn.
    assert max(abs(number) for number in (*ax.get_xlim(), *ax.get_ylim())) < 5
    assert ax.get_legend_handles_labels()[1] == [
        "on a cycle: 4 of 9 runs",
        "chaotic: 3 of 9 runs",
        "unbounded, not shown: 2 of 9 runs",
    ]


def test_runs_that_all_leave_are_said_to() -> None:
    _, ax = plot_regimes(regimes_of(ending(Regime.UNBOUNDED, [[1e9, 0.0]], 9)))
    assert ax.texts[0].get_text() == "All runs leave every bound."


@pytest.mark.parametrize("regime", list(Regime))
def test_every_regime_can_be_drawn(regime: Regime) -> None:
    figure, ax = plot_regimes(regimes_of(ending(regime, [[0.0, 1.0]], 9)))
    figure.canvas.draw()
    assert ax.get_legend_handles_labels()[1][0].endswith("9 of 9 runs")


def test_exponents_are_drawn_with_three_standard_errors() -> None:
    exponents = torch.tensor([[0.5, -1.0], [0.25, -torch.inf]], dtype=torch.float64)
    errors = torch.tensor([[0.1, 0.2], [0.05, torch.nan]], dtype=torch.float64)
    spectrum = LyapunovSpectrum(exponents, errors, torch.zeros(2, 2).double(), 16)
    _, ax = plot_exponents(spectrum)
    first, second = ax.containers
    assert np.asarray(first[0].get_xydata()) == pytest.approx(
        np.array([[1, 0.5], [2, -1.0]])
    )
    bars = first[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx([0.2, 0.8])
    assert bars[1][:, 1] == pytest.approx([-1.6, -0.4])
    assert np.asarray(second[0].get_xydata()) == pytest.approx(np.array([[1, 0.25]]))
    assert ax.get_legend_handles_labels()[1] == ["0", "1"]


def test_runs_without_a_finite_exponent_are_said_to_have_none() -> None:
    lost = torch.full((1, 2), torch.nan, dtype=torch.float64)
    _, ax = plot_exponents(LyapunovSpectrum(lost, lost, lost, 16))
    assert ax.texts[0].get_text() == "No exponent is finite."
