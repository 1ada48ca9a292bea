"""All fixed points of a piecewise-linear map, with proof that there are no others."""

from __future__ import annotations

from dataclasses import replace

import torch

from captum_dynamics import _checks
from captum_dynamics._typing import GivenInputs, Inputs, OneInput, States
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.enumeration._solutions import all_solutions
from captum_dynamics.enumeration._units import unit_equation
from captum_dynamics.fixed_points import Q_SLOW, FixedPoints, label
from captum_dynamics.solvers import PiecewiseLinear

MOST_UNITS = 20
# Relative distance below which solutions of linear equations are the same.
EXACT = 1e-9


@torch.no_grad()
def enumerate_fixed_points(
    dynamics: DynamicsMap,
    inputs: GivenInputs,
    *,
    max_units: int = MOST_UNITS,
    show_progress: bool = False,
) -> FixedPoints:
    """Find all fixed points of a ReLU network, and no others, by exhaustion.

    With m units the states fall into at most 2^m regions, in each of which the map is
    affine. Every one of them is solved, or excluded by a bound that stands above its
    own rounding errors. 20 units take a few seconds, and every unit more up to twice
    as long.

    A continuum of fixed points gives one `degenerate` point for each region that it
    passes through. Points whose active units sum to more than 1e6 times the sum of all
    that the units read besides them are not looked for.

    Args:
        dynamics: a map that states its `activation_form`: a layer of `nn.RNN` with
            ReLU, or a `FunctionAdapter` that was given one.
        inputs: the constant inputs (n, k) to enumerate at, or one of them (k,).
        max_units: units beyond which the call is refused.
        show_progress: show a progress bar over regions.

    Returns:
        The distinct fixed points at every input, in float64. `multiplicity` counts the
        regions in which a point was found: more than one for a point on their border.
        A point counts as slow where the map's own rounding hides that it is fixed.

    Raises:
        ValueError: no activation form, one that differs from the map, too many units,
            or continua that do not allow a proof.

    References:
        Eisenmann et al. (2023), Bifurcations and loss jumps in RNN training, NeurIPS;
        Cottle, Pang and Stone (2009), The Linear Complementarity Problem, for pivots.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> cell = torch.nn.RNNCell(1, 2, nonlinearity="relu").requires_grad_(False)
        >>> _ = cell.weight_hh.copy_(torch.tensor([[0.0, -2.0], [-2.0, 0.0]]))
        >>> _, _ = cell.bias_hh.fill_(1.0), cell.bias_ih.fill_(0.0)
        >>> points = cd.enumerate_fixed_points(cd.adapt(cell), torch.zeros(1))
        >>> sorted(points.states.mul(3).round().tolist())
        [[0.0, 3.0], [1.0, 1.0], [3.0, 0.0]]
    """
    _checks.check_floating("inputs", inputs)
    count = inputs.shape[0] if inputs.ndim == 2 else 1
    rows = _checks.check_inputs(
        "inputs", inputs, count, dynamics.input_dim, dynamics.device
    )
    rows = _checks.check_rows("inputs", rows).detach().to(dynamics.dtype)
    found = []
    for row in rows:
        form = _checked_form(dynamics, row)
        _check_size(form, max_units)
        equation = unit_equation(form)
        units = all_solutions(equation, show_progress=show_progress)
        found.append(equation.states(units).to(rows))
    counts = torch.tensor([len(states) for states in found], device=rows.device)
    given = rows.repeat_interleave(counts, 0)
    return _resting(dynamics, torch.cat(found), given).unique()


def _checked_form(dynamics: DynamicsMap, one_input: OneInput) -> ActivationForm:
    """The map's activation form in float64, compared with the map itself."""
    form = dynamics.activation_form(one_input)
    if form is None:
        raise ValueError(
            "Expected `dynamics` to state its `activation_form`, got a map whose "
            "regions are not known; use `find_fixed_points` or `find_cycles`."
        )
    _checks.check_shape("activation_form.bias", form.bias, (dynamics.state_dim,))
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(64, dynamics.state_dim, generator=generator, dtype=torch.double)
    # Near and far, so that every unit is seen on both of its sides.
    draws = draws * torch.logspace(-2, 3, 64, dtype=torch.double)[:, None]
    states = draws.to(form.bias.device)
    wanted = dynamics.step(states.to(one_input), one_input.expand(64, -1)).double()
    gaps = (form.double()(states) - wanted).norm(dim=1)
    scales = 1 + states.norm(dim=1) + wanted.norm(dim=1)
    largest = float((gaps / scales).max())
    if not largest <= torch.finfo(one_input.dtype).eps ** 0.5:
        raise ValueError(
            f"Expected the `activation_form` of `dynamics` to be its step, got a "
            f"relative difference of {largest:.1e}; correct the form."
        )
    return form.double()


def _check_size(form: ActivationForm, max_units: int) -> None:
    if form.units > max_units:
        raise ValueError(
            f"Expected at most `max_units` = {max_units} units, got {form.units}, or "
            f"2^{form.units} regions; raise it (every unit more may double the time), "
            f"or search with `solvers.PiecewiseLinear()`."
        )


def _resting(dynamics: DynamicsMap, states: States, inputs: Inputs) -> FixedPoints:
    """Label states that rest but for rounding, which a step or two may take away."""
    solution = PiecewiseLinear(max_steps=3).solve(dynamics, states, inputs)
    points = label(dynamics, solution, inputs, Q_SLOW, solution.converged)
    # Points in different regions are different also where they are nearly degenerate.
    exact = EXACT * (1 + states.norm(dim=1))
    radii = torch.where(points.degenerate, exact, points.merge_radii)
    return replace(points, merge_radii=radii)
