"""LinearizedPropagation: layer-wise relevance propagation through gated layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._execution import progress
from captum_dynamics._typing import InputSequences, StateSequences
from captum_dynamics.attr._compat import Target, as_tuple, log_usage
from captum_dynamics.attr._heads import average_injections
from captum_dynamics.attr._host import (
    Arguments,
    Host,
    check_host,
    layer_of,
    whole_dynamics,
)
from captum_dynamics.attr._recurrent import in_form_of
from captum_dynamics.attr._relevance import Rules
from captum_dynamics.attr._relevance_layers import find_levels
from captum_dynamics.attr._relevance_levels import divide_levels, receive
from captum_dynamics.attr._runs import warn_of_foreign_states
from captum_dynamics.attr._session import Session
from captum_dynamics.attr.conservation import Conservation
from captum_dynamics.attr.product_rules import ProductRule, SignalTakesAll
from captum_dynamics.exceptions import AttributionWarning

LARGEST_GROWTH = 1e6
"""Of relevance, which sums of both signs then hold to no digit of float32."""

TINY = 1e-300
"""Instead of no relevance at all, which cannot grow."""


class LinearizedPropagation(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    """Layer-wise relevance propagation (LRP) through RNNs, GRUs and LSTMs.

    The output is passed back as relevance: a weighted sum divides it among its terms
    (the epsilon rule), an elementwise function passes it on, and of a product of a
    gate and a signal the `rule` says who takes how much. No baseline is needed.
    Stacked and bidirectional layers, packed ones, and loops of cells are read too.

    Relevance is conserved, but the layer's inputs are not the only ones to receive it:
    biases, initial states and epsilon do as well. The convergence delta is what the
    inputs miss of the output; `evaluate` tells the parts apart.

    What the model does to the layer's states is not divided by rules. A linear head
    passes each state its own term of the sum, which is exact. For any other head these
    are the gradients averaged from states of zero to the actual ones, times the
    states (Integrated Gradients), which conserve as well.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it: nn.RNN, nn.GRU, nn.LSTM, or a cell.
        rule: how a product of gate and signal divides its relevance:
            `SignalTakesAll()` (default), `EqualShares()`, `ProportionalShares()` or
            `AbsoluteShares()`.
        epsilon: what keeps the division among the terms of a sum stable; it absorbs
            some relevance at each step, much over long sequences. Where it is small,
            sums near zero give large values.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        UnsupportedLayerError: If `layer` is none of those named.
        TypeError: If `rule` is not a `ProductRule`.
        ValueError: If `epsilon` is negative.

    References:
        Arras et al. (2017), "Explaining recurrent neural network predictions in
        sentiment analysis", arXiv 1706.07206; Arras et al. (2019), "Explaining and
        interpreting LSTMs", arXiv 1909.12114. They give the rules for LSTMs; those
        for GRUs follow by reading each product as gate times signal.

    Example:
        >>> import torch
        >>> from captum_dynamics.attr import LinearizedPropagation
        >>> lstm = torch.nn.LSTM(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return lstm(x)[0][:, -1].sum(-1)
        >>> method = LinearizedPropagation(score, lstm)
        >>> inputs = torch.ones(2, 5, 3).double()
        >>> method.attribute(inputs).shape
        torch.Size([2, 5, 3])
        >>> bool(method.evaluate(inputs).error.abs().max() < 1e-10)
        True
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        *,
        rule: ProductRule | None = None,
        epsilon: float = 1e-3,
    ) -> None:
        found = layer_of(forward_func, layer)
        LayerAttribution.__init__(self, forward_func, found)
        GradientAttribution.__init__(self, forward_func)
        find_levels(found)
        self.rule = SignalTakesAll() if rule is None else rule
        if not isinstance(self.rule, ProductRule):
            raise TypeError(
                f"Expected `rule` to be a ProductRule such as `SignalTakesAll()`, got "
                f"{rule!r}."
            )
        self.epsilon = _checks.check_not_negative("epsilon", epsilon)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Return True: relevance is a contribution."""
        return True

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

    @log_usage()  # type: ignore[untyped-decorator]
    @torch.inference_mode(False)
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Any:
        """Attribute outputs to the inputs (N, T, k) of the recurrent layer.

        Args:
            inputs: The model's inputs, embedded vectors or token ids; a tuple where
                it takes several.
            target: The output to explain, in any of Captum's forms.
            additional_forward_args: Further arguments of the model.
            internal_batch_size: Examples to run at once.
            return_convergence_delta: Whether to return, for each example, the sum of
                its relevance less F(x): what biases, initial states, epsilon and the
                head received, with the sign turned.
            show_progress: Show a progress bar over batches.

        Returns:
            Relevance (N, T, k) in the precision of `inputs`, batch first whatever the
            layer's order; a tuple of one for a tuple of inputs. With
            `return_convergence_delta` also the deltas (N,).

        Raises:
            TypeError: If inputs are not tensors, or the output is not.
            ValueError: If the target selects no single number for each example, the
                model never calls the layer, dropout is active, or values are not
                finite.

        Warns:
            AttributionWarning: If the model's own output does not follow from the
                layer's equations, the head's average misses part of the output, or
                relevance grows a million times or more on its way back.
        """
        session = self._session(
            inputs, target, additional_forward_args, internal_batch_size
        )
        description = f"{self.get_name()} attribution"
        parts, deltas = [], []
        for batch in progress(session.batches(), show=show_progress, desc=description):
            relevance, conservation = self._propagate(session, batch)
            parts.append(relevance)
            deltas.append(conservation.delta)
        return in_form_of(
            inputs, session, parts, deltas if return_convergence_delta else None
        )

    @torch.inference_mode(False)
    def evaluate(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> Conservation:
        """Tell where the relevance of the output ended, and whether any was lost.

        Args:
            inputs: The model's inputs.
            target: As in `attribute`.
            additional_forward_args: As in `attribute`.

        Returns:
            Relevance of inputs, biases, initial states, epsilon and the head, (N,)
            each.
        """
        session = self._session(inputs, target, additional_forward_args)
        return self._propagate(session, slice(None))[1]

    def _session(
        self,
        inputs: Any,
        target: Target,
        additional: Any,
        batch_size: int | None = None,
    ) -> Session:
        check_host(self.forward_func, self.layer)
        arguments = Arguments(as_tuple(inputs), target, as_tuple(additional))
        dynamics = whole_dynamics(self.forward_func, self.layer)
        host = Host(self.forward_func, self.layer, dynamics)
        return Session(host, arguments, None, batch_size)

    def _propagate(
        self, session: Session, batch: slice
    ) -> tuple[InputSequences, Conservation]:
        """Relevance (n, t, k) of some examples, and where the rest of it ended."""
        host, arguments = session.host, session.arguments[batch]
        outputs, call, given = host.run(arguments)
        states = host.dynamics.run(call)
        run = divide_levels(find_levels(self.layer), call, states)
        with host.replayed(given):
            injections, head = average_injections(
                host, arguments, call, states, torch.zeros_like(states)
            )
        of_states = injections * states
        warn_of_foreign_states(head + of_states.sum((1, 2)), outputs)
        received = receive(run, Rules(self.rule, self.epsilon), of_states)
        _warn_of_growth(received.inputs, of_states)
        return received.inputs, Conservation(
            outputs.to(states.dtype),
            received.inputs.sum((1, 2)),
            received.biases,
            received.initial_states,
            received.stabilizer,
            head,
        )


def _warn_of_growth(relevance: InputSequences, of_states: StateSequences) -> None:
    """Say so where sums near zero gave their terms so much that nothing is told."""
    growth = relevance.abs().sum((1, 2)) / of_states.abs().sum((1, 2)).clamp_min(TINY)
    grown = ~(growth <= LARGEST_GROWTH)
    if bool(grown.any()):
        worst = float(growth.nan_to_num(torch.inf).max())
        warnings.warn(
            f"Relevance of {int(grown.sum())} of {len(growth)} examples grew up to "
            f"{worst:.0e} times on its way back, by division by sums near zero; a "
            f"larger `epsilon`, or `SignalTakesAll()`, which gives none to gates, "
            f"keeps it small.",
            AttributionWarning,
            stacklevel=2,
        )
