"""Judge: what one method's attributions are worth, and why a number is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import PerPoint
from captum_dynamics.attr._asked import Answer, answer, forward_of
from captum_dynamics.attr._curves import deletion_and_insertion, steps_of
from captum_dynamics.attr._perturbed import (
    Perturbations,
    infidelity_of,
    sensitivity_of,
)
from captum_dynamics.attr._question import Question
from captum_dynamics.attr.comparison import MethodScores
from captum_dynamics.attr.traps import check_method

SAME = 1e-3
"""Outputs of one function by two ways differ by less, relative to their size."""


@dataclass(frozen=True, eq=False)
class Judge:
    """The model whose outputs judge, and what it says of the inputs.

    Attributes:
        forward_func: the model.
        question: what all methods are asked.
        outputs: (n,) its outputs for the inputs.
        baseline_outputs: (n,) its outputs with all steps replaced.
        shares: (p,) of steps, from 0 to 1.
        perturbations: how inputs are perturbed.
    """

    forward_func: Callable[..., Any]
    question: Question
    outputs: PerPoint
    baseline_outputs: PerPoint
    shares: Float[Tensor, " p"]
    perturbations: Perturbations

    @classmethod
    def of(
        cls,
        forward_func: Callable[..., Any],
        question: Question,
        points: int,
        perturbations: Perturbations,
    ) -> Judge:
        """Ask the model for its outputs, with all steps and with none."""
        return cls(
            forward_func,
            question,
            question.outputs(forward_func, question.inputs),
            question.outputs(forward_func, question.replace(question.valid)),
            torch.linspace(0, 1, points + 1, dtype=torch.float64),
            perturbations,
        )

    def scores(self, name: str, method: Any, own: Mapping[str, Any]) -> MethodScores:
        """Ask a method, and judge what it says.

        Raises:
            Exception: What the method raises, or a sentence about what it gave.
        """
        self._check_same(method)
        traps = self._traps(method)
        given = answer(method, self.question, own)
        _checks.check_finite("attributions", given.attributions)
        infidelity, sensitivity, reasons = self._perturbed(method, given, own)
        deletion, insertion = deletion_and_insertion(
            self.forward_func,
            self.question,
            steps_of(given.attributions),
            self.shares,
            (self.outputs, self.baseline_outputs),
        )
        return MethodScores(
            name,
            given.attributions,
            given.deltas,
            infidelity,
            sensitivity,
            deletion,
            insertion,
            given.seconds,
            given.tally.calls,
            given.tally.examples,
            traps,
            reasons,
        )

    def _check_same(self, method: Any) -> None:
        """Refuse a method that explains another function."""
        other = forward_of(method)
        if other is None or other is self.forward_func:
            return
        outputs = self.question.outputs(other, self.question.inputs)
        apart = float((outputs - self.outputs).abs().max())
        if apart > SAME * float(self.outputs.abs().max()):
            raise ValueError(
                f"Expected a method that explains the outputs of `forward_func`, got "
                f"one whose outputs differ by up to {apart:.3g}."
            )

    def _traps(self, method: Any) -> tuple[str, ...]:
        """What `check_method` says, where the model is a module that can be watched."""
        model = forward_of(method)
        if not isinstance(model, nn.Module):
            return ()
        given = (self.question.inputs, *self.question.arguments.additional)
        return check_method(method, model, given)

    def _perturbed(
        self, method: Any, given: Answer, own: Mapping[str, Any]
    ) -> tuple[PerPoint, PerPoint, dict[str, str]]:
        """Both metrics, NaN with a reason where they cannot be taken."""
        question, perturbations = self.question, self.perturbations
        if not perturbations.samples:
            reason = "`n_perturb_samples` is 0"
            nan = torch.full_like(self.outputs, torch.nan)
            return nan, nan, {"infidelity": reason, "sensitivity": reason}
        ways: dict[str, Callable[[], PerPoint]] = {
            "infidelity": lambda: infidelity_of(
                method,
                self.forward_func,
                question,
                given.attributions,
                perturbations,
            ),
            "sensitivity": lambda: sensitivity_of(method, question, own, perturbations),
        }
        found, reasons = {}, {}
        for name, way in ways.items():
            try:
                found[name] = way()
            except Exception as error:
                found[name] = torch.full_like(self.outputs, torch.nan)
                reasons[name] = told(error)
        return found["infidelity"], found["sensitivity"], reasons


def told(error: Exception) -> str:
    """The first line of what an error says, with its class."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
