"""tap_hidden: Captum's layer and neuron methods on the states of recurrent layers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerActivation, LayerGradientXActivation
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from benchmarks._captum_calls import CASES, LAYER, NEURON, attribute, known, verdict
from benchmarks._captum_truth import UNITS, WIDTH, Problem, problem
from captum_dynamics import LayerNotFoundError, UnsupportedLayerError
from captum_dynamics.attr import HiddenTap, tap_hidden

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0"),
    pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU"),
]

LAYERS = (nn.RNN, nn.GRU, nn.LSTM)
# Not these: LRP has no rule for recurrent layers, and DeepLift none inside them.
WORK = sorted(
    {*known(LAYER), *known(NEURON)}
    - {"LayerLRP", "NeuronDeepLift", "NeuronDeepLiftShap"}
)
FEW = (
    "LayerActivation",
    "LayerDeepLift",
    "LayerIntegratedGradients",
    "NeuronFeatureAblation",
    "NeuronIntegratedGradients",
)


class Host(nn.Module):
    """The layer and the head of a problem in a model."""

    def __init__(self, p: Problem) -> None:
        super().__init__()
        self.rnn, self.head, self.states = p.layer, p.head, p.states

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.states(inputs))


def host(layer: nn.Module | None = None, width: int = UNITS) -> tuple[Host, Problem]:
    gru = nn.GRU(WIDTH, UNITS, batch_first=True)
    p = problem(gru if layer is None else layer, width)
    return Host(p), p


@pytest.fixture(autouse=True)
def _captum_draws_the_same() -> Iterator[None]:
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", WORK)
def test_captums_method_agrees_with_what_was_worked_out_without_it(
    name: str, layer: Any
) -> None:
    model, p = host(layer(WIDTH, UNITS, batch_first=True))
    with tap_hidden(model, "rnn") as tap:
        found = attribute(name, model, p, tap.layer)
    assert verdict(found, name, p) == CASES[name].word


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        (nn.GRU(WIDTH, UNITS), UNITS),
        (nn.LSTM(WIDTH, UNITS, bidirectional=True, batch_first=True), 2 * UNITS),
        (nn.RNN(WIDTH, UNITS, num_layers=2, bidirectional=True), 2 * UNITS),
        (nn.LSTM(WIDTH, UNITS, num_layers=2, proj_size=3, batch_first=True), 3),
    ],
    ids=["time first", "bidirectional", "stack", "projected"],
)
@pytest.mark.parametrize("name", FEW)
def test_it_works_in_every_order_and_direction(
    name: str, layer: nn.Module, width: int
) -> None:
    model, p = host(copy.deepcopy(layer), width)
    with tap_hidden(model) as tap:
        found = attribute(name, model, p, tap.layer)
    assert verdict(found, name, p) == CASES[name].word


def snapshot(model: nn.Module) -> list[object]:
    hooks = [
        {name: list(kept) for name, kept in vars(m).items() if "hooks" in name and kept}
        for m in model.modules()
    ]
    modes = [m.training for m in model.modules()]
    tensors = [(p.tolist(), p.requires_grad, p.grad) for p in model.parameters()]
    return [hooks, modes, tensors, list(model.state_dict()), list(vars(model))]


def test_the_model_computes_the_same_and_is_left_as_it_was() -> None:
    model, p = host()
    before, output = snapshot(model), model(p.inputs)
    tap = tap_hidden(model, model.rnn)
    assert torch.equal(model(p.inputs), output)
    assert list(model.state_dict()) == before[3]
    assert all(module is not tap.layer for module in model.modules())
    tap.remove()
    tap.remove()
    assert snapshot(model) == before
    again = pickle.loads(pickle.dumps(model.rnn))
    assert torch.equal(again(p.inputs)[0], model.rnn(p.inputs)[0])
    assert torch.equal(copy.deepcopy(model)(p.inputs), output)


def test_the_model_is_left_as_it_was_after_errors() -> None:
    model, p = host()
    before = snapshot(model)
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="size"),
        tap_hidden(model) as tap,
    ):
        method = LayerGradientXActivation(model, tap.layer)
        method.attribute(p.inputs[:, :, :1])
    assert snapshot(model) == before
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("training", [False, True])
def test_an_evaluating_layer_runs_without_cudnn_and_a_training_one_with_it(
    training: bool,
) -> None:
    model, p = host()
    model.train(training)
    seen = []
    with tap_hidden(model) as tap:
        tap.layer.register_forward_hook(
            lambda *_: seen.append(torch.backends.cudnn.enabled)
        )
        model(p.inputs)
        assert torch.backends.cudnn.enabled
    assert seen == [training]


def test_interrupts_do_not_leave_cudnn_off() -> None:
    model, p = host()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        tap_hidden(model) as tap,
    ):
        tap.layer.register_forward_hook(interrupt)
        model(p.inputs)
    assert torch.backends.cudnn.enabled


def test_several_layers_have_taps_at_once_and_each_only_one() -> None:
    first, second = (nn.GRU(k, UNITS, batch_first=True) for k in (WIDTH, UNITS))
    model = nn.ModuleDict({"first": first, "second": second})
    inputs = torch.ones(2, 4, WIDTH)

    def forward(x: Tensor) -> Tensor:
        return second(first(x)[0])[0].sum((1, 2))

    with tap_hidden(model, "first") as one, tap_hidden(model, "second") as two:
        for tap, expected in ((one, first(inputs)), (two, second(first(inputs)[0]))):
            found = LayerActivation(forward, tap.layer).attribute(inputs)
            torch.testing.assert_close(found, expected[0].detach())
        with pytest.raises(ValueError, match=r"`layer` without a tap.*`remove\(\)`"):
            tap_hidden(model, "first")
    with tap_hidden(model, "first") as again:
        assert isinstance(again, HiddenTap)


def test_what_has_no_sequence_of_examples_is_refused() -> None:
    model, p = host()
    with tap_hidden(model):
        with pytest.raises(TypeError, match="padded tensor, got a PackedSequence"):
            model.rnn(pack_sequence(list(p.inputs)))
        with pytest.raises(ValueError, match=r"a batch.*shape \(4, 5\)"):
            model.rnn(p.inputs[0])
        assert torch.backends.cudnn.enabled
    with pytest.raises(UnsupportedLayerError, match=r"Cannot tap GRUCell.*nn\.LSTM"):
        tap_hidden(nn.GRUCell(3, 4))
    with pytest.raises(LayerNotFoundError, match="no layer at 'encoder'"):
        tap_hidden(model, "encoder")


def test_a_layer_that_gives_its_sequence_alone_needs_no_tap() -> None:
    class Sequence(nn.GRU):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)[0]

    layer = Sequence(WIDTH, UNITS)
    with tap_hidden(layer), pytest.raises(TypeError, match="give Captum the layer"):
        layer(torch.ones(4, 2, WIDTH))
