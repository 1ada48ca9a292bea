"""What a nudge did to what was generated: attributions through a closed loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution, EigenmodeAttribution

K, M, V = 3, 5, 7

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gru cell": lambda: nn.GRUCell(K, M),
    "lstm": lambda: nn.LSTM(K, M, num_layers=2),
}


class Decoder(nn.Module):
    """A loop that generates, and the logits of the last token."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.head = nn.Linear(M, V).double()
        table = nn.Embedding(V, K).double()
        feedback = cd.soft_feedback(self.head, table, temperature=0.5)
        self.loop = cd.GenerationLoop(layer, feedback, table.weight[0])

    def forward(self, nudges: Tensor) -> Tensor:
        return self.head(self.loop(nudges))[:, -1]


def decoder(name: str) -> Decoder:
    torch.manual_seed(0)
    model = Decoder(LAYERS[name]()).double()
    nn.init.normal_(model.head.weight)
    return model.eval()


def nudges() -> Tensor:
    return torch.randn(3, 6, K, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", LAYERS)
def test_contributions_of_nudges_add_to_the_change_of_a_logit(name: str) -> None:
    model, given = decoder(name), nudges()
    method = DynamicsAttribution(model, model.loop)
    found = method.attribute(given, baselines=torch.zeros_like(given), target=1)
    with torch.no_grad():
        change = (model(given) - model(torch.zeros_like(given)))[:, 1]
    assert change.abs().min() > 1e-4
    torch.testing.assert_close(found.sum((1, 2)), change, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_small_nudge_contributes_what_its_gradient_says(name: str) -> None:
    model, given = decoder(name), 1e-4 * nudges()
    leaf = torch.zeros_like(given).requires_grad_()
    model(leaf)[:, 1].sum().backward()
    found = DynamicsAttribution(model, model.loop).attribute(
        given, baselines=torch.zeros_like(given), target=1
    )
    assert leaf.grad is not None
    torch.testing.assert_close(found, leaf.grad * given, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_a_loop_is_recorded_from_its_first_input(name: str) -> None:
    model, given = decoder(name), nudges()
    runs = cd.record(model, None, given)
    width = cd.adapt(model).state_dim
    assert runs.states.shape == (3, 6, width)
    first = model.loop.first_input.expand(3, -1)
    assert torch.equal(runs.initial_states[:, -K:], first)
    starts = torch.randn(3, width).double()
    resumed = cd.record(model.loop, None, (given, starts))
    torch.testing.assert_close(
        model.loop.loop.outputs(resumed.states), model.loop(given, starts)
    )


@pytest.mark.parametrize("name", LAYERS)
def test_a_whole_analysis_and_its_graph_run_on_a_loop(name: str) -> None:
    model, given = decoder(name), nudges()
    found = cd.analyze(model, "loop", given, target=1)
    assert len(found.graph.graph) > 0
    assert "GenerationLoop" in found.summary()


def test_attributions_by_mode_run_on_a_loop() -> None:
    model, given = decoder("gru cell"), nudges()
    runs = cd.record(model, None, given)
    dynamics = cd.adapt(model)
    starts, nothing = runs.sample_states(16), torch.zeros(1, K).double()
    points = cd.find_fixed_points(dynamics, starts, nothing).unique()
    linear = cd.linearize(dynamics, points)
    method = EigenmodeAttribution(model, model.loop, linear)
    found = method.attribute(given, baselines=torch.zeros_like(given), target=1)
    assert torch.isfinite(found).all()


def test_nudges_in_single_precision_give_outputs_in_single_precision() -> None:
    model = decoder("gru cell")
    given = nudges()
    found = model.loop(given.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), model.loop(given), atol=1e-5, rtol=0)
