"""A closed loop as a module, which a model can hold and Captum can attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import InputSequences, States, StateSequences
from captum_dynamics.adapters._base import RecurrentAdapter
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.adapters._registry import adapt, register_adapter
from captum_dynamics.adapters.closed_loop import ClosedLoop
from captum_dynamics.adapters.feedback import Feedback
from captum_dynamics.dynamics import DynamicsMap

OutputSequences = Float[Tensor, "n t m"]


class GenerationLoop(nn.Module):
    """Let a layer generate: at each step it reads what it gave out, and a nudge.

    `forward(nudges (n, t, k), initial_states=None)` gives outputs (n, t, m), one for
    each nudge; zeros leave the loop to itself. `adapt`, `record`, `analyze` and all
    attributions read this module as a driven `ClosedLoop`: they say what each nudge
    did to what was generated later.

    It runs a float64 copy of the layer's equations, whatever the dtype of the nudges;
    later training of the layer does not change it.

    Args:
        layer: the recurrent layer, or the adapter of one.
        feedback: what is fed back; see `ClosedLoop`.
        first_input: what the layer reads first (k,), such as the embedding of the token
            that starts a sequence; zeros by default.

    Raises:
        AdapterNotFoundError: nothing registered reads the layer.
        ValueError: a feedback or `first_input` that does not fit the layer.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics import GenerationLoop, soft_feedback
        >>> rnn, embed = torch.nn.GRU(4, 8), torch.nn.Embedding(11, 4)
        >>> head = torch.nn.Linear(8, 11)
        >>> loop = GenerationLoop(rnn, soft_feedback(head, embed), embed.weight[0])
        >>> model = torch.nn.Sequential(loop, head)
        >>> model(torch.zeros(1, 20, 4)).shape
        torch.Size([1, 20, 11])
        >>> cd.adapt(model).layout.names
        ('h', 'input')
    """

    def __init__(
        self,
        layer: nn.Module | RecurrentAdapter,
        feedback: Feedback | Callable[[Tensor], Tensor],
        first_input: Tensor | None = None,
    ) -> None:
        """Close the loop."""
        super().__init__()
        dynamics = adapt(layer) if isinstance(layer, nn.Module) else layer
        self.loop = ClosedLoop(dynamics, feedback, driven=True)
        width, dtype = dynamics.input_dim, self.loop.dtype
        if first_input is None:
            first_input = torch.zeros(width, dtype=dtype, device=dynamics.device)
        _checks.check_shape("first_input", first_input, (width,))
        given = _checks.check_finite("first_input", first_input)
        self.first_input = given.detach().to(dtype, copy=True)

    def forward(
        self, nudges: InputSequences, initial_states: States | None = None
    ) -> OutputSequences:
        """Outputs (n, t, m) under nudges (n, t, k), from states by `loop.start`."""
        width = self.loop.input_dim
        if nudges.ndim != 3 or nudges.shape[-1] != width:
            raise ValueError(
                f"Expected `nudges` to have shape (n, t, {width}), got "
                f"{tuple(nudges.shape)}."
            )
        given = nudges.to(self.loop.dtype)
        states = self.starts(len(nudges), initial_states)
        visited = self.loop.rollout(states, given)
        return self.loop.outputs(visited).to(nudges.dtype)

    def starts(self, rows: int, initial_states: States | None = None) -> States:
        """States (n, d) of the loop before the first step; the layer's are zero."""
        if initial_states is None:
            own = self.first_input.new_zeros(rows, self.loop.layer_dim)
            return self.loop.start(own, self.first_input)
        name, width = "initial_states", self.loop.state_dim
        states = _checks.check_matrix(name, initial_states, width)
        return _checks.check_shape(name, states, (rows, width)).to(self.loop.dtype)


class GenerationCalls(CallConvention):
    """`forward(nudges, initial_states=None) -> outputs`, batch first."""

    def __init__(self, module: GenerationLoop) -> None:
        """Keep the module, which knows where its loop starts."""
        self._module = module

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read nudges, and the loop's first states."""
        nudges, initial = _arguments(args, kwargs)
        inputs = nudges.detach().to(dynamics.dtype)
        states = self._module.starts(len(inputs), initial).detach()
        rows, steps = inputs.shape[:2]
        return Call(inputs, states, torch.full((rows,), steps, device=inputs.device))

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put nudges (n, t, k) in the place of the call's own."""
        nudges, _ = _arguments(args, kwargs)
        replaced = inputs.to(nudges.dtype)
        if args:
            return (replaced, *args[1:]), kwargs
        return args, {**kwargs, "nudges": replaced}

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Any:
        """Outputs (n, t, m) on the way to states (n, t, d)."""
        return self._module.loop.outputs(states).to(output.dtype)


@register_adapter(GenerationLoop)
class GenerationAdapter(ClosedLoop):
    """The driven loop of a `GenerationLoop`."""

    def __init__(self, module: GenerationLoop) -> None:
        """Take the module's loop."""
        super().__init__(module.loop.dynamics, module.loop.feedback, driven=True)
        self.calls = GenerationCalls(module)


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    nudges = args[0] if args else kwargs["nudges"]
    initial = args[1] if len(args) > 1 else kwargs.get("initial_states")
    return nudges, initial
