"""Attribution through recurrent dynamics, in Captum's own API."""

from __future__ import annotations

from captum_dynamics.attr._base import Adjoints, Estimator, FittedEstimator, Picture
from captum_dynamics.attr._estimated import Fitted
from captum_dynamics.attr._runs import RunPair
from captum_dynamics.attr.captum_methods import captum_method
from captum_dynamics.attr.classical import Classical
from captum_dynamics.attr.comparing import compare
from captum_dynamics.attr.comparison import (
    Comparison,
    MethodScores,
    PairedDifference,
)
from captum_dynamics.attr.conservation import Conservation
from captum_dynamics.attr.context import ContextAttribution
from captum_dynamics.attr.context_effects import ContextEffects
from captum_dynamics.attr.dynamics_attribution import DynamicsAttribution
from captum_dynamics.attr.eigenmodes import EigenmodeAttribution
from captum_dynamics.attr.faithfulness import Faithfulness
from captum_dynamics.attr.layer_input import LayerInputForward
from captum_dynamics.attr.linearized_propagation import LinearizedPropagation
from captum_dynamics.attr.modes import ModeAttributions
from captum_dynamics.attr.modifiers import ModifierEffects, measure_modifiers
from captum_dynamics.attr.path_integrated import PathIntegrated
from captum_dynamics.attr.product_rules import (
    AbsoluteShares,
    EqualShares,
    ProductRule,
    ProportionalShares,
    SignalTakesAll,
)
from captum_dynamics.attr.switching import Switching
from captum_dynamics.attr.tap import HiddenTap, tap_hidden
from captum_dynamics.attr.telescoping import TelescopingAttribution
from captum_dynamics.attr.traps import check_method

__all__ = [
    "AbsoluteShares",
    "Adjoints",
    "Classical",
    "Comparison",
    "Conservation",
    "ContextAttribution",
    "ContextEffects",
    "DynamicsAttribution",
    "EigenmodeAttribution",
    "EqualShares",
    "Estimator",
    "Faithfulness",
    "Fitted",
    "FittedEstimator",
    "HiddenTap",
    "LayerInputForward",
    "LinearizedPropagation",
    "MethodScores",
    "ModeAttributions",
    "PairedDifference",
    "ModifierEffects",
    "PathIntegrated",
    "Picture",
    "ProductRule",
    "ProportionalShares",
    "RunPair",
    "SignalTakesAll",
    "Switching",
    "TelescopingAttribution",
    "captum_method",
    "check_method",
    "compare",
    "measure_modifiers",
    "tap_hidden",
]
