"""Recurrent layers of several architectures, at equal size, and a net around one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from captum_dynamics._typing import InputSequences, OutputSequences
from captum_dynamics.models.linear import LinearRNN
from captum_dynamics.models.ugrnn import UGRNN

_LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "gru": lambda k, d: nn.GRU(k, d, batch_first=True),
    "lstm": lambda k, d: nn.LSTM(k, d, batch_first=True),
    "tanh": lambda k, d: nn.RNN(k, d, batch_first=True),
    "relu": lambda k, d: nn.RNN(k, d, nonlinearity="relu", batch_first=True),
    "ugrnn": lambda k, d: UGRNN(k, d),
    "linear": lambda k, d: LinearRNN(k, d),
}

LAYER_NAMES = tuple(_LAYERS)
"""Names of the layers that `build_layer` knows."""

ARCHITECTURES = ("tanh", "ugrnn", "gru", "lstm")
"""The four that the reproductions compare: vanilla ("tanh"), UGRNN, GRU and LSTM."""


def build_layer(arch: str, input_size: int, hidden_size: int) -> nn.Module:
    """Build an untrained recurrent layer, batch first.

    Args:
        arch: "tanh" (the vanilla network), "relu", "ugrnn", "gru", "lstm" or "linear".
        input_size: width k of an input.
        hidden_size: units d.

    Returns:
        A layer that is called as `layer(inputs (n, t, k))[0]` and gives (n, t, d).

    Raises:
        ValueError: for another architecture.

    Example:
        >>> build_layer("ugrnn", 3, 4)(torch.zeros(2, 7, 3))[0].shape
        torch.Size([2, 7, 4])
    """
    return _LAYERS[check_arch("arch", arch)](input_size, hidden_size)


def check_arch(name: str, arch: str) -> str:
    """Return `arch` if it is the name of a layer."""
    if arch not in _LAYERS:
        raise ValueError(
            f"Expected `{name}` to be one of {', '.join(LAYER_NAMES)}, got {arch!r}."
        )
    return arch


@torch.no_grad()
def keep_state(layer: nn.Module) -> None:
    """Set initial weights under which a state lasts for many steps.

    Orthogonal recurrent weights per gate, biases of zero, and +1 on the gate that keeps
    the state: the UGRNN's only one, its first block of rows; the GRU's update and the
    LSTM's forget gate, in torch's order the second block.

    Args:
        layer: a layer of `build_layer`, changed in place.
    """
    width = int(layer.hidden_size)  # type: ignore[arg-type]
    weights = dict(layer.named_parameters())
    for block in torch.split(weights["weight_hh_l0"], width):
        nn.init.orthogonal_(block)
    nn.init.zeros_(weights["bias_hh_l0"])
    nn.init.zeros_(weights["bias_ih_l0"])
    if isinstance(layer, nn.GRU | nn.LSTM | UGRNN):
        place = 0 if isinstance(layer, UGRNN) else 1
        nn.init.ones_(torch.split(weights["bias_ih_l0"], width)[place])


class SequenceNet(nn.Module):
    """A recurrent layer `rnn`, read out linearly by `readout` at every step.

    Attributes:
        arch: name of the layer.
        rnn: the layer, batch first.
        readout: `nn.Linear(hidden_size, output_size)`.

    Args:
        arch: one of "tanh", "relu", "ugrnn", "gru", "lstm", "linear".
        input_size: width k of an input.
        hidden_size: units d.
        output_size: width m of an answer.
        bias: whether the readout has one.

    Raises:
        ValueError: for another architecture.

    Example:
        >>> net = SequenceNet("lstm", 3, 8, 2)
        >>> net(torch.zeros(5, 7, 3)).shape
        torch.Size([5, 7, 2])
    """

    def __init__(
        self,
        arch: str,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        bias: bool = True,
    ) -> None:
        """Build the layers with PyTorch's default initial weights."""
        super().__init__()
        self.arch = arch
        self.rnn = build_layer(arch, input_size, hidden_size)
        self.readout = nn.Linear(hidden_size, output_size, bias=bias)

    def forward(self, inputs: InputSequences) -> OutputSequences:
        """Read (n, t, k), answer at every step (n, t, m)."""
        answers: Tensor = self.readout(self.rnn(inputs)[0])
        return answers
