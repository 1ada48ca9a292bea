"""Attributions by an estimator: a linear picture of runs, fitted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from captum.attr import GradientAttribution
from torch import Tensor, nn

from captum_dynamics._execution import progress
from captum_dynamics._typing import Inputs, InputSequences
from captum_dynamics.attr._base import Estimator, Picture
from captum_dynamics.attr._compat import Target
from captum_dynamics.attr._directions import fit_picture
from captum_dynamics.attr._recurrent import RecurrentAttribution, in_form_of
from captum_dynamics.attr._reference import reference_input
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr._session import Session
from captum_dynamics.attr.path_integrated import PathIntegrated


@dataclass(frozen=True, eq=False)
class Fitted:
    """What an attribution keeps of its calibration data.

    Attributes:
        reference_input: the layer's input at every step of a baseline run, (1, k), or
            those (m, k) whose steps are averaged, for the reference "mean map".
        picture: the estimator's linear picture of the dynamics.
    """

    reference_input: Inputs
    picture: Picture


Gradients = Callable[[Picture, RunPair], InputSequences]
Self = TypeVar("Self", bound="EstimatedAttribution")


class EstimatedAttribution(RecurrentAttribution, GradientAttribution):  # type: ignore[misc]
    """Carry the readout back through Jacobians that an estimator gives."""

    takes_mean_map = True

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        estimator: Estimator | None,
        reference: str | Tensor,
        multiply_by_inputs: bool,
    ) -> None:
        """Keep the settings; nothing is fitted yet."""
        RecurrentAttribution.__init__(self, forward_func, layer, reference)
        GradientAttribution.__init__(self, forward_func)
        given = PathIntegrated() if estimator is None else estimator
        if not isinstance(given, Estimator):
            raise TypeError(
                f"Expected `estimator` to be an object such as `PathIntegrated()` or "
                f"`Switching()`, got {given!r}."
            )
        self.estimator = given
        self.fitted: Fitted | None = None
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether contributions, rather than gradients, are returned."""
        return self._multiply_by_inputs

    @torch.inference_mode(False)
    def fit(
        self: Self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        generator: torch.Generator | None = None,
        internal_batch_size: int | None = None,
    ) -> Self:
        """Fit the reference input and the estimator to calibration data, once.

        Without it each call of `attribute` fits them to its own inputs.

        Args:
            inputs: The model's inputs, best disjoint from what is to be explained.
            target: The output whose prediction a fit is judged by.
            additional_forward_args: Further arguments of the model.
            generator: Source of randomness; by default always the same one.
            internal_batch_size: Examples to run at once.

        Returns:
            This object, with `fitted` set.
        """
        session = self._session(
            inputs, None, target, additional_forward_args, internal_batch_size
        )
        self.fitted = self._fit(session, generator or torch.Generator())
        return self

    @torch.inference_mode(False)
    def reference_input(
        self, inputs: Any = None, additional_forward_args: Any = None
    ) -> Inputs:
        """Layer input (1, k) of a baseline run, or those (m, k) of a mean map."""
        if self.fitted is not None:
            return self.fitted.reference_input
        session = self._session(inputs, None, None, additional_forward_args)
        return reference_input(self._reference, session)

    def _attribute(
        self,
        inputs: Any,
        session: Session,
        gradients_of: Gradients,
        *,
        with_delta: bool,
        show_progress: bool,
    ) -> Any:
        """Attributions of all batches, from gradients of one."""
        fitted = self._fitted_to(session)
        description = f"{self.get_name()} attribution"
        parts, deltas = [], []
        batches = session.batches()
        for batch in progress(batches, show=show_progress, desc=description):
            runs = session.pair(batch, fitted.reference_input)
            gradients = gradients_of(fitted.picture, runs)
            contributions = gradients * runs.input_differences
            change = runs.outputs - runs.baseline_outputs
            deltas.append(contributions.sum((1, 2)) - change)
            given = contributions if self.multiplies_by_inputs else gradients
            width = session.host.dynamics.input_dim
            # A mean map reads several inputs side by side, all of them the same.
            parts.append(given.view(*given.shape[:2], -1, width).sum(2))
        return in_form_of(inputs, session, parts, deltas if with_delta else None)

    def _fitted_to(self, session: Session) -> Fitted:
        """What was fitted, or is now to the call's own inputs."""
        return self.fitted or self._fit(session, torch.Generator())

    def _fit(self, session: Session, generator: torch.Generator) -> Fitted:
        reference = reference_input(self._reference, session, generator)
        runs = (session.pair(batch, reference) for batch in session.batches())
        dynamics = session.host.dynamics
        return Fitted(reference, fit_picture(self.estimator, dynamics, runs, generator))
