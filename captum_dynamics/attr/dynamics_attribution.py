"""DynamicsAttribution: what each input contributes through a layer's dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics.adapters import MeanMap
from captum_dynamics.attr._base import Estimator
from captum_dynamics.attr._compat import Target, log_usage
from captum_dynamics.attr._estimated import EstimatedAttribution
from captum_dynamics.attr.faithfulness import Faithfulness
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.fixed_points import FixedPoints, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.recording import Trajectories
from captum_dynamics.topology import FixedPointGraph, connect


class DynamicsAttribution(EstimatedAttribution):
    """Attribute a model's output to what its recurrent layer reads, step by step.

    The actual run is compared with a baseline run, and the readout is carried back in
    time through Jacobians of the layer's map. With the default estimator the
    contributions sum to F(x) - F(baseline), whatever the readout: the last step, the
    last step that counts, a mean over time, h_n, c_n, or something nonlinear. What
    reaches the output past the layer, or through its initial state, is not attributed
    and appears in the convergence delta.

    The directions of a bidirectional layer, and the levels of a stack of them, are
    systems of their own: each is given to the estimator alone, and what they
    contribute adds.

    `NoiseTunnel` and Captum's metrics perturb the model's inputs: they need floating
    inputs of the layer's own shape (N, T, k), and so a `forward_func` of embedded
    inputs where the model itself reads token ids.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it.
        estimator: how the dynamics are made linear: `PathIntegrated()` (default),
            `Switching()` or `Classical()`.
        reference: the layer's input (k,) at every step of the baseline run, where
            `attribute` is given no `baselines`: "mean" of what the layer reads, up to
            the last step that the output reads, "mean map", "zero", or a tensor. Under
            "mean map" the baseline run takes the mean of the steps under 32 inputs
            drawn from use, as `captum_dynamics.MeanMap` does: contributions are
            against an average word and not against the average of words. They sum as
            before, and cost up to 32 times the time and memory: give an
            `internal_batch_size`.
        multiply_by_inputs: whether to return contributions; False gives the averaged
            gradients that are multiplied by x - x^b.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        AdapterNotFoundError: If nothing registered reads the layer.
        ValueError: If `reference` has another width or device than the layer's input.

    Example:
        >>> import torch
        >>> from captum_dynamics.attr import DynamicsAttribution
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return gru(x)[0][:, -1].sum(-1)
        >>> method = DynamicsAttribution(score, gru)
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> attributions, delta = method.attribute(
        ...     inputs, return_convergence_delta=True
        ... )
        >>> attributions.shape, bool(delta.abs().max() < 1e-8)
        (torch.Size([2, 5, 3]), True)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        *,
        estimator: Estimator | None = None,
        reference: str | Tensor = "mean",
        multiply_by_inputs: bool = True,
    ) -> None:
        super().__init__(forward_func, layer, estimator, reference, multiply_by_inputs)

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
        """Attribute outputs to the inputs (N, T, k) of the recurrent layer.

        Args:
            inputs: The model's inputs, embedded vectors or token ids; a tuple where
                it takes several.
            baselines: The model's inputs in the baseline run: tensors of the shape of
                `inputs`, or of one example, or numbers. Without them the layer reads
                the constructor's `reference` at every step.
            target: The output to explain, in any of Captum's forms.
            additional_forward_args: Further arguments of the model.
            internal_batch_size: Examples to run at once. What is fitted, such as the
                mean reference, is fitted to all of them first.
            return_convergence_delta: Whether to return, for each example, the sum of
                its contributions less F(x) - F(baseline).
            show_progress: Show a progress bar over batches.

        Returns:
            Attributions (N, T, k) in the precision of `inputs`, batch first whatever
            the layer's order; a tuple of one for a tuple of inputs. With
            `return_convergence_delta` also the deltas (N,).

        Raises:
            TypeError: If inputs are not tensors, or the output is not.
            ValueError: If the target selects no single number for each example, the
                model never calls the layer, dropout is active, baselines do not fit,
                or values are not finite.

        Warns:
            AttributionWarning: If the model's own output does not follow from the
                layer's equations, or averages miss part of what it changes by.
        """
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )
        return self._attribute(
            inputs,
            session,
            lambda picture, runs: picture.adjoints(runs).inputs,
            with_delta=return_convergence_delta,
            show_progress=show_progress,
        )

    @torch.inference_mode(False)
    def record(self, inputs: Any, additional_forward_args: Any = None) -> Trajectories:
        """Record what the layer reads and does, up to the last step that is read.

        States of a bidirectional layer are those of all its systems, in the order of
        the sequence; its maps are those of `captum_dynamics.adapt(direction=)`.
        """
        session = self._session(inputs, None, None, additional_forward_args)
        ((call, states, counted),) = session.calls()
        # What a backward direction has read are the last steps, not the first.
        lengths = counted.sum(1) if self.dynamics.one_map else call.lengths
        return Trajectories(states, call.inputs, call.initial_states, lengths)

    @torch.inference_mode(False)
    def find_fixed_points(
        self,
        inputs: Any,
        additional_forward_args: Any = None,
        *,
        count: int = 512,
        generator: torch.Generator | None = None,
        show_progress: bool = False,
    ) -> FixedPoints:
        """Find the distinct fixed points under the reference input.

        Args:
            inputs: The model's inputs; searches start from states visited under them.
            additional_forward_args: Further arguments of the model.
            count: Number of starts.
            generator: Source of randomness for drawing starts; by default always the
                same one.
            show_progress: Show a progress bar over starts.

        Returns:
            Merged points; see `captum_dynamics.find_fixed_points`.
        """
        runs = self.record(inputs, additional_forward_args)
        starts = runs.sample_states(count, generator=generator or torch.Generator())
        reference = self.reference_input(inputs, additional_forward_args).reshape(1, -1)
        points = find_fixed_points(
            self._map_of(reference), starts, reference, show_progress=show_progress
        )
        return points.unique()

    @torch.inference_mode(False)
    def linearize(self, points: FixedPoints) -> Linearization:
        """Linearize the layer's dynamics around points."""
        return linearize(self._map_of(points.inputs), points)

    @torch.inference_mode(False)
    def topology(
        self, linearization: Linearization, *, generator: torch.Generator | None = None
    ) -> FixedPointGraph:
        """Build the graph of fixed points, with the connections between them."""
        return connect(
            self._map_of(linearization.points.inputs),
            linearization,
            generator=generator or torch.Generator(),
        )

    def _map_of(self, inputs: Tensor) -> DynamicsMap:
        """The layer's map, or its mean map where inputs are several side by side."""
        dynamics = self.dynamics
        count = inputs.shape[-1] // max(1, dynamics.input_dim)
        return dynamics if count == 1 else MeanMap(dynamics, count)

    @torch.inference_mode(False)
    def evaluate(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> Faithfulness:
        """Measure what the contributions and the estimator's picture explain.

        Args:
            inputs: The model's inputs.
            baselines: As in `attribute`.
            target: As in `attribute`.
            additional_forward_args: As in `attribute`.

        Returns:
            Outputs, totals, constants and the picture's own outputs, (N,) each.
        """
        session = self._session(inputs, baselines, target, additional_forward_args)
        fitted = self._fitted_to(session)
        runs = session.pair(slice(None), fitted.reference_input)
        adjoints = fitted.picture.adjoints(runs)
        return Faithfulness(
            runs.outputs,
            runs.baseline_outputs,
            (adjoints.inputs * runs.input_differences).sum((1, 2)),
            fitted.picture.constants(runs, adjoints),
            fitted.picture.free_outputs(runs),
        )
