"""What the tests of the report share."""

from __future__ import annotations

import pytest


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with few pixels, where no one looks."""
    monkeypatch.setattr("captum_dynamics.report._picture.DPI", 20)
