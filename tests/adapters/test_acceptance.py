"""Attribution and topology of recurrent layers as people have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.testing import TINY_MODELS

STEPS, WIDTH = 6, 3


@dataclass(frozen=True, eq=False)
class Case:
    """A model, its recurrent layer, what it reads, and one map of the layer."""

    model: nn.Module
    layer: nn.Module
    inputs: Tensor
    dynamics: Any
    settled: int = 0  # steps after which to search: branches of saddles take long


class Classifier(nn.Module):
    """Classes of the last step of a layer that reads (n, t, k)."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.rnn = layer
        self.head = nn.Linear(width, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.rnn(inputs)[0][:, -1])
        return found


class Looped(nn.Module):
    """Classes of the last state of a cell that is called in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        state = inputs.new_zeros(len(inputs), 4)
        for step in range(inputs.shape[1]):
            state = self.cell(inputs[:, step], state)
        found: Tensor = self.head(state)
        return found


class Sounding(nn.Module):
    """Loudness of what an LSTM of EnCodec gives out."""

    def __init__(self, lstm: nn.Module) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, inputs: Tensor) -> Tensor:
        given = self.lstm(inputs.transpose(0, 1))[0]
        return given.square().mean((0, 2))[:, None].repeat(1, 3)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def seeded(make: Callable[[], nn.Module]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make().eval()


def case_of(model: Any, layer: nn.Module, width: int = WIDTH, **chosen: Any) -> Case:
    dynamics = cd.adapt(model, layer, **chosen)
    return Case(model, layer, drawn(2, STEPS, width), dynamics)


def bidirectional() -> Case:
    layer = nn.LSTM(WIDTH, 4, 2, bidirectional=True, batch_first=True)
    model = seeded(lambda: Classifier(layer, 8))
    return case_of(model, model.rnn, direction="backward", layer_index=0)


def looped() -> Case:
    model = seeded(Looped)
    return case_of(model, model.cell)


def scripted() -> Case:
    layer = nn.LSTM(WIDTH, 4, batch_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # scripting itself is
        model = torch.jit.script(seeded(lambda: Classifier(layer, 4)))
    return case_of(model, model.rnn)


def weight_normed() -> Case:
    layer = seeded(lambda: nn.GRU(WIDTH, 4, batch_first=True))
    model = seeded(lambda: Classifier(weight_norm(layer, "weight_hh_l0"), 4))
    return case_of(model, model.rnn)


def encodec() -> Case:
    family = TINY_MODELS["encodec"]
    if family.missing is not None:
        pytest.skip(family.missing)
    source: Any = family.build(seed=1)
    model = Sounding(source.encoder.layers[7].lstm).eval()
    return case_of(model, model.lstm, 16)


def closed_loop_of_mamba() -> Case:
    family = TINY_MODELS["mamba"]
    if family.missing is not None:
        pytest.skip(family.missing)
    narrow = {"num_hidden_layers": 1, "expand": 1, "state_size": 2}
    small = replace(family, sizes={**family.sizes, **narrow})
    source: Any = small.build(seed=1)
    feedback = cd.soft_feedback(source.lm_head, source.backbone.embeddings)
    loop = cd.GenerationLoop(cd.adapt(source, "backbone"), feedback)
    model = Classifier(loop, 16)
    model.forward = lambda nudges: model.head(loop(nudges)[:, -1])  # type: ignore[method-assign]
    return replace(case_of(model, loop, 16), settled=200)


CASES = [
    bidirectional,
    looped,
    scripted,
    weight_normed,
    encodec,
    closed_loop_of_mamba,
]
each = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)


@each
def test_contributions_sum_to_the_difference_of_outputs(
    make: Callable[[], Case],
) -> None:
    case = make()
    baselines = torch.full_like(case.inputs, 0.1)
    found = DynamicsAttribution(case.model, case.layer).attribute(
        case.inputs, baselines=baselines, target=1
    )
    with torch.no_grad():
        wanted = (case.model(case.inputs) - case.model(baselines))[:, 1]
    # nn.LSTM is time first unless told: sums are over all but the sequences.
    assert torch.allclose(found.sum((1, 2)), wanted, atol=1e-5)
    assert wanted.abs().max() > 1e-3


@each
def test_points_are_found_and_connected(make: Callable[[], Case]) -> None:
    case = make()
    dynamics = case.dynamics
    generator = torch.Generator().manual_seed(0)
    starts = 0.3 * torch.randn(
        2, dynamics.state_dim, generator=generator, dtype=torch.float64
    )
    inputs = torch.zeros(1, dynamics.input_dim, dtype=torch.float64)
    if case.settled:
        starts = dynamics.iterate(case.settled)(starts, inputs)
    points = cd.find_fixed_points(dynamics, starts, inputs).unique()
    assert points.converged.any()
    points = points[points.converged]
    # The oracle is the map itself, run on.
    assert torch.allclose(dynamics.iterate(2)(points.states, inputs), points.states)
    # Little of it, as a step of a model of transformers takes milliseconds.
    linear = cd.linearize(dynamics, points)
    graph = cd.connect(dynamics, linear, basin_samples=4, max_steps=50, searches=0)
    assert graph.graph.number_of_nodes() >= len(points.states)
