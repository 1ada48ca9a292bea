"""The update gate RNN (Collins, Sohl-Dickstein and Sussillo 2016), cell and layer.

g = sigma(W_g x + U_g h + b_g), c = tanh(W_c x + U_c h + b_c), h' = g h + (1 - g) c:
the simplest gated network, a GRU without its reset gate. Torch has none; its adapter,
`captum_dynamics.adapters.UGRNNLayer`, is an example of one for a cell of your own.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, InputSequences, States, StateSequences
from captum_dynamics.models._recurrence import FinalStates, run_layer

Drives = Float[Tensor, "n 2*d"]


class UGRNNCell(nn.Module):
    """One step of the update gate RNN, called as `nn.GRUCell` is.

    Attributes:
        weight_ih: (2 hidden_size, input_size), rows of the gate g, then of c.
        weight_hh: (2 hidden_size, hidden_size), the same.
        bias_ih: (2 hidden_size,).
        bias_hh: (2 hidden_size,); the equations add both biases.

    Args:
        input_size: width k of an input.
        hidden_size: units d.
        keep_bias: what is added to the gate's first biases: the higher, the longer an
            untrained unit keeps its state.

    Raises:
        ValueError: if a size is not a whole number above zero.

    References:
        Collins, Sohl-Dickstein and Sussillo (2017), Capacity and trainability in
        recurrent neural networks, equations of the UGRNN; arXiv 1611.09913.

    Example:
        >>> cell = UGRNNCell(3, 4)
        >>> cell(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor

    def __init__(
        self, input_size: int, hidden_size: int, *, keep_bias: float = 1.0
    ) -> None:
        """Draw initial weights as torch's own cells do."""
        super().__init__()
        self.input_size = _checks.check_count("input_size", input_size)
        self.hidden_size = _checks.check_count("hidden_size", hidden_size)
        self.keep_bias = keep_bias
        _add_parameters(self, "")

    def reset_parameters(self) -> None:
        """Draw new initial weights."""
        _draw(self, "")

    def forward(self, input: Inputs, hx: States | None = None) -> States:
        """Read inputs (n, k) from states (n, d), zero by default: new states (n, d)."""
        if hx is None:
            hx = input.new_zeros(len(input), self.hidden_size)
        bias = self.bias_ih + self.bias_hh
        return _update(
            hx, nn.functional.linear(input, self.weight_ih, bias), self.weight_hh
        )


class UGRNN(nn.Module):
    """A layer of the update gate RNN, called as a batch-first `nn.GRU` is.

    Attributes:
        weight_ih_l0: (2 hidden_size, input_size), rows of the gate g, then of c.
        weight_hh_l0: (2 hidden_size, hidden_size), the same.
        bias_ih_l0: (2 hidden_size,).
        bias_hh_l0: (2 hidden_size,); the equations add both biases.

    Args:
        input_size: width k of an input.
        hidden_size: units d.
        keep_bias: what is added to the gate's first biases.

    Raises:
        ValueError: if a size is not a whole number above zero, or inputs are not
            sequences (n, t, k) of at least one step.

    References:
        Collins, Sohl-Dickstein and Sussillo (2017), arXiv 1611.09913.

    Example:
        >>> import captum_dynamics as cd
        >>> layer = UGRNN(3, 4)
        >>> states, last = layer(torch.zeros(2, 7, 3))
        >>> states.shape, last.shape
        (torch.Size([2, 7, 4]), torch.Size([1, 2, 4]))
        >>> cd.adapt(layer).layout
        StateLayout(blocks=(Block(name='h', size=4),))
    """

    batch_first = True
    bidirectional = False
    num_layers = 1
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self, input_size: int, hidden_size: int, *, keep_bias: float = 1.0
    ) -> None:
        """Draw initial weights as torch's own layers do."""
        super().__init__()
        self.input_size = _checks.check_count("input_size", input_size)
        self.hidden_size = _checks.check_count("hidden_size", hidden_size)
        self.keep_bias = keep_bias
        _add_parameters(self, "_l0")

    def reset_parameters(self) -> None:
        """Draw new initial weights."""
        _draw(self, "_l0")

    def forward(
        self, input: InputSequences, hx: FinalStates | None = None
    ) -> tuple[StateSequences, FinalStates]:
        """Read sequences (n, t, k) from states (1, n, d), zero by default.

        Returns:
            States after every step (n, t, d), and those after the last (1, n, d).
        """
        return run_layer(
            self, input, hx, lambda read, h: _update(h, read, self.weight_hh_l0)
        )


def _update(states: States, read: Drives, recurrent: Tensor) -> States:
    """h' of states, and of what gate and candidate read of the input, biases included.

    Few operations: a layer takes them at every step.
    """
    gate, candidate = torch.addmm(read, states, recurrent.mT).chunk(2, dim=-1)
    return torch.lerp(torch.tanh(candidate), states, torch.sigmoid(gate))


def _add_parameters(module: UGRNNCell | UGRNN, suffix: str) -> None:
    """Register torch's four parameters of a layer with two blocks of rows."""
    rows = 2 * module.hidden_size
    shapes = {
        "weight_ih": (rows, module.input_size),
        "weight_hh": (rows, module.hidden_size),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    for name, shape in shapes.items():
        module.register_parameter(name + suffix, nn.Parameter(torch.empty(shape)))
    module.reset_parameters()


@torch.no_grad()
def _draw(module: UGRNNCell | UGRNN, suffix: str) -> None:
    bound = 1 / math.sqrt(module.hidden_size)
    for weight in module.parameters():
        nn.init.uniform_(weight, -bound, bound)
    module.get_parameter(f"bias_ih{suffix}")[: module.hidden_size] += module.keep_bias
