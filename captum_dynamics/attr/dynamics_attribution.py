"""DynamicsAttribution: what each input contributes through a layer's dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor, nn

from captum_dynamics._execution import progress
from captum_dynamics._typing import Inputs
from captum_dynamics.adapters import RecurrentAdapter, adapt, find_layer
from captum_dynamics.attr._base import Estimator, FittedEstimator
from captum_dynamics.attr._compat import Target, as_tuple, log_usage
from captum_dynamics.attr._host import Arguments, Host, check_host
from captum_dynamics.attr._reference import check_reference, reference_input
from captum_dynamics.attr._session import Session, format_baselines, joined
from captum_dynamics.attr.faithfulness import Faithfulness
from captum_dynamics.attr.modes import ModeAttributions, divide_by_modes
from captum_dynamics.attr.path_integrated import PathIntegrated
from captum_dynamics.fixed_points import FixedPoints, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.recording import Trajectories
from captum_dynamics.topology import FixedPointGraph, connect


@dataclass(frozen=True, eq=False)
class Fitted:
    """What an attribution keeps of its calibration data.

    Attributes:
        reference_input: the layer's input at every step of a baseline run, (1, k).
        picture: the estimator's linear picture of the dynamics.
    """

    reference_input: Inputs
    picture: FittedEstimator


class DynamicsAttribution(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    """Attribute a model's output to what its recurrent layer reads, step by step.

    The actual run is compared with a baseline run, and the readout is carried back in
    time through Jacobians of the layer's map. With the default estimator the
    contributions sum to F(x) - F(baseline), whatever the readout: the last step, the
    last step that counts, a mean over time, h_n, c_n, or something nonlinear. What
    reaches the output past the layer, or through its initial state, is not attributed
    and appears in the convergence delta.

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
            the last step that the output reads, "zero", or a tensor.
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
        found = find_layer(layer, None)
        if isinstance(forward_func, nn.Module):
            find_layer(forward_func, found)
        LayerAttribution.__init__(self, forward_func, found)
        GradientAttribution.__init__(self, forward_func)
        self.estimator = PathIntegrated() if estimator is None else estimator
        self.fitted: Fitted | None = None
        self._reference = check_reference(reference, adapt(found))
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def dynamics(self) -> RecurrentAdapter:
        """The layer's map with its present weights, in float64."""
        return adapt(self.layer)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether contributions, rather than gradients, are returned."""
        return self._multiply_by_inputs

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
        fitted = self.fitted or self._fit(session, torch.Generator())
        description = f"{self.get_name()} attribution"
        parts, deltas = [], []
        batches = session.batches()
        for batch in progress(batches, show=show_progress, desc=description):
            runs = session.pair(batch, fitted.reference_input)
            gradients = fitted.picture.adjoints(runs).inputs
            contributions = gradients * runs.input_differences
            change = runs.outputs - runs.baseline_outputs
            deltas.append(contributions.sum((1, 2)) - change)
            parts.append(contributions if self.multiplies_by_inputs else gradients)
        attributions = joined(parts).to(session.dtype)
        formatted = (attributions,) if isinstance(inputs, tuple) else attributions
        if not return_convergence_delta:
            return formatted
        return formatted, torch.cat(deltas).to(session.dtype)

    @torch.inference_mode(False)
    def fit(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        generator: torch.Generator | None = None,
        internal_batch_size: int | None = None,
    ) -> DynamicsAttribution:
        """Fit the reference input and the estimator to calibration data, once.

        Without it each call of `attribute` fits them to its own inputs.

        Args:
            inputs: The model's inputs, best disjoint from what is to be explained.
            target: The output whose prediction a fit is judged by.
            additional_forward_args: Further arguments of the model.
            generator: Source of randomness; by default always the same one.
            internal_batch_size: Examples to run at once.

        Returns:
            This object, with `fitted` set.
        """
        session = self._session(
            inputs, None, target, additional_forward_args, internal_batch_size
        )
        self.fitted = self._fit(session, generator or torch.Generator())
        return self

    @torch.inference_mode(False)
    def reference_input(
        self, inputs: Any = None, additional_forward_args: Any = None
    ) -> Inputs:
        """Layer input (1, k) of a baseline run: fitted, given, or the mean."""
        if self.fitted is not None:
            return self.fitted.reference_input
        session = self._session(inputs, None, None, additional_forward_args)
        return reference_input(self._reference, session)

    @torch.inference_mode(False)
    def record(self, inputs: Any, additional_forward_args: Any = None) -> Trajectories:
        """Record what the layer reads and does, up to the last step that is read."""
        session = self._session(inputs, None, None, additional_forward_args)
        ((call, states, counted),) = session.calls()
        return Trajectories(states, call.inputs, call.initial_states, counted.sum(1))

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
        points = find_fixed_points(
            self.dynamics,
            starts,
            self.reference_input(inputs, additional_forward_args),
            show_progress=show_progress,
        )
        return points.unique()

    @torch.inference_mode(False)
    def linearize(self, points: FixedPoints) -> Linearization:
        """Linearize the layer's dynamics around points."""
        return linearize(self.dynamics, points)

    @torch.inference_mode(False)
    def topology(
        self, linearization: Linearization, *, generator: torch.Generator | None = None
    ) -> FixedPointGraph:
        """Build the graph of fixed points, with the connections between them."""
        return connect(
            self.dynamics, linearization, generator=generator or torch.Generator()
        )

    @torch.inference_mode(False)
    def attribute_modes(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        linearization: Linearization,
        *,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> ModeAttributions:
        """Divide each token's contribution among the modes of the nearest point.

        a_t = sum_k (v_t . r_k)(l_k . u_t), with right and left eigenvectors (r, l) of
        the Jacobian at the point nearest to h_{t-1}: an exact partition, though the
        Jacobians along a run do not commute.

        Args:
            inputs: The model's inputs.
            linearization: Points whose modes are used.
            baselines: As in `attribute`.
            target: As in `attribute`.
            additional_forward_args: As in `attribute`.

        Returns:
            Contributions (N, T, d) by token and mode, in float64.

        Raises:
            ValueError: If the eigenvectors of a point are dependent.
        """
        session = self._session(inputs, baselines, target, additional_forward_args)
        fitted = self.fitted or self._fit(session, torch.Generator())
        runs = session.pair(slice(None), fitted.reference_input)
        adjoints = fitted.picture.adjoints(runs).states[:, 1:]
        drives = fitted.picture.drives(runs)
        return divide_by_modes(runs.previous_states, adjoints, drives, linearization)

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
        fitted = self.fitted or self._fit(session, torch.Generator())
        runs = session.pair(slice(None), fitted.reference_input)
        adjoints = fitted.picture.adjoints(runs)
        free = fitted.picture.free_run(runs)
        return Faithfulness(
            runs.outputs,
            runs.baseline_outputs,
            (adjoints.inputs * runs.input_differences).sum((1, 2)),
            fitted.picture.constants(runs, adjoints),
            runs.intercepts + (runs.injections * free).sum((1, 2)),
        )

    def _session(
        self,
        inputs: Any,
        baselines: Any,
        target: Target,
        additional: Any,
        batch_size: int | None = None,
    ) -> Session:
        check_host(self.forward_func, self.layer)
        arguments = Arguments(as_tuple(inputs), target, as_tuple(additional))
        host = Host(self.forward_func, self.layer, self.dynamics)
        formatted = format_baselines(arguments.inputs, baselines)
        return Session(host, arguments, formatted, batch_size)

    def _fit(self, session: Session, generator: torch.Generator) -> Fitted:
        reference = reference_input(self._reference, session)
        runs = (session.pair(batch, reference) for batch in session.batches())
        return Fitted(reference, self.estimator.fit(runs, generator))
