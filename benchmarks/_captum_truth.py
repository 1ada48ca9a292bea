"""What Captum's methods should give on a small recurrent model, worked out plainly.

By autograd on the layer's own output sequence, by loops over features, and by sums over
all orders: nothing here calls Captum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
ROWS, STEPS, WIDTH, UNITS = 2, 4, 3, 5
NODES = 50  # of Gauss and Legendre: as many as Captum takes by default


class Head(nn.Module):
    """v . tanh(W mean_t h_t + b), which reads every step and is made of modules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 4)
        self.bend = nn.Tanh()
        self.read = nn.Linear(4, 1)

    def forward(self, states: Tensor) -> Tensor:
        """Give one number a row."""
        return self.read(self.bend(self.mix(states.mean(1))))[:, 0]


@dataclass(frozen=True, eq=False)
class Problem:
    """A recurrent layer with a readout, what it reads, and one of its units.

    Attributes:
        layer: nn.RNN, nn.GRU, nn.LSTM, or a cell that is called in a loop.
        head: reads states (n, t, d), gives (n,).
        inputs: (n, t, k).
        baselines: (1, t, k).
        neuron: step and unit that neuron methods explain.
    """

    layer: nn.Module
    head: Head
    inputs: Tensor
    baselines: Tensor
    neuron: tuple[int, int] = (2, 1)

    def states(self, inputs: Tensor) -> Tensor:
        """The sequence (n, t, d) that the layer gives for inputs (n, t, k)."""
        if isinstance(self.layer, nn.RNNBase):
            if self.layer.batch_first:
                return self.layer(inputs)[0]
            return self.layer(inputs.transpose(0, 1))[0].transpose(0, 1)
        state, states = None, []
        for step in inputs.unbind(1):
            state = self.layer(step, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states, dim=1)

    def output(self, inputs: Tensor) -> Tensor:
        """The model's output (n,)."""
        return self.head(self.states(inputs))

    def unit(self, inputs: Tensor) -> Tensor:
        """The explained unit (n,)."""
        step, unit = self.neuron
        return self.states(inputs)[:, step, unit]


def problem(layer: nn.Module, width: int = UNITS) -> Problem:
    """A model around a layer, with weights large enough to be clearly nonlinear."""
    generator = torch.Generator().manual_seed(1)
    head = Head(width)
    for parameter in (*layer.parameters(), *head.parameters()):
        nn.init.normal_(parameter, std=0.6, generator=generator)
    inputs = torch.randn(ROWS, STEPS, WIDTH, generator=generator)
    baselines = torch.randn(1, STEPS, WIDTH, generator=generator)
    layer.double().eval()
    head.double().eval()
    return Problem(layer, head, inputs.double(), baselines.double())


def gradient(function: Function, at: Tensor) -> Tensor:
    """Gradient of one number a row, in the shape of `at`."""
    leaf = at.detach().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def integrated(function: Function, start: Tensor, end: Tensor) -> Tensor:
    """Gradient averaged over the segment from `start` to `end`."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    points = zip((nodes + 1) / 2, weights / 2, strict=True)
    return sum(w * gradient(function, start + a * (end - start)) for a, w in points)


def ablated(function: Function, at: Tensor) -> Tensor:
    """What one feature after another changes where it is set to zero."""
    return _one_by_one(function, at, torch.zeros_like(at))


def permuted(function: Function, at: Tensor) -> Tensor:
    """What one feature after another changes where two rows exchange it."""
    return _one_by_one(function, at, at.flip(0))


def occluded(function: Function, at: Tensor) -> Tensor:
    """What one step after another changes where it is set to zero."""
    changes = []
    for step in range(at.shape[1]):
        other = at.clone()
        other[:, step] = 0
        changes.append(function(at) - function(other))
    return torch.stack(changes, 1)[:, :, None].expand_as(at).detach()


def shapley(function: Function, at: Tensor, baselines: Tensor) -> Tensor:
    """Mean over all orders of what a step changes when it is put in."""
    total = torch.zeros(at.shape[:2], dtype=at.dtype)
    orders = list(permutations(range(at.shape[1])))
    for order in orders:
        mixed = baselines.expand_as(at).clone()
        before = function(mixed)
        for step in order:
            mixed[:, step] = at[:, step]
            after = function(mixed)
            total[:, step] += (after - before).detach()
            before = after
    return (total / len(orders))[:, :, None].expand_as(at)


def influence(p: Problem) -> Tensor:
    """Gradient with respect to states, averaged along a path of inputs."""
    return _along_inputs(p, lambda inputs: gradient(p.head, p.states(inputs)))


def conductance(p: Problem) -> Tensor:
    """What passes through each state along a path of inputs, in many small steps."""
    start, end, fine = p.baselines, p.inputs, 100
    total = torch.zeros_like(p.states(end))
    before = p.states(start.expand_as(end))
    for step in range(fine):
        middle = p.states(start + (step + 0.5) / fine * (end - start))
        after = p.states(start + (step + 1) / fine * (end - start))
        total += gradient(p.head, middle) * (after - before)
        before = after
    return total.detach()


def neuron_conductance(p: Problem) -> Tensor:
    """What inputs pass on through one unit."""
    step, unit = p.neuron

    def through(inputs: Tensor) -> Tensor:
        passed = gradient(p.head, p.states(inputs))[:, step, unit]
        return passed[:, None, None] * gradient(p.unit, inputs)

    return (p.inputs - p.baselines) * _along_inputs(p, through)


def rescaled(p: Problem) -> Tensor:
    """DeepLift by hand, from states to output: slopes of tanh between two runs."""
    states, reference = p.states(p.inputs), p.states(p.baselines)
    there, here = p.head.mix(states.mean(1)), p.head.mix(reference.mean(1))
    slopes = (there.tanh() - here.tanh()) / (there - here)
    carried = (p.head.read.weight * slopes) @ p.head.mix.weight / states.shape[1]
    return (carried[:, None] * (states - reference)).detach()


def grad_cam(p: Problem) -> Tensor:
    """States weighted by their step's mean gradient, summed over steps."""
    states = p.states(p.inputs)
    weights = gradient(p.head, states).mean(2, keepdim=True)
    return (weights * states).sum(1, keepdim=True).detach()


def _along_inputs(p: Problem, value: Function) -> Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    total: Any = 0
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total = total + weight * value(p.baselines + node * (p.inputs - p.baselines))
    return total.detach()


def _one_by_one(function: Function, at: Tensor, others: Tensor) -> Tensor:
    at = at.detach()
    changes = torch.zeros_like(at)
    for step in range(at.shape[1]):
        for column in range(at.shape[2]):
            other = at.clone()
            other[:, step, column] = others[:, step, column]
            changed = function(at) - function(other)
            changes[:, step, column] = changed.detach()
    return changes
