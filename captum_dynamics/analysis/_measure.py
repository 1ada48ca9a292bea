"""Measurements on recorded states and inputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs, PerPoint, States
from captum_dynamics.adapters import RecurrentAdapter, adapt
from captum_dynamics.findings import Visits, Words
from captum_dynamics.linearization import Linearization
from captum_dynamics.recording import Trajectories

SAMPLE = 5000  # states of a picture, and of a principal component analysis


def measure_visits(
    layer: nn.Module,
    runs: Trajectories,
    readout: Tensor,
    reference: Inputs,
    seed: int,
) -> Visits:
    """Principal components, density and pace of the visited states."""
    generator = torch.Generator().manual_seed(seed)
    sample = runs.sample_states(_available(runs), generator=generator)
    centre = sample.mean(0)
    axes, variance = _components(sample)
    plane_axes = torch.zeros(2, sample.shape[1]).to(sample)
    plane_axes[: len(axes[:2])] = axes[:2]
    # The first axis points where the readout grows.
    if float(plane_axes[0] @ readout) < 0:
        plane_axes[0] = -plane_axes[0]
    return Visits(
        centre,
        plane_axes,
        variance,
        _untrained_variance(layer, runs, seed),
        (sample - centre) @ plane_axes.T,
        sample @ readout,
        task_step(runs),
        reference[0],
    )


def task_step(runs: Trajectories) -> float:
    """Median length of the steps taken in use."""
    before = torch.cat([runs.initial_states[:, None], runs.states[:, :-1]], dim=1)
    lengths = (runs.states - before).norm(dim=-1)[runs.valid]
    return float(lengths.median())


def measure_words(
    dynamics: RecurrentAdapter,
    linearization: Linearization,
    readout: Tensor,
    visits: Visits,
    names: tuple[str, ...],
    inputs: Inputs,
    scores: PerPoint,
) -> Words:
    """What inputs do through the leading mode, averaged over points."""
    points = linearization.points
    by_input = dynamics.input_jacobians(points.states, points.inputs)
    steps = inputs.to(by_input) - visits.reference_input
    right = linearization.right_eigenvectors[:, :, 0].real
    left = linearization.left_eigenvectors[:, 0].real
    # (w.r_1) l_1 does not depend on the length or sign of r_1.
    gains = (right @ readout)[:, None] * left
    pushes = torch.einsum("pd,pdk,vk->pv", gains, by_input, steps)
    plane = torch.einsum("ad,dk,vk->va", visits.axes, by_input.mean(0), steps)
    leading = gains.mean(0) @ visits.axes.T
    return Words(
        names,
        pushes.mean(0),
        pushes.std(0, unbiased=False),
        plane,
        scores.to(by_input),
        leading / leading.norm().clamp_min(1e-300),
    )


def _components(states: States) -> tuple[Tensor, Tensor]:
    """Principal components as rows, and their shares of the variance."""
    _, sizes, axes = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    return axes, sizes**2 / (sizes**2).sum().clamp_min(1e-300)


def _untrained_variance(layer: nn.Module, runs: Trajectories, seed: int) -> Tensor:
    """Shares of variance for the same layer with PyTorch's fresh weights."""
    fresh = copy.deepcopy(layer)
    reset = getattr(fresh, "reset_parameters", None)
    if not callable(reset):
        return runs.states.new_zeros(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reset()
    states = adapt(fresh).rollout(runs.initial_states, runs.inputs)
    visited = Trajectories(states, runs.inputs, runs.initial_states, runs.lengths)
    generator = torch.Generator().manual_seed(seed)
    sample = visited.sample_states(_available(visited), generator=generator)
    return _components(sample)[1]


def _available(runs: Trajectories) -> int:
    return min(SAMPLE, int(runs.lengths.sum()))
