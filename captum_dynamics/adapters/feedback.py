"""What a closed loop feeds back: the next input, made of the layer's last output."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._execution import row_chunks
from captum_dynamics._typing import Counts, Inputs, OneInput, Outputs

Slopes = Float[Tensor, "n k m"]
Readout = nn.Module | Tensor
Embedding = nn.Embedding | Tensor


class Feedback(ABC):
    """A function from outputs (n, m) to next inputs (n, k), one row at a time.

    Derivatives come from torch.func; they are those of the function alone, whatever
    the layer is.
    """

    float32: bool = False
    """Whether outputs in single precision may be given."""

    inner_dim: int = 1
    """Width of what is computed on the way, such as the size of a vocabulary."""

    @abstractmethod
    def __call__(self, outputs: Outputs) -> Inputs:
        """The next inputs."""

    @property
    def input_box(self) -> tuple[OneInput, OneInput] | None:
        """Bounds (k,) of what is fed back, where F is continuous; None if unknown."""
        return None

    def push(self, outputs: Outputs, tangents: Outputs) -> Inputs:
        """V v, for one tangent v in each row."""
        with torch.no_grad(), warnings.catch_warnings():
            # torch's own forward mode calls its deprecated torch.jit once.
            warnings.simplefilter("ignore", DeprecationWarning)
            pushed: Tensor = torch.func.jvp(self, (outputs,), (tangents,))[1]
        return pushed

    def pull(self, outputs: Outputs, cotangents: Inputs) -> Outputs:
        """w V, for one cotangent w in each row."""
        with torch.no_grad():
            pulled: Tensor = torch.func.vjp(self, outputs)[1](cotangents)[0]
        return pulled

    def slopes(self, outputs: Outputs, width: int) -> Slopes:
        """V = dx'/do at every row, (n, k, m), of a feedback `width` wide."""
        units = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
        held = 8 * 4 * width * max(outputs.shape[1], self.inner_dim)
        parts = []
        for rows in row_chunks(len(outputs), held):
            part = outputs[rows]
            cotangents = units[:, None].expand(-1, len(part), -1)
            with torch.no_grad():
                pull_back = torch.func.vjp(self, part)[1]
                (by_output,) = torch.func.vmap(pull_back)(cotangents)
            parts.append(by_output.movedim(0, 1))
        empty = outputs.new_zeros(0, width, outputs.shape[1])
        return torch.cat(parts) if parts else empty


class FunctionFeedback(Feedback):
    """A function of the user's own; differentiable, in float64, row by row."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        """Keep the function."""
        self._function = function

    def __call__(self, outputs: Outputs) -> Inputs:
        return self._function(outputs)


class TokenFeedback(Feedback):
    """A token is read from the output, and its embedding is fed back.

    Args:
        readout: logits (n, v) of outputs (n, m): a module such as the linear head of a
            language model, or its weight (v, m).
        embedding: the embedding layer, or its weight (v, k).

    Raises:
        TypeError: `readout` or `embedding` is neither a module nor a tensor.
        ValueError: weights that are no matrix, or not finite.
    """

    float32 = True

    def __init__(self, readout: Readout, embedding: Embedding) -> None:
        """Copy both in float64: later training does not change the map."""
        self._readout = _copied_readout(readout)
        self.embedding = _copied_embedding(embedding)
        self.inner_dim = len(self.embedding)

    def logits(self, outputs: Outputs) -> Float[Tensor, "n v"]:
        """Logits of every token, in float64."""
        found: Tensor = self._readout(outputs.double())
        if found.shape[-1] != self.inner_dim:
            raise ValueError(
                f"Expected `readout` to give {self.inner_dim} logits, one for each row "
                f"of `embedding`, got {found.shape[-1]}."
            )
        return found

    def tokens(self, outputs: Outputs) -> Counts:
        """The token (n,) of the largest logit."""
        return self.logits(outputs).argmax(-1)


class SoftFeedback(TokenFeedback):
    """The mean embedding under the softmax of logits; see `soft_feedback`."""

    def __init__(
        self, readout: Readout, embedding: Embedding, temperature: float
    ) -> None:
        """Keep the temperature."""
        super().__init__(readout, embedding)
        self.temperature = _checks.check_positive("temperature", temperature)

    def __call__(self, outputs: Outputs) -> Inputs:
        shares = torch.softmax(self.logits(outputs) / self.temperature, dim=-1)
        return (shares @ self.embedding).to(outputs.dtype)

    @property
    def input_box(self) -> tuple[OneInput, OneInput]:
        """The least and largest embeddings, as a mean lies between them."""
        low, high = self.embedding.amin(0), self.embedding.amax(0)
        # Shares add to one but for rounding, of each of their terms.
        eps = torch.finfo(torch.float64).eps
        slack = 4 * self.inner_dim * eps * low.abs().maximum(high.abs())
        return low - slack, high + slack


class GreedyFeedback(TokenFeedback):
    """The embedding of the token with the largest logit; see `greedy_feedback`."""

    def __call__(self, outputs: Outputs) -> Inputs:
        # Constant between its jumps, and so without a gradient.
        return self.embedding[self.tokens(outputs.detach())].to(outputs.dtype)


def soft_feedback(
    readout: Readout, embedding: Embedding, *, temperature: float = 1.0
) -> SoftFeedback:
    """Feed back the mean embedding, softmax(readout(output) / temperature) E.

    It is smooth, and tends to `greedy_feedback` as the temperature goes to zero. A
    network trained on embeddings of single tokens has never read such means: what the
    loop does at temperature 1 is not what decoding does.

    Args:
        readout: logits (n, v) of outputs (n, m): a module, or its weight (v, m).
        embedding: the embedding layer, or its weight (v, k).
        temperature: what logits are divided by.

    Returns:
        A feedback for `ClosedLoop`, with float64 copies of the weights.

    Raises:
        TypeError: `readout` or `embedding` is neither a module nor a tensor.
        ValueError: a temperature that is not positive, or weights that do not fit.

    Example:
        >>> import torch
        >>> from captum_dynamics import soft_feedback
        >>> feedback = soft_feedback(torch.nn.Linear(4, 9), torch.nn.Embedding(9, 3))
        >>> feedback(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    return SoftFeedback(readout, embedding, temperature)


def greedy_feedback(readout: Readout, embedding: Embedding) -> GreedyFeedback:
    """Feed back the embedding of the token with the largest logit.

    It is constant between its jumps: its derivative is zero where it has one. A fixed
    point of the greedy loop is a fixed point of the layer at a constant token that the
    layer emits there; `find_token_points` searches for these token by token.

    Args:
        readout: logits (n, v) of outputs (n, m): a module, or its weight (v, m).
        embedding: the embedding layer, or its weight (v, k).

    Returns:
        A feedback for `ClosedLoop`, with float64 copies of the weights.

    Raises:
        TypeError: `readout` or `embedding` is neither a module nor a tensor.
        ValueError: weights that do not fit.

    Example:
        >>> import torch
        >>> from captum_dynamics import greedy_feedback
        >>> feedback = greedy_feedback(torch.eye(3), torch.tensor([[5.], [6.], [7.]]))
        >>> feedback(torch.tensor([[0.1, 0.7, 0.2]])).tolist()
        [[6.0]]
    """
    return GreedyFeedback(readout, embedding)


def _copied_readout(readout: Readout) -> nn.Module:
    if isinstance(readout, Tensor):
        weight = _matrix("readout", readout)
        logits, width = weight.shape
        copied = nn.Linear(width, logits, bias=False, device="meta")
        copied.weight = nn.Parameter(weight, requires_grad=False)
        return copied.eval()
    if not isinstance(readout, nn.Module):
        raise TypeError(
            f"Expected `readout` to be a module or a weight (v, m), got "
            f"{type(readout).__name__}."
        )
    return copy.deepcopy(readout).double().eval().requires_grad_(False)


def _copied_embedding(embedding: Embedding) -> Tensor:
    if isinstance(embedding, nn.Embedding):
        embedding = embedding.weight
    if not isinstance(embedding, Tensor):
        raise TypeError(
            f"Expected `embedding` to be an nn.Embedding or a weight (v, k), got "
            f"{type(embedding).__name__}."
        )
    return _matrix("embedding", embedding)


def _matrix(name: str, weight: Tensor) -> Tensor:
    _checks.check_floating(name, weight)
    if weight.ndim != 2:
        raise ValueError(
            f"Expected `{name}` to be a matrix, got shape {tuple(weight.shape)}."
        )
    return _checks.check_finite(name, weight).detach().double().clone()
