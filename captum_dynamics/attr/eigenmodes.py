"""EigenmodeAttribution: what each input contributes, and through which mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import InputSequences
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.adapters._sequence_layer import DIRECTIONS
from captum_dynamics.attr._base import Estimator, Picture
from captum_dynamics.attr._compat import Target, log_usage
from captum_dynamics.attr._directions import in_order
from captum_dynamics.attr._estimated import EstimatedAttribution
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr.modes import (
    ModeAttributions,
    divide_by_subspaces,
    find_nearest,
    restrict_to_subspace,
)
from captum_dynamics.linearization import Linearization


class EigenmodeAttribution(EstimatedAttribution):
    """Divide each input's contribution among the modes of the nearest point.

    Contributions are those of `DynamicsAttribution`. With v_t the readout carried back
    to the state after step t, u_t what the input adds to that state, and P_s the
    projectors of the point nearest to the state before it,

    a_t = v_t . u_t = sum_s v_t P_s u_t:

    an exact partition, though the Jacobians along a run do not commute. A part P_s is
    one mode, a conjugate pair, or modes that cannot be told apart; each has its time
    constant. So a word that went into a memory is told from one that was written to a
    mode that soon forgets.

    Args:
        forward_func: the model, or a function that calls it.
        layer: the recurrent layer inside it.
        linearization: the points, fixed or slow, whose modes are used; of this layer,
            as `DynamicsAttribution.linearize` gives it.
        estimator: how the dynamics are made linear along the run, as in
            `DynamicsAttribution`.
        reference: the layer's input where `attribute` is given no `baselines`, as in
            `DynamicsAttribution`.
        multiply_by_inputs: whether to return contributions; False gives the averaged
            gradients that are multiplied by x - x^b.
        direction: "forward" or "backward" of a bidirectional layer: only what goes
            through this direction of its lowest level is attributed, and
            `linearization` is of `captum_dynamics.adapt(layer, direction=...)`, of a
            stack with `layer_index=0`. Both directions sum to `DynamicsAttribution`.

    Raises:
        LayerNotFoundError: If `layer` is not part of the model.
        AdapterNotFoundError: If nothing registered reads the layer.
        TypeError: If `linearization` is none.
        ValueError: If `linearization` has no point or another width than the layer's
            state, `reference` another width or device than its input, or `direction`
            is missing, or given where there is only one.

    References:
        Maheswaranathan et al. (2019), arXiv 1906.10720, section 2, for one point.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> from captum_dynamics.attr import EigenmodeAttribution
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return gru(x)[0][:, -1].sum(-1)
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> rest = cd.find_fixed_points(cd.adapt(gru), torch.zeros(1, 4), inputs[0, :1])
        >>> linear = cd.linearize(cd.adapt(gru), rest)
        >>> method = EigenmodeAttribution(score, gru, linear)
        >>> method.attribute(inputs, subspace=0).shape
        torch.Size([2, 5, 3])
        >>> modes = method.attribute_modes(inputs)
        >>> bool((modes.tokens - method.attribute(inputs).sum(-1)).abs().max() < 1e-9)
        True
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        linearization: Linearization,
        *,
        estimator: Estimator | None = None,
        reference: str | Tensor = "mean",
        multiply_by_inputs: bool = True,
        direction: str | None = None,
    ) -> None:
        super().__init__(forward_func, layer, estimator, reference, multiply_by_inputs)
        self._backward = _is_backward(self.dynamics, direction)
        if not isinstance(linearization, Linearization):
            raise TypeError(
                f"Expected `linearization` to be a Linearization, as "
                f"`captum_dynamics.linearize` makes it of points, got "
                f"{type(linearization).__name__}."
            )
        points = linearization.points.states
        width = self.dynamics.systems[0][self._backward].state_dim
        if points.shape[1] != width:
            raise ValueError(
                f"Expected `linearization` of the layer, whose state has {width} "
                f"numbers, got one of {points.shape[1]}."
            )
        self.linearization = linearization
        _checks.check_rows("linearization", points)

    @log_usage()  # type: ignore[untyped-decorator]
    @torch.inference_mode(False)
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        subspace: int | None = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Any:
        """Attribute outputs to the layer's inputs (N, T, k), through one subspace.

        Args:
            inputs: The model's inputs, embedded vectors or token ids; a tuple where
                it takes several.
            baselines: As in `DynamicsAttribution.attribute`.
            target: The output to explain, in any of Captum's forms.
            additional_forward_args: Further arguments of the model.
            subspace: Which subspace of each step's point to go through, by decreasing
                magnitude: 0 is the slowest. Steps whose point has fewer of them
                contribute zero. By default all of them, which gives the attributions
                of `DynamicsAttribution`, or their part through one direction.
            internal_batch_size: Examples to run at once.
            return_convergence_delta: Whether to return, for each example, the sum of
                its contributions less F(x) - F(baseline). With a `subspace` that is,
                up to sign, what the other ones contribute.
            show_progress: Show a progress bar over batches.

        Returns:
            Attributions (N, T, k) in the precision of `inputs`, batch first whatever
            the layer's order; a tuple of one for a tuple of inputs. With
            `return_convergence_delta` also the deltas (N,).

        Raises:
            TypeError: If inputs are not tensors, or the output is not.
            ValueError: If no point has such a subspace, or for what
                `DynamicsAttribution.attribute` refuses.

        Warns:
            AttributionWarning: As in `DynamicsAttribution.attribute`.
        """
        self._check_subspace(subspace)
        session = self._session(
            inputs, baselines, target, additional_forward_args, internal_batch_size
        )

        def through_one(picture: Picture, whole: RunPair) -> InputSequences:
            own, runs = picture.system(whole, backward=self._backward)
            adjoints = own.adjoints(runs)
            if subspace is None:
                return self._in_order(adjoints.inputs, runs)
            nearest = find_nearest(runs.previous_states, self.linearization)
            carried = adjoints.states[:, 1:]
            restricted = restrict_to_subspace(
                nearest, carried, self.linearization, subspace
            )
            return self._in_order(own.gradients(runs, restricted), runs)

        return self._attribute(
            inputs,
            session,
            through_one,
            with_delta=return_convergence_delta,
            show_progress=show_progress,
        )

    @torch.inference_mode(False)
    def attribute_modes(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> ModeAttributions:
        """Divide each token's contribution among all subspaces at once.

        Args:
            inputs: The model's inputs.
            baselines: As in `attribute`.
            target: As in `attribute`.
            additional_forward_args: As in `attribute`.

        Returns:
            Contributions (N, T, s) by token and subspace, in float64, with time
            constants and a flag where they mean little.
        """
        session = self._session(inputs, baselines, target, additional_forward_args)
        fitted = self._fitted_to(session)
        whole = session.pair(slice(None), fitted.reference_input)
        own, runs = fitted.picture.system(whole, backward=self._backward)
        nearest = find_nearest(runs.previous_states, self.linearization)
        contributions = divide_by_subspaces(
            nearest,
            own.adjoints(runs).states[:, 1:],
            own.drives(runs),
            self.linearization,
        )
        return ModeAttributions(
            self._in_order(contributions, runs),
            self._in_order(nearest[:, :, None], runs)[:, :, 0],
            runs.injections.sum(1),
            self.linearization,
        )

    def _in_order(self, sequences: Tensor, runs: RunPair) -> Tensor:
        return in_order(sequences, runs, backward=self._backward)

    def _check_subspace(self, subspace: int | None) -> None:
        if subspace is None:
            return
        _checks.check_count("subspace", subspace, 0)
        most = self.linearization.subspaces.most
        if subspace >= most:
            raise ValueError(
                f"Expected `subspace` to be from 0 to {most - 1}, as no point has more "
                f"than {most} subspaces, got {subspace}."
            )


def _is_backward(dynamics: RecurrentAdapter, direction: str | None) -> bool:
    """Which of two directions is meant; of one, that none is named."""
    if dynamics.one_map:
        if direction is not None:
            raise ValueError(
                f"Expected no `direction` for a layer that is not bidirectional, got "
                f"{direction!r}."
            )
        return False
    if direction not in DIRECTIONS:
        raise ValueError(
            f'Expected `direction` to be "forward" or "backward", as the layer is '
            f"bidirectional and each has its own modes, got {direction!r}."
        )
    return direction == "backward"
