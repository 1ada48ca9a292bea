"""Any step function as a dynamics map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from captum_dynamics._typing import Inputs, OneInput, States
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._calls import CellCalls
from captum_dynamics.adapters._convention import CallConvention
from captum_dynamics.adapters._shaped import StateForm, flat_step, layout_of
from captum_dynamics.dynamics import Traits
from captum_dynamics.layout import StateLayout


class FunctionAdapter(RecurrentAdapter):
    """Wrap `step(states (n, d), inputs (n, k)) -> states (n, d)`.

    Derivatives come from torch.func, so the step must be differentiable and let no
    row influence another; parameters it closes over must accept float64 states, or
    `traits=Traits(float64=False)` says that they do not.

    Args:
        step: the map, one row at a time.
        state: width d of the state, or its layout. A shape such as (4, 16) gives the
            step tensors (n, 4, 16), a mapping such as {"m": (4, 16), "c": 8} gives and
            takes dicts of such tensors; either is flat to everything else.
        input_dim: width k of the input; 0 for an autonomous system.
        traits: what is known of the map.
        box: bounds (low (d,), high (d,)) of a box the step maps into itself.
        activation_form: the `ActivationForm` of the step as a function of one input
            (k,), where it has one.
        calls: how the layer behind the step is called, for `record`.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> switch = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
        >>> starts = torch.tensor([[-1.0], [0.1], [1.0]])
        >>> points = cd.find_fixed_points(switch, starts, torch.zeros(1, 1))
        >>> found = points.unique().states.flatten().tolist()
        >>> sorted(round(h, 6) + 0 for h in found)
        [-0.957504, 0.0, 0.957504]
    """

    def __init__(
        self,
        step: Callable[[Any, Tensor], Any],
        state: StateForm,
        input_dim: int,
        *,
        traits: Traits | None = None,
        box: tuple[Tensor, Tensor] | None = None,
        activation_form: Callable[[Tensor], ActivationForm] | None = None,
        calls: CallConvention | None = None,
    ) -> None:
        """Keep the step and what is said of it."""
        self._step = flat_step(step, state)
        self._layout = layout_of(state)
        self._input_dim = input_dim
        self._box = box
        self._activation_form = activation_form
        self.traits = Traits() if traits is None else traits
        self.calls = CellCalls() if calls is None else calls

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return self._input_dim

    def step(self, states: States, inputs: Inputs) -> States:
        new = self._step(states, inputs)
        if new.shape != states.shape:
            raise ValueError(
                f"Expected `step` to keep the shape {tuple(states.shape)} of its "
                f"states, got {tuple(new.shape)}."
            )
        return new

    def invariant_box(self, inputs: Inputs) -> tuple[States, States] | None:
        if self._box is None:
            return None
        rows = len(inputs)
        low, high = (side.to(inputs).expand(rows, -1) for side in self._box)
        return low, high

    def activation_form(self, one_input: OneInput) -> ActivationForm | None:
        return (
            None if self._activation_form is None else self._activation_form(one_input)
        )
