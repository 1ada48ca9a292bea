"""Captum's methods, each with the settings of a call and with what it should give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from benchmarks import _captum_truth as truth
from benchmarks._captum_truth import Function, Problem

# Relative errors that chance may leave; the largest were .018 in 60 runs, .072 in 30.
DRAWN_PATH = 0.03  # of points on a path
SAMPLES = 3000
DRAWN_ORDER = 0.1  # of orders or subsets of the steps
ORDERS = 200
SINGLE = 1e-5  # of methods that answer in float32


@dataclass(frozen=True, eq=False)
class Case:
    """One method of Captum.

    Attributes:
        truth: what it should give for a problem, after `view`.
        settings: arguments of its `attribute`, besides inputs, neuron and baselines.
        baselines: whether it takes them.
        tolerance: relative error that passes for agreement.
        view: what of its answer is compared.
        word: what agreement is called.
    """

    truth: Callable[[Problem], Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    baselines: bool = False
    tolerance: float = 1e-7
    view: Callable[[Tensor], Tensor] = lambda found: found
    word: str = "yes"


def total(found: Tensor) -> Tensor:
    """Sum over all but rows."""
    return found.flatten(1).sum(1)


def _change(p: Problem) -> Tensor:
    return (p.output(p.inputs) - p.output(p.baselines)).detach()


def _unit_change(p: Problem) -> Tensor:
    return (p.unit(p.inputs) - p.unit(p.baselines)).detach()


def _by_step(p: Problem) -> Tensor:
    return truth.shapley(p.output, p.inputs, p.baselines)


def _weighted(p: Problem, function: Function) -> Tensor:
    averaged = truth.integrated(function, p.baselines, p.inputs)
    return (p.inputs - p.baselines) * averaged


def _weighted_states(p: Problem) -> Tensor:
    start, end = p.states(p.baselines).detach(), p.states(p.inputs).detach()
    return (end - start) * truth.integrated(p.head, start, end)


def _influenced_states(p: Problem) -> Tensor:
    """Along a path of inputs, though the states' own would be as good."""
    start, end = p.states(p.baselines).detach(), p.states(p.inputs).detach()
    return (end - start) * truth.influence(p)


def _state_gradient(p: Problem) -> Tensor:
    return truth.gradient(p.head, p.states(p.inputs))


GROUPED = {"feature_mask": torch.arange(truth.STEPS)[None, :, None]}
SAMPLED = {"n_samples": SAMPLES, "stdevs": 0.0}

INPUT = {
    "Saliency": Case(
        lambda p: truth.gradient(p.output, p.inputs).abs(),
    ),
    "InputXGradient": Case(
        lambda p: p.inputs * truth.gradient(p.output, p.inputs),
    ),
    "IntegratedGradients": Case(lambda p: _weighted(p, p.output), baselines=True),
    "GradientShap": Case(
        lambda p: _weighted(p, p.output), SAMPLED, baselines=True, tolerance=DRAWN_PATH
    ),
    "DeepLift": Case(_change, baselines=True, tolerance=1e-3, view=total),
    "DeepLiftShap": Case(_change, baselines=True, tolerance=1e-3, view=total),
    "GuidedBackprop": Case(
        lambda p: truth.gradient(p.output, p.inputs), word="gradient"
    ),
    "Deconvolution": Case(
        lambda p: truth.gradient(p.output, p.inputs), word="gradient"
    ),
    "LRP": Case(_change, tolerance=1e-3, view=total),
    "FeatureAblation": Case(lambda p: truth.ablated(p.output, p.inputs)),
    "FeaturePermutation": Case(lambda p: truth.permuted(p.output, p.inputs)),
    "Occlusion": Case(
        lambda p: truth.occluded(p.output, p.inputs),
        {"sliding_window_shapes": (1, truth.WIDTH)},
    ),
    "ShapleyValues": Case(_by_step, GROUPED, baselines=True, tolerance=SINGLE),
    "ShapleyValueSampling": Case(
        _by_step,
        {**GROUPED, "n_samples": ORDERS},
        baselines=True,
        tolerance=DRAWN_ORDER,
    ),
    "KernelShap": Case(
        _by_step,
        {**GROUPED, "n_samples": ORDERS},
        baselines=True,
        tolerance=DRAWN_ORDER,
    ),
}

LAYER = {
    "LayerActivation": Case(lambda p: p.states(p.inputs).detach()),
    "LayerGradientXActivation": Case(
        lambda p: (p.states(p.inputs) * _state_gradient(p)).detach()
    ),
    "LayerIntegratedGradients": Case(_weighted_states, baselines=True),
    "LayerConductance": Case(
        truth.conductance, {"n_steps": 300}, baselines=True, tolerance=5e-3
    ),
    "InternalInfluence": Case(truth.influence, baselines=True),
    "LayerGradientShap": Case(
        _influenced_states, SAMPLED, baselines=True, tolerance=DRAWN_PATH
    ),
    "LayerGradCam": Case(truth.grad_cam),
    "LayerDeepLift": Case(truth.rescaled, baselines=True),
    "LayerDeepLiftShap": Case(truth.rescaled, baselines=True),
    "LayerLRP": Case(_change, tolerance=1e-3, view=total),
    "LayerFeatureAblation": Case(lambda p: truth.ablated(p.head, p.states(p.inputs))),
    "LayerFeaturePermutation": Case(
        lambda p: truth.permuted(p.head, p.states(p.inputs))
    ),
}

NEURON = {
    "NeuronGradient": Case(lambda p: truth.gradient(p.unit, p.inputs)),
    "NeuronIntegratedGradients": Case(lambda p: _weighted(p, p.unit), baselines=True),
    "NeuronConductance": Case(
        # The weights of its default, a trapezoid rule, sum to 1 - 1/n_steps.
        truth.neuron_conductance,
        {"method": "gausslegendre"},
        baselines=True,
    ),
    "NeuronGradientShap": Case(
        lambda p: _weighted(p, p.unit), SAMPLED, baselines=True, tolerance=DRAWN_PATH
    ),
    "NeuronFeatureAblation": Case(lambda p: truth.ablated(p.unit, p.inputs)),
    "NeuronDeepLift": Case(_unit_change, baselines=True, tolerance=1e-3, view=total),
    "NeuronDeepLiftShap": Case(
        _unit_change, baselines=True, tolerance=1e-3, view=total
    ),
    "NeuronGuidedBackprop": Case(
        lambda p: truth.gradient(p.unit, p.inputs), word="gradient"
    ),
    "NeuronDeconvolution": Case(
        lambda p: truth.gradient(p.unit, p.inputs), word="gradient"
    ),
}
CASES = {**INPUT, **LAYER, **NEURON}


def known(cases: dict[str, Case]) -> list[str]:
    """Names that the installed Captum has."""
    return [name for name in cases if hasattr(captum.attr, name)]


def attribute(
    name: str,
    model: nn.Module,
    p: Problem,
    layer: nn.Module | None = None,
    *,
    time_first: bool = False,
) -> Any:
    """Call one method of Captum as its users do; `layer` for those that need one."""
    case = CASES[name]
    settings = dict(case.settings)
    inputs, baselines = p.inputs.clone(), p.baselines
    if name.endswith("DeepLiftShap"):
        baselines = torch.cat([baselines, baselines])  # it wants a sample of several
    elif time_first or not name.endswith("GradientShap"):
        baselines = baselines.expand_as(inputs)
    if time_first:
        inputs, baselines = inputs.transpose(0, 1), baselines.transpose(0, 1)
        if "feature_mask" in settings:
            settings["feature_mask"] = settings["feature_mask"].transpose(0, 1)
    if case.baselines:
        settings["baselines"] = baselines
    method = getattr(captum.attr, name)
    made = method(model) if name in INPUT else method(model, layer)
    given: list[Any] = [inputs.clone().requires_grad_()]
    if name in NEURON:
        given.append(p.neuron)
    found = made.attribute(*given, **settings)
    return found.transpose(0, 1) if time_first else found


def verdict(found: Any, name: str, p: Problem) -> str:
    """Compare an answer with what it should be."""
    case = CASES[name]
    first = found[0] if isinstance(found, tuple) else found
    seen, expected = case.view(first.detach()), case.truth(p)
    if seen.shape != expected.shape:
        return "wrong"
    error = float((seen - expected).norm() / expected.norm())
    return case.word if error < case.tolerance else "wrong"
