"""Figures of results: one function each, drawn outside pyplot, on any axes.

Every function takes a result and returns the figure and its axes. None computes what
the result does not hold, shows a window, or changes a setting of matplotlib.
"""

from __future__ import annotations

from captum_dynamics.plots.accumulation import plot_accumulation
from captum_dynamics.plots.alignment import plot_alignment
from captum_dynamics.plots.basins import plot_basins
from captum_dynamics.plots.branches import plot_branches
from captum_dynamics.plots.comparison import plot_comparison
from captum_dynamics.plots.context import plot_context
from captum_dynamics.plots.density import plot_density
from captum_dynamics.plots.embedding import plot_embedding
from captum_dynamics.plots.exponents import plot_exponents
from captum_dynamics.plots.fixed_point_graph import plot_graph
from captum_dynamics.plots.frequencies import plot_frequencies
from captum_dynamics.plots.hierarchy import plot_hierarchy
from captum_dynamics.plots.input_effects import plot_input_effects
from captum_dynamics.plots.labelled_states import plot_labelled_states
from captum_dynamics.plots.mode_contributions import plot_mode_contributions
from captum_dynamics.plots.modes import plot_modes
from captum_dynamics.plots.modifiers import plot_modifiers, plot_removals
from captum_dynamics.plots.overview import plot_networks, plot_overview
from captum_dynamics.plots.panels import panels
from captum_dynamics.plots.persistence import plot_persistence
from captum_dynamics.plots.projections import plot_projections
from captum_dynamics.plots.regimes import plot_regimes
from captum_dynamics.plots.slow_points import plot_slow_points
from captum_dynamics.plots.spectrum import plot_spectrum
from captum_dynamics.plots.speed_profile import plot_speed_profile
from captum_dynamics.plots.text import text_html
from captum_dynamics.plots.time_constants import plot_time_constants
from captum_dynamics.plots.time_series import plot_time_series
from captum_dynamics.plots.transitions import plot_transitions
from captum_dynamics.plots.variance import plot_variance
from captum_dynamics.plots.variances import plot_variances

__all__ = [
    "plot_overview",
    "plot_networks",
    "plot_variance",
    "plot_variances",
    "plot_density",
    "plot_slow_points",
    "plot_labelled_states",
    "plot_time_constants",
    "plot_input_effects",
    "plot_projections",
    "plot_modes",
    "plot_alignment",
    "plot_spectrum",
    "plot_speed_profile",
    "plot_persistence",
    "plot_graph",
    "plot_hierarchy",
    "plot_basins",
    "plot_transitions",
    "plot_branches",
    "plot_regimes",
    "plot_exponents",
    "plot_accumulation",
    "plot_mode_contributions",
    "plot_time_series",
    "plot_comparison",
    "plot_context",
    "plot_modifiers",
    "plot_removals",
    "plot_embedding",
    "plot_frequencies",
    "panels",
    "text_html",
]
