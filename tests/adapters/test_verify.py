"""Six checks of an adapter: each is seen to fail where its trap is set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import captum_dynamics as cd
from captum_dynamics.adapters import CellCalls
from captum_dynamics.testing import CheckReport, check_adapter, verify

EXAMPLES: dict[str, Callable[[], nn.Module]] = {
    "torch.nn.modules.rnn.RNN": lambda: nn.RNN(3, 5, 2),
    "torch.nn.modules.rnn.GRU": lambda: nn.GRU(3, 5, batch_first=True),
    "torch.nn.modules.rnn.LSTM": lambda: nn.LSTM(3, 5, 2),
    "torch.nn.modules.rnn.RNNCell": lambda: nn.RNNCell(3, 5),
    "torch.nn.modules.rnn.GRUCell": lambda: nn.GRUCell(3, 5),
    "torch.nn.modules.rnn.LSTMCell": lambda: nn.LSTMCell(3, 5),
}
SIX = ["1", "2", "3", "4", "5", "6"]


def test_every_registered_layer_of_torch_has_an_example() -> None:
    of_torch = {name for name in cd.list_adapters() if name.startswith("torch.nn.")}
    assert of_torch == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_registered_adapter_passes_all_six_checks(name: str) -> None:
    layer = EXAMPLES[name]().double()
    report = check_adapter(cd.adapt(layer), layer, torch.randn(3, 6, 3).double())
    assert report.passed, report.table()
    made = {row.check[0] for row in report.rows}
    assert made >= set(SIX)


class Cell(nn.Module):
    """A leaky cell; what subclasses do to it are traps for an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = torch.zeros_like(x) if h is None else h
        return 0.5 * h + torch.tanh(h @ self.weight.T + x)


class Counting(Cell):
    """Steps by a position that is no part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.position = 0

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        self.position += 1
        return super().forward(x, h) + 0.01 * self.position


class Mixing(Cell):
    """Adds the first row's state to every other, as a wrong broadcast would."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        new = super().forward(x, h)
        return new + 0.01 * new[:1]


class InPlace(Cell):
    """Writes its new state into the tensor that it was given."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        new = super().forward(x, h)
        return new if h is None else h.copy_(new)


class Remembering(Cell):
    """Keeps its last state as an attribute that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        self.last = super().forward(x, h)
        return self.last


def of(cell: nn.Module) -> cd.FunctionAdapter:
    """The adapter that a hurried author would write."""
    return cd.FunctionAdapter(lambda h, x: cell(x, h), 3, 3)


def checked(cell: nn.Module, adapter: cd.RecurrentAdapter | None = None) -> CheckReport:
    inputs = torch.randn(3, 6, 3, dtype=torch.float64)
    return check_adapter(adapter or of(cell), cell, inputs)


@pytest.mark.parametrize(
    ("trap", "check"),
    [(Counting, "5"), (Mixing, "4"), (InPlace, "2"), (Remembering, "6")],
    ids=["position", "rows", "arguments", "purity"],
)
def test_each_trap_fails_the_check_that_is_for_it(trap: type[Cell], check: str) -> None:
    assert checked(Cell()).failed == ()
    failed = checked(trap()).failed
    assert check in [name[0] for name in failed]


def test_rows_that_only_the_layer_mixes_are_told_from_the_adapters() -> None:
    cell = Mixing()
    # The adapter takes rows one by one, and is right of each row alone.
    adapter = cd.FunctionAdapter(
        lambda h, x: torch.cat([cell(x[[r]], h[[r]]) for r in range(len(h))]), 3, 3
    )
    report = checked(cell, adapter)
    wrong = {row.check[0] for row in report.rows if not row.ok}
    assert wrong == {"1", "5"}


def test_wrong_derivatives_fail_the_check_of_derivatives() -> None:
    class Wrong(cd.FunctionAdapter):
        def jacobians(self, states: Tensor, inputs: Tensor) -> Tensor:
            return super().jacobians(states, inputs).mT

    cell = Cell()
    report = checked(cell, Wrong(lambda h, x: cell(x, h), 3, 3))
    assert [name[0] for name in report.failed] == ["3"]


def test_what_an_error_leaves_behind_is_found() -> None:
    cell = Cell()

    def careless(h: Tensor, x: Tensor) -> Tensor:
        cell.train(False)
        new = cell(x, h)
        cell.train(True)
        return new

    report = checked(cell, cd.FunctionAdapter(careless, 3, 3))
    bad = [row for row in report.rows if not row.ok]
    assert [row.name for row in bad] == ["also after an error"]
    assert bad[0].note == "mode of the layer"


def test_a_table_names_the_check_of_every_claim() -> None:
    cell = Counting()
    table = str(checked(cell, of(cell)))
    lines = table.splitlines()
    heads = [line[0] for line in lines[1:] if not line.startswith(" ")]
    assert heads == SIX
    position = next(i for i, line in enumerate(lines) if line.startswith("5"))
    assert lines[position + 1].startswith("  FAIL  a repeated call gives the same")


class Packed(nn.Module):
    """A model that packs, and calls its layer by name with an initial state."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 3)
        self.rnn = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, *, sizes: Tensor) -> Tensor:
        given = self.embed(x)
        packed = pack_padded_sequence(given, sizes, True, enforce_sorted=False)
        start = 0.1 * torch.ones(4, len(x), 4)
        return self.rnn(packed, hx=(start, start))[1][0].sum(0)


@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("level", [0, 1])
def test_verify_holds_an_adapter_against_a_model_in_use(way: str, level: int) -> None:
    model = Packed()
    adapter = cd.adapt(model, layer_index=level, direction=way)
    inputs = {"x": torch.randn(3, 6, 2), "sizes": torch.tensor([2, 6, 4])}
    report = verify(adapter, model, inputs)
    assert report.passed, report.table()
    assert "the recorded run is the layer's" in report.table()


def test_verify_refuses_the_adapter_of_another_net() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 4))
    report = verify(cd.adapt(nn.GRU(3, 4)), model, torch.randn(5, 2, 2), layer="1")
    assert not report.passed
    assert "1" in [name[0] for name in report.failed]


class Loop(nn.Module):
    """A cell in a loop, which may forget half way."""

    def __init__(self, *, resets: bool) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.resets = resets

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(len(x), 4)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h, c))
            if self.resets and step == 2:
                h = 0 * h
        return h


@pytest.mark.parametrize("resets", [False, True])
def test_verify_says_where_a_loop_does_not_hand_its_state_on(resets: bool) -> None:
    model = Loop(resets=resets)
    report = verify(cd.adapt(model), model, torch.randn(2, 6, 3))
    assert report.passed is not resets
    assert ("resets its state" in str(report)) is resets


def test_a_layer_of_ones_own_is_verified_in_its_model() -> None:
    cell = Cell()
    model = nn.Sequential(cell)
    adapter = cd.FunctionAdapter(
        lambda h, x: cell(x, h), 3, 3, calls=CellCalls("x", "h")
    )
    x = torch.randn(4, 3, dtype=torch.float64)
    report = verify(adapter, model, x, layer="0")
    assert report.passed, report.table()
