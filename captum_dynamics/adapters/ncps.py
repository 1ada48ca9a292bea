"""Liquid time-constant and closed-form continuous-time layers of the package ncps.

LTC (Hasani et al. 2021, equation 3): of `unfolds` equal parts of the step each makes

    v' = (c v + g e + sum_j w_j s_j E_j) / (c + g + sum_j w_j s_j),

c = cm unfolds / span and s_j = sigma(a_j (v_j - mu_j)) of units and inputs.
CfC (Hasani et al. 2022, equation 10):

    h' = (1 - s) tanh(f) + s tanh(g),  s = sigma(a span + b),

f, g, a and b linear in a backbone of (x, h). The package is not imported.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, Outputs, States
from captum_dynamics.adapters._base import RecurrentAdapter, refuse
from captum_dynamics.adapters._registry import register_adapter
from captum_dynamics.adapters._span_calls import SpanCellCalls, SpanSequenceCalls
from captum_dynamics.layout import StateLayout


class _Units(ABC):
    """The equations of one of the cells, in float64."""

    width: int
    input_dim: int

    @abstractmethod
    def move(self, states: States, inputs: Inputs) -> States:
        """New states (n, d)."""

    @abstractmethod
    def read_out(self, states: Tensor) -> Tensor:
        """What the cell gives out of states (..., d)."""


class _LTCUnits(_Units):
    """Membrane potentials, each step in parts that are implicit in their own decay."""

    def __init__(self, cell: Any, span: float) -> None:
        """Copy the cell's parameters, its softplus applied."""
        own = {name: _own(value) for name, value in cell.named_parameters()}
        if cell._implicit_param_constraints:
            for name in ("w", "sensory_w", "cm", "gleak"):
                own[name] = nn.functional.softplus(own[name])
        self._own = own
        self.width, self.input_dim = int(cell.state_size), int(cell.sensory_size)
        self._outputs = int(cell.motor_size)
        self._unfolds, self._epsilon = int(cell._ode_unfolds), float(cell._epsilon)
        self._capacity = own["cm"] * self._unfolds / span

    def move(self, states: States, inputs: Inputs) -> States:
        own = self._own
        read = inputs * own.get("input_w", 1.0) + own.get("input_b", 0.0)
        drive_in, leak_in = self._synapses(read, "sensory_")
        resting = own["gleak"] * own["vleak"] + drive_in
        for _ in range(self._unfolds):
            drive, leak = self._synapses(states, "")
            conductance = self._capacity + own["gleak"] + leak + leak_in
            current = self._capacity * states + resting + drive
            states = current / (conductance + self._epsilon)
        return states

    def read_out(self, states: Tensor) -> Tensor:
        own, motor = self._own, states[..., : self._outputs]
        return motor * own.get("output_w", 1.0) + own.get("output_b", 0.0)

    def _synapses(self, sources: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """Currents and conductances (n, d) that sources (n, j) cause."""
        own = self._own
        steps = own[f"{kind}sigma"] * (sources[..., None] - own[f"{kind}mu"])
        open_share = own[f"{kind}w"] * torch.sigmoid(steps)
        open_share = open_share * own[f"{kind}sparsity_mask"]
        return (open_share * own[f"{kind}erev"]).sum(1), open_share.sum(1)


class _CfCUnits(_Units):
    """Units that go from one closed form to another as a gate of time opens."""

    def __init__(self, cell: Any, span: float) -> None:
        """Copy the cell's modules."""
        self._cell, self._span = _copied(cell), span
        self.width, self.input_dim = int(cell.hidden_size), int(cell.input_size)

    def move(self, states: States, inputs: Inputs) -> States:
        cell, span = self._cell, self._span
        features = torch.cat([inputs, states], dim=-1)
        if cell.backbone is not None:
            features = cell.backbone(features)
        first = self._masked(cell.ff1, features)
        if cell.mode == "pure":
            decay = torch.exp(-span * (cell.w_tau.abs() + first.abs()))
            pure: Tensor = cell.A - cell.A * decay * first
            return pure
        first, second = first.tanh(), self._masked(cell.ff2, features).tanh()
        gate = torch.sigmoid(cell.time_a(features) * span + cell.time_b(features))
        if cell.mode == "no_gate":
            return first + gate * second
        return first * (1 - gate) + gate * second

    def read_out(self, states: Tensor) -> Tensor:
        return states

    def _masked(self, linear: Any, features: Tensor) -> Tensor:
        mask = self._cell.sparsity_mask
        weight = linear.weight if mask is None else linear.weight * mask
        return nn.functional.linear(features, weight, linear.bias)


class _WiredUnits(_Units):
    """CfC cells one above the other, each reading the new state of the one below."""

    def __init__(self, cell: Any, span: float) -> None:
        """Copy each cell."""
        self._levels = [_CfCUnits(level, span) for level in cell._layers]
        self._sizes = [level.width for level in self._levels]
        self.width, self.input_dim = sum(self._sizes), self._levels[0].input_dim

    def move(self, states: States, inputs: Inputs) -> States:
        new = []
        parts = torch.split(states, self._sizes, dim=-1)
        for level, part in zip(self._levels, parts, strict=True):
            inputs = level.move(part, inputs)
            new.append(inputs)
        return torch.cat(new, dim=-1)

    def read_out(self, states: Tensor) -> Tensor:
        return states[..., -self._sizes[-1] :]


class _Memory:
    """The LSTM that `mixed_memory` puts before the cell; its forget gate has a bias."""

    def __init__(self, lstm: Any) -> None:
        """Copy the maps."""
        self._lstm = _copied(lstm)

    def move(self, h: Tensor, c: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        z = self._lstm.input_map(inputs) + self._lstm.recurrent_map(h)
        value, write, forget, show = z.chunk(4, dim=-1)
        c = c * torch.sigmoid(forget + 1) + value.tanh() * write.sigmoid()
        return c.tanh() * show.sigmoid(), c


class NCPAdapter(RecurrentAdapter):
    """A layer of ncps: the state is h, or (h, c) with `mixed_memory`.

    A step takes the same time each, 1 as the layers take it to be, or `timespan`: to
    choose another one, make the adapter by its class.
    """

    supported = "ncps>=1.0"

    def __init__(self, layer: Any, units: _Units) -> None:
        """Keep the units, and what a sequence layer puts before and after them."""
        mixed = getattr(layer, "use_mixed", False)
        self._units = units
        self._memory = _Memory(layer.lstm) if mixed else None
        self._head = _copied(layer.fc) if hasattr(layer, "fc") else nn.Identity()
        names = ("h", "c") if mixed else ("h",)
        self._layout = StateLayout.of(dict.fromkeys(names, units.width))

    @property
    def layout(self) -> StateLayout:
        return self._layout

    @property
    def input_dim(self) -> int:
        return self._units.input_dim

    @property
    def output_dim(self) -> int:
        zeros = torch.zeros(1, self.state_dim, dtype=self.dtype, device=self.device)
        return int(self.read_out(zeros).shape[-1])

    def step(self, states: States, inputs: Inputs) -> States:
        if self._memory is None:
            return self._units.move(states, inputs)
        h, c = self.layout.split(states).values()
        h, c = self._memory.move(h, c, inputs)
        return torch.cat([self._units.move(h, inputs), c], dim=-1)

    def read_out(self, states: Tensor) -> Tensor:
        """What the layer gives out of states (..., d)."""
        units = states[..., : self._units.width]
        given: Tensor = self._head(self._units.read_out(units))
        return given

    def advance(self, states: States, inputs: Inputs) -> tuple[States, Outputs]:
        new = self.step(states, inputs)
        return new, self.read_out(new)


@register_adapter("ncps.torch.ltc_cell.LTCCell")
class LTCCellAdapter(NCPAdapter):
    """ncps.torch.LTCCell, called once a step."""

    def __init__(self, cell: Any, *, timespan: float = 1.0) -> None:
        """Copy the cell's parameters."""
        super().__init__(cell, _LTCUnits(cell, _positive(timespan)))
        names = ("inputs", "states", "elapsed_time")
        self.calls = SpanCellCalls(names, self.state_dim, timespan, self.read_out)


@register_adapter("ncps.torch.cfc_cell.CfCCell")
class CfCCellAdapter(NCPAdapter):
    """ncps.torch.CfCCell, called once a step."""

    def __init__(self, cell: Any, *, timespan: float = 1.0) -> None:
        """Copy the cell's modules."""
        super().__init__(cell, _CfCUnits(cell, _positive(timespan)))
        names = ("input", "hx", "ts")
        self.calls = SpanCellCalls(names, self.state_dim, timespan, self.read_out)


@register_adapter("ncps.torch.wired_cfc_cell.WiredCfCCell")
class WiredCfCCellAdapter(NCPAdapter):
    """ncps.torch.WiredCfCCell, called once a step."""

    def __init__(self, cell: Any, *, timespan: float = 1.0) -> None:
        """Copy each cell in it."""
        super().__init__(cell, _WiredUnits(cell, _positive(timespan)))
        names = ("input", "hx", "timespans")
        self.calls = SpanCellCalls(names, self.state_dim, timespan, self.read_out)


@register_adapter("ncps.torch.ltc.LTC")
class LTCAdapter(NCPAdapter):
    """ncps.torch.LTC, called with whole sequences."""

    def __init__(self, layer: Any, *, timespan: float = 1.0) -> None:
        """Copy the layer's parameters."""
        super().__init__(layer, _LTCUnits(layer.rnn_cell, _positive(timespan)))
        self.calls = SpanSequenceCalls(layer, timespan, self.read_out)


@register_adapter("ncps.torch.cfc.CfC")
class CfCAdapter(NCPAdapter):
    """ncps.torch.CfC, called with whole sequences, with a wiring or without."""

    def __init__(self, layer: Any, *, timespan: float = 1.0) -> None:
        """Copy the layer's modules."""
        kind = _WiredUnits if hasattr(layer, "wiring") else _CfCUnits
        super().__init__(layer, kind(layer.rnn_cell, _positive(timespan)))
        self.calls = SpanSequenceCalls(layer, timespan, self.read_out)


def _positive(timespan: float) -> float:
    return _checks.check_positive("timespan", timespan)


def _own(value: Tensor) -> Tensor:
    return _checks.check_finite("weights", value.detach()).to(torch.float64, copy=True)


def _copied(module: nn.Module) -> Any:
    """A module in float64 that drops nothing."""
    for part in module.modules():
        if isinstance(part, nn.Dropout) and part.training and part.p > 0:
            raise refuse(
                module,
                f"its dropout of {part.p} is active, which makes the map random; call "
                f"`model.eval()` first.",
            )
    return copy.deepcopy(module).double().requires_grad_(False)
