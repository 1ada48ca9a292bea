"""How an output builds up along one sequence."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_dynamics.findings import Documents
from captum_dynamics.plots import _base

LARGEST_NAMED = 60  # steps whose names fit below the axis


def plot_accumulation(
    documents: Documents, *, document: int = 0, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Draw contributions added up from the output under the baseline.

    A method whose contributions sum to the change of the output ends at the output,
    the dotted line. Methods that promise no such sum are left out: their values added
    up mean nothing.

    Args:
        documents: the explained sequences, such as `findings.documents`.
        document: which of them.
        ax: where to draw; a new figure by default.

    Returns:
        The figure and the axes drawn on.
    """
    figure, ax = _base.axes_for(ax, width=8.0, height=2.9)
    names = documents.tokens[document]
    steps = np.arange(len(names) + 1)
    output = float(documents.outputs[document])
    if not np.isfinite([output, float(documents.baseline_outputs[document])]).all():
        _base.say_nothing_to_show(ax, "The outputs are not known.")
        return figure, ax
    label = f"output {output:.3g}"
    ax.axhline(output, color=_base.INK, linewidth=0.9, linestyle=":", label=label)
    drawn = [(i, e) for i, e in enumerate(documents.explanations) if e.complete]
    for row, explanation in drawn:
        total = _base.array(documents.accumulated(row)[document, : len(steps)])
        ax.step(
            steps,
            total,
            where="post",
            color=_base.CYCLE[row % len(_base.CYCLE)],
            linewidth=1.8 if row == 0 else 1.1,
            linestyle="-" if row == 0 else "--",
            label=explanation.method,
            # Ours comes first and lies on top of those that agree with it.
            zorder=3 - row / len(drawn),
        )
    if len(names) <= LARGEST_NAMED:
        labels = ["baseline", *(_base.shorten(name) for name in names)]
        ax.set_xticks(steps, labels, rotation=90, fontsize=_base.SMALL - 1)
    _base.name_axes(ax, "step", "output so far")
    _base.legend(ax, loc="best", ncols=2)
    return figure, ax
