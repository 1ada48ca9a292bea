"""Captum's contract holds for a layer that torch does not have, with its adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from captum_dynamics.models import UGRNN
from tests.attr import models
from tests.attr import test_every_method as contract

CLAIMS: dict[str, Callable[..., None]] = {
    "forms": contract.test_a_tuple_gives_a_tuple_and_a_tensor_a_tensor,
    "precision": contract.test_attributions_come_in_the_callers_precision,
    "modes": contract.test_neither_modes_of_torch_nor_frozen_parameters_change_it,
    "NoiseTunnel": contract.test_noise_tunnel_runs_with_delta_and_further_arguments,
    "metrics": contract.test_sensitivity_and_infidelity_run,
    "misuse": contract.test_misuse_is_refused_in_one_sentence,
}
CUT = contract.test_cutting_the_batch_changes_nothing
PURE = contract.test_the_model_is_left_as_it_was


def ugrnn(read: Callable[..., Tensor] = models.last) -> models.Reader:
    return models.reader(UGRNN(models.WIDTH, 6), read)


@pytest.fixture(autouse=True)
def _a_ugrnn_instead_of_a_gru(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "gru", ugrnn)
    # It reads no packed sequences; of padded ones the models take the last states.
    monkeypatch.setattr(models, "packed", models.at_lengths)


@pytest.fixture(params=["dynamics", "all modes", "telescoping"])
def case(request: pytest.FixtureRequest) -> Any:
    return contract.CASES[request.param]


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_contract_holds(case: Any, claim: str) -> None:
    CLAIMS[claim](case)


def test_cutting_the_batch_changes_nothing(case: Any) -> None:
    CUT(case, 3, True)


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(case: Any, failing: bool) -> None:
    PURE(case, failing)
