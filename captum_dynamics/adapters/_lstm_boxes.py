"""Drives and factors of an LSTM's gates over boxes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captum_dynamics._intervals import Interval


@dataclass(frozen=True, eq=False)
class GateBoxes:
    """Drives of the four gates, and the cells before and after, over boxes."""

    i: Interval
    f: Interval
    g: Interval
    o: Interval
    c: Interval
    cells: Interval

    def cell_terms(self, weights: Tensor) -> tuple[tuple[Interval, Tensor], ...]:
        """Factors and matrices of d cells through the gates' drives."""
        w_i, w_f, w_g, _ = weights.chunk(4)
        return (
            (self.g.tanh() * self.i.sigmoid_slope(), w_i),
            (self.c * self.f.sigmoid_slope(), w_f),
            (self.i.sigmoid() * self.g.tanh_slope(), w_g),
        )

    def hidden_terms(self, weights: Tensor) -> tuple[tuple[Interval, Tensor], ...]:
        """The same of d (o tanh cells)."""
        by_o = self.cells.tanh() * self.o.sigmoid_slope()
        slope = self._hidden_by_cells
        through_cells = [(slope * by, w) for by, w in self.cell_terms(weights)]
        return ((by_o, weights.chunk(4)[3]), *through_cells)

    @property
    def hidden_by_c(self) -> Interval:
        """d (o tanh cells) / dc, a diagonal."""
        return self._hidden_by_cells * self.f.sigmoid()

    @property
    def _hidden_by_cells(self) -> Interval:
        return self.o.sigmoid() * self.cells.tanh_slope()
