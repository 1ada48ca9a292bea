"""What attributions of a model to its recurrent layer's inputs have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerAttribution
from torch import Tensor, nn

from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.attr._compat import Target, as_tuple
from captum_dynamics.attr._host import (
    Arguments,
    Host,
    check_host,
    layer_of,
    whole_dynamics,
)
from captum_dynamics.attr._reference import MEAN_MAP, check_reference
from captum_dynamics.attr._session import Session, format_baselines, joined
from captum_dynamics.exceptions import AttributionWarning


class RecurrentAttribution(LayerAttribution):  # type: ignore[misc]
    """Compare a run of a recurrent layer with a baseline run.

    A subclass states `attribute`, in Captum's order of arguments.
    """

    takes_mean_map = False

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        reference: str | Tensor,
    ) -> None:
        """Find the layer; `reference` is its input where no baselines are given."""
        found = layer_of(forward_func, layer)
        LayerAttribution.__init__(self, forward_func, found)
        named = isinstance(reference, str) and reference == MEAN_MAP
        if named and not self.takes_mean_map:
            raise ValueError(
                f'Expected `reference` of {type(self).__name__} to be "mean", "zero" '
                f'or a tensor, got "mean map"; `DynamicsAttribution` takes it.'
            )
        self._reference = check_reference(reference, self.dynamics)

    @property
    def dynamics(self) -> RecurrentAdapter:
        """The layer's map with its present weights, in float64.

        That of a bidirectional layer holds its systems, and cannot be stepped. What a
        layer with a cache gives out is part of the state.
        """
        return whole_dynamics(self.forward_func, self.layer)

    def has_convergence_delta(self) -> bool:
        """Return True: `attribute` takes `return_convergence_delta`."""
        return True

    def attribute_future(self) -> None:
        """Raise, as attributions are computed at once.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "`attribute_future` is not implemented; call `attribute`."
        )

    def _session(
        self,
        inputs: Any,
        baselines: Any,
        target: Target,
        additional: Any,
        batch_size: int | None = None,
    ) -> Session:
        check_host(self.forward_func, self.layer)
        arguments = Arguments(as_tuple(inputs), target, as_tuple(additional))
        host = Host(self.forward_func, self.layer, self.dynamics)
        formatted = format_baselines(arguments.inputs, baselines)
        return Session(host, arguments, formatted, batch_size)


def in_form_of(
    inputs: Any, session: Session, parts: list[Tensor], deltas: list[Tensor] | None
) -> Any:
    """Join batches, and give contributions in the form and precision of `inputs`."""
    if not any(bool(part.any()) for part in parts):
        warn_of_nothing(session.host.layer)
    return joined_in_form_of(inputs, session, parts, deltas)


def joined_in_form_of(
    inputs: Any, session: Session, parts: list[Tensor], deltas: list[Tensor] | None
) -> Any:
    """The same of what may well be zero."""
    attributions = joined(parts).to(session.dtype)
    formatted = (attributions,) if isinstance(inputs, tuple) else attributions
    if deltas is None:
        return formatted
    return formatted, torch.cat(deltas).to(session.dtype)


def warn_of_nothing(layer: nn.Module, *, stacklevel: int = 6) -> None:
    """Say that all contributions are zero."""
    warnings.warn(
        f"All contributions are zero: the selected outputs do not depend on what "
        f"{type(layer).__name__} reads, or the baseline run reads the same.",
        AttributionWarning,
        stacklevel=stacklevel,
    )
