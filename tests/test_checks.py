"""Validators say what was expected, for which argument, and what came."""

from __future__ import annotations

import pytest
import torch

from captum_dynamics import _checks


def test_a_good_matrix_is_returned_as_it_is() -> None:
    value = torch.zeros(2, 3)
    assert _checks.check_matrix("states", value, 3) is value
    assert _checks.check_rows("states", value) is value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (torch.zeros(2, 4), r"`states` to have shape \(n, 3\), got \(2, 4\)"),
        (torch.zeros(3), r"`states` to have shape \(n, 3\), got \(3,\)"),
        (torch.tensor([[0.0, torch.nan, 1.0]]), "`states` to be finite, got 1 NaN"),
        (torch.tensor([[0.0, torch.inf, 1.0]]), "`states` to be finite, got 1 NaN"),
    ],
)
def test_a_bad_matrix_is_refused(value: torch.Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        _checks.check_matrix("states", value, 3)


def test_a_matrix_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `states` on meta"):
        _checks.check_matrix("states", torch.zeros(1, 1), 1, torch.device("meta"))


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([0.0], "`inputs` to be a tensor, got list"),
        (torch.zeros(1, 2, dtype=torch.long), "floating tensor, got torch.int64"),
        (
            torch.zeros(1, 2, dtype=torch.complex64),
            "floating tensor, got torch.complex",
        ),
    ],
)
def test_what_is_not_floating_is_refused(value: object, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        _checks.check_inputs("inputs", value, 1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2,), (1, 2), (4, 2)])
def test_inputs_are_given_to_every_row(shape: tuple[int, ...]) -> None:
    assert _checks.check_inputs("inputs", torch.ones(shape), 4, 2).shape == (4, 2)


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (4,), (2, 4, 2), ()])
def test_inputs_that_fit_no_row_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`inputs` to have shape"):
        _checks.check_inputs("inputs", torch.ones(shape), 4, 2)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="`states` to have at least one row"):
        _checks.check_rows("states", torch.zeros(0, 2))


@pytest.mark.parametrize(
    "lengths",
    [[1.0, 2.0], [1], [0, 2], [1, 6], [[1, 2]]],
    ids=["floating", "too few", "zero", "too long", "matrix"],
)
def test_lengths_that_fit_no_sequences_are_refused(lengths: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected `lengths`"):
        _checks.check_lengths("lengths", torch.tensor(lengths), 2, 5)


def test_lengths_may_be_one_and_the_whole() -> None:
    lengths = torch.tensor([1, 5])
    assert _checks.check_lengths("lengths", lengths, 2, 5) is lengths


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_what_is_not_positive_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="Expected `atol` to be positive"):
        _checks.check_positive("atol", value)


@pytest.mark.misuse
@pytest.mark.parametrize("value", [0, -3, 2.5, float("nan"), "two"])
def test_what_counts_nothing_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="`starts` to be a whole number of at least 1"):
        _checks.check_count("starts", value)  # type: ignore[arg-type]


def test_a_count_may_be_as_small_as_is_said() -> None:
    assert _checks.check_count("basin_samples", 0, least=0) == 0
