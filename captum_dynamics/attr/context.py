"""ContextAttribution: how a token changes the effect of later tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor, nn

from captum_dynamics.attr._compat import Target, log_usage
from captum_dynamics.attr._prefixes import precision, prefix_outputs, replaced_outputs
from captum_dynamics.attr._recurrent import (
    RecurrentAttribution,
    joined_in_form_of,
    warn_of_nothing,
)
from captum_dynamics.attr._reference import reference_input
from captum_dynamics.attr._runs import CallPair
from captum_dynamics.attr._session import Session
from captum_dynamics.attr.context_effects import ContextEffects


class _Part(NamedTuple):
    """One batch of examples: what the layer read, and what came of it."""

    calls: CallPair
    found: ContextEffects


class ContextAttribution(RecurrentAttribution, PerturbationAttribution):  # type: ignore[misc]
    """Credit each token with what it changes in the effects of later tokens.

    Negation and emphasis add nothing themselves: "not" acts through "good". With y_s
    the output when tokens 1 to s are read as they are and all later ones as in the
    baseline run, and z_s the same with token t replaced by the baseline's,

    a_t = sum_(s > t) (y_s - y_(s-1)) - (z_s - z_(s-1)),

    differences of the model's own outputs: no gradient is taken, and nothing is made
    linear. What sums to what:

    - With the contributions of `TelescopingAttribution`, y_t - y_(t-1), they give what
      changes when a token alone is replaced: F(x) - F(x with t replaced).
    - They do not sum to F(x) - F(baseline). The difference, Captum's delta with its
      sign turned, is what all tokens would add if none changed another: exactly so
      where tokens interact in pairs.

    `attribute_context` returns each pair's effect, and how effects decay. All pairs
    cost T^3/6 steps of the layer's map and T^2/2 heads for T tokens, done side by side
    within 512 MiB.

    The features of a step are replaced together, and share its contribution equally.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it.
        reference: the layer's input where `attribute` is given no `baselines`, as in
            `TelescopingAttribution`: "mean", "zero", or a tensor (k,).

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        AdapterNotFoundError: If nothing registered reads the layer.
        ValueError: If `reference` has another width or device than the layer's input,
            or the layer is bidirectional.

    References:
        Maheswaranathan and Sussillo (2020), arXiv 2004.08013, for the question.

    Example:
        >>> import torch
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return gru(x)[0][:, -1].sum(-1)
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> method = ContextAttribution(score, gru, reference="zero")
        >>> method.attribute(inputs).shape
        torch.Size([2, 5, 3])
        >>> found = method.attribute_context(inputs)
        >>> without = inputs.clone()
        >>> without[:, 2] = 0
        >>> change = score(inputs) - score(without)
        >>> bool((found.totals[:, 2] - change).abs().max() < 1e-10)
        True
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        *,
        reference: str | Tensor = "mean",
    ) -> None:
        RecurrentAttribution.__init__(self, forward_func, layer, reference)
        PerturbationAttribution.__init__(self, forward_func)
        if not self.dynamics.one_map:
            raise ValueError(
                "Expected `layer` to read its sequence in one direction: of a "
                "bidirectional layer no token comes later in both."
            )

    @log_usage()  # type: ignore[untyped-decorator]
    @torch.inference_mode(False)
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Any:
        """Attribute outputs to what each step changes in the effects of later ones.

        Args:
            inputs: The model's inputs, embedded vectors or token ids; a tuple where
                it takes several.
            baselines: The model's inputs in the baseline run: tensors of the shape of
                `inputs`, or of one example, or numbers. Without them the layer reads
                the constructor's `reference` at every step.
            target: The output to explain, in any of Captum's forms.
            additional_forward_args: Further arguments of the model.
            internal_batch_size: Examples to run at once.
            return_convergence_delta: Whether to return, for each example, the sum of
                its contributions less F(x) - F(baseline): with its sign turned, what
                tokens add on their own.
            show_progress: Show a progress bar over the runs of each batch.

        Returns:
            Attributions (N, T, k) in the precision of `inputs`, equal over the k
            features of a step, batch first whatever the layer's order; a tuple of one
            for a tuple of inputs. With `return_convergence_delta` also the deltas (N,).

        Raises:
            TypeError: If inputs are not tensors, or the output is not.
            ValueError: If the target selects no single number for each example, the
                model never calls the layer, dropout is active, baselines do not fit,
                or values are not finite.

        Warns:
            AttributionWarning: If the model's own output does not follow from the
                layer's equations, or no token adds or changes anything.
        """
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )
        parts, deltas, all_found = [], [], []
        for calls, found in self._found(session, show_progress):
            all_found.append(found)
            read = calls.call.inputs
            contributions = found.contributions[:, :, None] / read.shape[2]
            parts.append(contributions.expand_as(read))
            change = calls.outputs.double() - calls.baseline_outputs.double()
            deltas.append(found.contributions.sum(1) - change)
        _warn_if_nothing(all_found, self.layer)
        return joined_in_form_of(
            inputs, session, parts, deltas if return_convergence_delta else None
        )

    @torch.inference_mode(False)
    def attribute_context(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> ContextEffects:
        """Tell the effect of every token on every later one.

        Args:
            inputs: The model's inputs.
            baselines: As in `attribute`.
            target: As in `attribute`.
            additional_forward_args: As in `attribute`.
            internal_batch_size: As in `attribute`.
            show_progress: As in `attribute`.

        Returns:
            Effects (N, T, T) in float64, with strength and decay; those of steps past
            the end of a short example are zero.

        Raises:
            TypeError: As in `attribute`.
            ValueError: As in `attribute`.

        Warns:
            AttributionWarning: As in `attribute`.
        """
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )
        parts = [found for _, found in self._found(session, show_progress)]
        _warn_if_nothing(parts, self.layer)
        steps = max(part.direct.shape[1] for part in parts)
        return ContextEffects(
            torch.cat([_padded(part.effects, steps, axes=2) for part in parts]),
            torch.cat([_padded(part.direct, steps, axes=1) for part in parts]),
        )

    def _found(self, session: Session, show: bool) -> Iterator[_Part]:
        """Effects of each batch."""
        host, reference = session.host, reference_input(self._reference, session)
        dtype = precision(host.dynamics, session.dtype)
        for batch in session.batches():
            arguments = session.arguments[batch]
            calls = session.pair_calls(batch, reference)
            prefixes = prefix_outputs(host, arguments, calls, dtype)
            replaced = replaced_outputs(
                host,
                arguments,
                calls,
                prefixes,
                dtype,
                show=show,
                desc=f"{self.get_name()} attribution",
            )
            # What each step adds, less what it adds with another one replaced: of the
            # replaced step itself that is all it adds, of those before it nothing.
            changes = prefixes.diff(dim=1)[:, None] - replaced.diff(dim=2)
            direct = changes.diagonal(dim1=1, dim2=2)
            yield _Part(calls, ContextEffects(changes.triu(1), direct))


def _warn_if_nothing(parts: list[ContextEffects], layer: nn.Module) -> None:
    """Effects may well be zero, but not where no token adds anything either."""
    if not any(bool(part.direct.any() or part.effects.any()) for part in parts):
        warn_of_nothing(layer, stacklevel=6)


def _padded(values: Tensor, steps: int, *, axes: int) -> Tensor:
    """Fill with zeros up to so many steps, where packed batches differ in length."""
    missing = steps - values.shape[1]
    return nn.functional.pad(values, (0, missing) * axes)
