"""Searching until nothing new turns up, under one constant input or a thousand."""

from __future__ import annotations

from captum_dynamics.survey._survey import Survey, survey_fixed_points

__all__ = [
    "Survey",
    "survey_fixed_points",
]
