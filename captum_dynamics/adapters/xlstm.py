"""The cells of the package xlstm, in coordinates without their stabiliser.

Both cells keep c and n divided by exp(m), a running maximum of log gates, so that no
exponential overflows. Adding to m and dividing c and n alike changes nothing that the
cell gives: m is no part of what it knows, and has multipliers of its own, 1 where the
maximum is carried on and 0 where an input sets it anew. The state here is
C = c exp(m) and N = n exp(m), which move by the equations without stabiliser (Beck et
al. 2024, sections 2.2 and 2.3). The package is not imported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, InputSequences, States, StateSequences
from captum_dynamics.adapters._base import RecurrentAdapter, refuse
from captum_dynamics.adapters._convention import Call, CallConvention
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.dynamics import DynamicsMap, Traits
from captum_dynamics.layout import StateLayout

Given = tuple[tuple[Any, ...], dict[str, Any]]
# What the mLSTM adds to its denominator, in units of exp(m).
EPSILON = 1e-6


@register_adapter("xlstm.blocks.slstm.cell.sLSTMCell_vanilla")
class SLSTMCellAdapter(RecurrentAdapter):
    """xlstm's sLSTM cell: the state is (y, C, N), the inputs are drives of its gates.

    C' = sigma(f) C + e^i tanh z, N' = sigma(f) N + e^i, y' = sigma(o) C' / N', where
    each head's gates add R y + b to the inputs i, f, z and o.
    """

    supported = "xlstm>=2.0"

    def __init__(self, cell: Any) -> None:
        """Copy the recurrent kernel and the bias."""
        config = cell.config
        if config.function != "slstm":
            raise refuse(cell, f"its function is {config.function!r}, not 'slstm'.")
        if (config.input_shape, config.output_shape) != ("BSGNH", "BNSH"):
            raise refuse(
                cell,
                f"its shapes are {config.input_shape} and {config.output_shape}; only "
                f"the package's own BSGNH and BNSH are read.",
            )
        heads, width = int(config.num_heads), int(config.head_dim)
        kernel = _own(cell._recurrent_kernel_).reshape(heads, 4, width, width)
        self._recurrent = kernel.transpose(0, 1)
        self._bias = _own(cell._bias_).reshape(4, heads, width)
        self._heads, self._size = heads, heads * width
        self._layout = StateLayout.of(dict.fromkeys(("y", "c", "n"), self._size))
        self.calls = _SLSTMCalls(heads)

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return 4 * self._size

    def step(self, states: States, inputs: Inputs) -> States:
        y, c, n = self.layout.split(states).values()
        shape = (len(states), 4, *self._bias.shape[1:])
        given = y.reshape(len(states), *self._bias.shape[1:])
        recurrent = torch.einsum("ghij,nhj->nghi", self._recurrent, given)
        drives = inputs.reshape(shape) + recurrent + self._bias
        i, f, z, o = drives.flatten(2).unbind(1)
        keep, write = f.sigmoid(), i.exp()
        c, n = keep * c + write * z.tanh(), keep * n + write
        return torch.cat([o.sigmoid() * c / n, c, n], dim=-1)


class _SLSTMCalls(CallConvention):
    """`forward(input (n, t, 4h), state=None) -> (y (n, heads, t, w), (4, n, h))`."""

    def __init__(self, heads: int) -> None:
        """Keep how outputs are divided."""
        self._heads = heads

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read inputs and a state, whose stabiliser is multiplied in."""
        given = {**dict(zip(("input", "state"), args, strict=False)), **kwargs}
        inputs = given["input"].detach().to(dynamics.dtype)
        state = given.get("state")
        if state is None:
            states = inputs.new_zeros(len(inputs), dynamics.state_dim)
        else:
            y, c, n, m = state.detach().to(dynamics.dtype)
            states = torch.cat([y, c * m.exp(), n * m.exp()], dim=-1)
        return Call(inputs, states, _full_lengths(inputs))

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Given:
        """Put inputs (n, t, k) in the place of the call's own."""
        if args:
            return (inputs.to(args[0].dtype), *args[1:]), kwargs
        return args, {**kwargs, "input": inputs.to(kwargs["input"].dtype)}

    def resume(self, inputs: InputSequences, output: Any) -> Given:
        """Go on from the state that the cell returned."""
        return (inputs, output[1]), {}

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> tuple[Tensor, Tensor]:
        """Write states as (outputs, state), with the stabiliser that `output` has."""
        y, c, n = dynamics.layout.split(states).values()
        m = output[1][3].to(states)
        last = [y[:, -1], c[:, -1] * (-m).exp(), n[:, -1] * (-m).exp(), m]
        shown = y.reshape(*y.shape[:2], self._heads, -1).transpose(1, 2)
        return shown.to(output[0].dtype), torch.stack(last).to(output[1].dtype)


@register_adapter("xlstm.blocks.mlstm.cell.mLSTMCell")
class MLSTMCellAdapter(RecurrentAdapter):
    """xlstm's mLSTM cell: the state is (C, N) of each head, the inputs (q, k, v).

    C' = sigma(f) C + e^i k v^T / sqrt(w), N' = sigma(f) N + e^i k / sqrt(w), with gates
    i and f of each head linear in (q, k, v): affine in the state. What the cell gives
    also depends on q, and is normalised; `advance` gives it as it is when the 1e-6 by
    which the cell blunts its denominator is taken in units of C and N.
    """

    supported = "xlstm>=2.0"
    traits = Traits(affine_in_state=True)

    def __init__(self, cell: Any) -> None:
        """Copy the gates and the norm."""
        self._heads = int(cell.config.num_heads)
        self._size = int(cell.config.embedding_dim)
        self._gates = [
            (_own(gate.weight), _own(gate.bias)) for gate in (cell.igate, cell.fgate)
        ]
        self._scale = _own(cell.outnorm.weight_proxy)
        self._norm_epsilon = float(cell.outnorm.eps)
        width = self._size // self._heads
        shapes = {"c": (self._heads, width, width), "n": (self._heads, width)}
        self._layout = StateLayout.of(shapes)
        self.calls = _MLSTMCalls(self)

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return 3 * self._size

    @property
    def output_dim(self) -> int:
        return self._size

    def step(self, states: States, inputs: Inputs) -> States:
        c, n = self.layout.unflatten(states).values()
        _, keys, values = self._heads_of(inputs)
        write, keep = self.log_gates(inputs)
        keep, write = keep.exp()[..., None], write.exp()[..., None]
        keys = write * keys / math.sqrt(keys.shape[-1])
        c = keep[..., None] * c + keys[..., None] * values[..., None, :]
        return torch.cat([c.flatten(1), (keep * n + keys).flatten(1)], dim=-1)

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Tensor]:
        new = self.step(states, inputs)
        ones = inputs.new_zeros(len(inputs), self._heads)
        return new, self.outputs(new, inputs, ones)

    def outputs(self, states: States, inputs: Inputs, stabiliser: Tensor) -> Tensor:
        """What the cell gives (n, h) in states it just went to, by m (n, heads)."""
        c, n = self.layout.unflatten(states).values()
        query, _, _ = self._heads_of(inputs)
        found = (query[..., None, :] @ c)[..., 0, :]
        size = (query * n).sum(-1).abs().clamp_min(1) + EPSILON * stabiliser.exp()
        return torch.nn.functional.group_norm(
            (found / size[..., None]).flatten(1),
            self._heads,
            self._scale,
            eps=self._norm_epsilon,
        )

    def log_gates(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms (..., heads) of the input gate and of the forget gate."""
        write, keep = (
            torch.nn.functional.linear(inputs, *gate) for gate in self._gates
        )
        return write, torch.nn.functional.logsigmoid(keep)

    def _heads_of(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (n, heads, w)."""
        shape = (len(inputs), self._heads, -1)
        query, key, value = (part.reshape(shape) for part in inputs.chunk(3, dim=-1))
        return query, key, value


class _MLSTMCalls(CallConvention):
    """`forward(q, k, v) -> outputs`, all (n, t, h), which neither take nor give states.

    What the cell gives is blunted by its 1e-6 in units of m, which follows from inputs.
    """

    names = ("q", "k", "v")

    def __init__(self, cell: MLSTMCellAdapter) -> None:
        """Keep the cell, whose outputs need its inputs."""
        self._cell = cell

    def read(
        self, dynamics: DynamicsMap, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call:
        """Read queries, keys and values as one input."""
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        parts = [given[name].detach() for name in self.names]
        inputs = torch.cat(parts, dim=-1).to(dynamics.dtype)
        states = inputs.new_zeros(len(inputs), dynamics.state_dim)
        return Call(inputs, states, _full_lengths(inputs))

    def replace_inputs(
        self, inputs: InputSequences, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Given:
        """Put inputs (n, t, 3h) in the place of the call's own."""
        like = args[0] if args else kwargs["q"]
        parts = inputs.to(like.dtype).chunk(3, dim=-1)
        named = dict(zip(self.names[len(args) :], parts[len(args) :], strict=True))
        return parts[: len(args)], {**kwargs, **named}

    def call_with(self, inputs: InputSequences) -> Given:
        """Read inputs (n, t, 3h) as queries, keys and values."""
        return inputs.chunk(3, dim=-1), {}

    def write(
        self, dynamics: DynamicsMap, states: StateSequences, call: Call, output: Any
    ) -> Tensor:
        """Write what the cell gives in these states, which it blunts by its m."""
        logs = self._cell.log_gates(call.inputs)
        m = torch.full_like(logs[0][:, 0], -torch.inf)
        given = []
        for step in range(states.shape[1]):
            write, keep = (log[:, step] for log in logs)
            m = torch.maximum(keep + m, write)
            given.append(self._cell.outputs(states[:, step], call.inputs[:, step], m))
        return torch.stack(given, dim=1).to(output.dtype)


def _full_lengths(inputs: InputSequences) -> Tensor:
    return torch.full((len(inputs),), inputs.shape[1], device=inputs.device)


def _own(value: Tensor) -> Tensor:
    return _checks.check_finite("weights", value.detach()).to(torch.float64, copy=True)
