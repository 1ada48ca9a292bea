"""Measurements on recorded states and inputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from captum_dynamics._typing import Inputs, Mask, PerPoint, States
from captum_dynamics.adapters import adapt
from captum_dynamics.findings import Visits, Words
from captum_dynamics.linearization import Linearization
from captum_dynamics.recording import Trajectories
from captum_dynamics.subspaces import LARGEST_CONDITION

SAMPLE = 5000  # states of a picture, and of a principal component analysis


def measure_visits(
    layer: nn.Module,
    runs: Trajectories,
    readout: Tensor,
    reference: Inputs,
    seed: int,
    *,
    direction: str | None = None,
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
        _untrained_variance(layer, runs, seed, direction=direction),
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
    linearization: Linearization,
    readout: Tensor,
    visits: Visits,
    names: tuple[str, ...],
    inputs: Inputs,
    scores: PerPoint,
) -> Words:
    """What inputs do through the leading mode, averaged over points."""
    by_input = linearization.input_jacobians
    steps = inputs.to(by_input) - visits.reference_input
    gains, apart = leading_gains(linearization, readout)
    pushes = torch.einsum("pd,pdk,vk->pv", gains[apart], by_input[apart], steps)
    plane = torch.einsum("ad,dk,vk->va", visits.axes, by_input.mean(0), steps)
    leading = gains[apart].mean(0) @ visits.axes.T
    mean = pushes.mean(0)
    return Words(
        names,
        mean,
        (pushes - mean).square().mean(0).sqrt(),
        plane,
        scores.to(by_input),
        leading / leading.norm().clamp_min(1e-300),
    )


def leading_gains(linearization: Linearization, readout: Tensor) -> tuple[States, Mask]:
    """Readout (n, d) of the part of a deviation that the leading mode holds.

    That part of the readout is gain . deviation, with gain = (w.r_1) l_1, whatever
    the length and phase of r_1. Of a conjugate pair both members count, which gives
    2 Re (w.r_1) l_1. The mask tells points whose leading mode is independent of the
    others; elsewhere its gain is rounding error.
    """
    right = linearization.right_eigenvectors[:, :, 0]
    left = linearization.left_eigenvectors[:, 0]
    gains = (right @ readout.to(right))[:, None] * left
    members = 1 + (linearization.eigenvalues[:, 0].imag != 0).to(readout)
    # r_1 has unit length and l_1.r_1 = 1, so that |l_1| is 1/cos of their angle.
    apart = left.norm(dim=1) <= LARGEST_CONDITION
    return members[:, None] * gains.real, apart


def _components(states: States) -> tuple[Tensor, Tensor]:
    """Principal components as rows, and their shares of the variance."""
    _, sizes, axes = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    return axes, sizes**2 / (sizes**2).sum().clamp_min(1e-300)


def _untrained_variance(
    layer: nn.Module,
    runs: Trajectories,
    seed: int,
    *,
    direction: str | None = None,
) -> Tensor:
    """Shares of variance for the same layer with PyTorch's fresh weights."""
    unknown = runs.states.new_zeros(0)
    if not callable(getattr(layer, "reset_parameters", None)):
        return unknown
    try:
        fresh = copy.deepcopy(layer).cpu()
    except RuntimeError:  # weights that are computed from others cannot be copied
        return unknown
    # On the CPU, whose generator alone is seeded and put back: `torch.manual_seed`
    # would seed those of all other devices too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh.reset_parameters()  # type: ignore[operator]
    dynamics = adapt(fresh.to(runs.states.device), direction=direction)
    states = dynamics.rollout(runs.initial_states, runs.inputs)
    visited = Trajectories(states, runs.inputs, runs.initial_states, runs.lengths)
    generator = torch.Generator().manual_seed(seed)
    sample = visited.sample_states(_available(visited), generator=generator)
    return _components(sample)[1]


def _available(runs: Trajectories) -> int:
    return min(SAMPLE, int(runs.lengths.sum()))
