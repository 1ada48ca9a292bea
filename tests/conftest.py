"""What holds for every test: the same randomness, and the session left as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

# Derandomized and without a database: a failure is the same everywhere, and a test
# run leaves no folder behind. Compiling a first torch call can take a second.
settings.register_profile(
    "captum_dynamics",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("captum_dynamics")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("CAPTUM_DYNAMICS_SHAPES") == "1":
        first = pytest.mark.skip(reason="the checker of shapes refuses this call first")
        for item in items:
            if item.get_closest_marker("misuse"):
                item.add_marker(first)


def _torch_globals() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.enabled,
    )


@pytest.fixture(autouse=True)
def _the_session_is_left_as_it_was() -> Iterator[None]:
    torch.manual_seed(0)
    before = _torch_globals()
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    assert _torch_globals() == before, "a global setting of torch was changed"
