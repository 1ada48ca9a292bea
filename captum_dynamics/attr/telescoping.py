"""TelescopingAttribution: contributions by replacing inputs from the last one on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from jaxtyping import Float
from torch import Tensor, nn

from captum_dynamics._execution import progress, row_chunks
from captum_dynamics._typing import InputSequences, States, StateSequences
from captum_dynamics.adapters import Call, RecurrentAdapter
from captum_dynamics.attr._compat import Target, log_usage
from captum_dynamics.attr._host import Arguments, Host
from captum_dynamics.attr._recurrent import RecurrentAttribution, in_form_of
from captum_dynamics.attr._reference import reference_input
from captum_dynamics.attr._runs import CallPair, warn_of_foreign_states

LIVE_COPIES = 4
"""Sequences of a run's states that are held at once, about: the head takes copies."""


class TelescopingAttribution(RecurrentAttribution, PerturbationAttribution):  # type: ignore[misc]
    """Replace inputs by the baseline's from the last one on, one step at a time.

    With y_t the output when steps 1 to t are read as they are and all later ones as in
    the baseline run,

    a_t = y_t - y_(t-1),    sum_t a_t = y_T - y_0 = F(x) - F(baseline),

    whatever the model: the sum telescopes. A step's contribution is what it adds to
    the steps before it, while nothing comes after: "not" before "good" gives "good" a
    negative one. No gradient is taken. The rest of each run starts at the true state,
    so that T steps cost T^2/2 steps of the layer's map, all runs side by side. Of a
    bidirectional layer, each run is made anew in both directions: T^2 steps of each.

    The features of a step are replaced together, and share its contribution equally.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it.
        reference: the layer's input (k,) at every step of the baseline run, where
            `attribute` is given no `baselines`: "mean" of what the layer reads, up to
            the last step that the output reads (which gradients tell), "zero", or a
            tensor.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        AdapterNotFoundError: If nothing registered reads the layer.
        ValueError: If `reference` has another width or device than the layer's input.

    Example:
        >>> import torch
        >>> from captum_dynamics.attr import TelescopingAttribution
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return torch.tanh(gru(x)[0][:, -1].sum(-1))
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> attributions, delta = TelescopingAttribution(score, gru).attribute(
        ...     inputs, return_convergence_delta=True
        ... )
        >>> attributions.shape, bool(delta.abs().max() < 1e-10)
        (torch.Size([2, 5, 3]), True)
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
        """Attribute outputs to the steps that the recurrent layer reads.

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
                its contributions less F(x) - F(baseline): rounding, and what reaches
                the output past the layer or through its initial state.
            show_progress: Show a progress bar over batches.

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
                layer's equations.
        """
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )
        reference = reference_input(self._reference, session)
        dtype = _precision(session.host.dynamics, session.dtype)
        parts, deltas = [], []
        description = f"{self.get_name()} attribution"
        batches = session.batches()
        for batch in progress(batches, show=show_progress, desc=description):
            calls = session.pair_calls(batch, reference)
            outputs = _outputs(session.host, session.arguments[batch], calls, dtype)
            width = calls.call.inputs.shape[2]
            contributions = outputs.diff(dim=1)[:, :, None] / width
            parts.append(contributions.expand_as(calls.call.inputs))
            change = calls.outputs.double() - calls.baseline_outputs.double()
            deltas.append(outputs[:, -1] - outputs[:, 0] - change)
        return in_form_of(
            inputs, session, parts, deltas if return_convergence_delta else None
        )


@torch.no_grad()
def _outputs(
    host: Host, arguments: Arguments, calls: CallPair, dtype: torch.dtype
) -> Float[Tensor, "n s"]:
    """y_0 to y_T, from states of the given precision."""
    call = calls.call
    initial, inputs = call.initial_states.to(dtype), call.inputs.to(dtype)
    single = Call(inputs, initial, call.lengths)
    states = host.dynamics.run(single)
    baseline_inputs = calls.baseline_call.inputs.to(dtype)
    whole = states.numel() * states.element_size()
    outputs = []
    with host.replayed(calls.given):
        for prefixes in row_chunks(states.shape[1] + 1, LIVE_COPIES * whole):
            if host.dynamics.one_map:
                runs = _switched_runs(
                    host.dynamics, initial, states, baseline_inputs, prefixes
                )
            else:
                runs = _whole_runs(host.dynamics, single, baseline_inputs, prefixes)
            outputs += [host.outputs_from_states(arguments, call, run) for run in runs]
    warn_of_foreign_states(outputs[-1].double(), calls.outputs)
    return torch.stack(outputs, dim=1).double()


def _switched_runs(
    dynamics: RecurrentAdapter,
    initial_states: States,
    states: StateSequences,
    baseline_inputs: InputSequences,
    prefixes: slice,
) -> Float[Tensor, "p n t d"]:
    """Runs that read p inputs as they are, then those of the baseline run."""
    runs = states.expand(prefixes.stop - prefixes.start, *states.shape).clone()
    for step in range(prefixes.start, states.shape[1]):
        # Runs with up to so many true inputs read the baseline's at this step.
        switched = min(step + 1, prefixes.stop) - prefixes.start
        before = runs[:switched, :, step - 1] if step else initial_states[None]
        read = baseline_inputs[:, step].expand(switched, -1, -1)
        moved = dynamics.step(before.flatten(0, 1), read.flatten(0, 1))
        runs[:switched, :, step] = moved.view(switched, *initial_states.shape)
    return runs


def _whole_runs(
    dynamics: RecurrentAdapter,
    call: Call,
    baseline_inputs: InputSequences,
    prefixes: slice,
) -> Float[Tensor, "p n t d"]:
    """The same from end to end: what is read late reaches all of a backward run."""
    steps = torch.arange(call.inputs.shape[1], device=call.inputs.device)
    counts = torch.arange(prefixes.start, prefixes.stop, device=steps.device)
    as_they_are = (steps < counts[:, None])[:, None, :, None]
    inputs = torch.where(as_they_are, call.inputs, baseline_inputs)
    whole = Call(
        inputs.flatten(0, 1),
        call.initial_states.repeat(len(counts), 1),
        call.lengths.repeat(len(counts)),
    )
    return dynamics.run(whole).view(*inputs.shape[:3], dynamics.state_dim)


def _precision(dynamics: RecurrentAdapter, wanted: torch.dtype) -> torch.dtype:
    """Single where the caller's is, and the map can: that of the model itself."""
    single = dynamics.traits.float32 and wanted == torch.float32
    return torch.float32 if single else dynamics.dtype
