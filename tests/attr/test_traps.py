"""check_method: each trap is named, once a process, and nothing else is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import (
    Deconvolution,
    DeepLift,
    FeatureAblation,
    GradientShap,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerConductance,
    LayerDeepLift,
    LayerIntegratedGradients,
    NeuronConductance,
    NeuronDeepLift,
    NeuronGradient,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import captum_dynamics as cd
from captum_dynamics import AttributionWarning
from captum_dynamics.attr import (
    DynamicsAttribution,
    LayerInputForward,
    LinearizedPropagation,
    TelescopingAttribution,
    _watch,
    check_method,
    tap_hidden,
    traps,
)
from tests.attr import models
from tests.attr.models import Reader, classifier, gru, reader, vectors


@pytest.fixture(autouse=True)
def _nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traps, "_warned", set())


def found(
    method: Any, model: nn.Module, inputs: Any = None, **layer: Any
) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        return check_method(method, model, inputs, **layer)


@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        (DeepLift, "Use IntegratedGradients"),
        (GuidedBackprop, "Use Saliency"),
        (Deconvolution, "Use Saliency"),
    ],
)
@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (lambda: nn.RNN(3, 6, batch_first=True), models.last),
        (lambda: nn.LSTM(3, 6, batch_first=True), models.h_n),
        (lambda: nn.GRUCell(3, 6), models.looped),
    ],
)
def test_rules_for_nonlinear_units_do_not_reach_into_fused_layers(
    method: Any, remedy: str, layer: Any, read: Any
) -> None:
    model = reader(layer(), read)
    (trap,) = found(method, model, vectors())
    assert trap.startswith(f"{method.__name__} is the plain gradient inside")
    assert f"{type(model.rnn).__name__}," in trap
    assert remedy in trap
    assert check_method(method, model.head, torch.ones(4, 6).double()) == ()


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, GradientShap])
def test_a_method_that_works_is_not_warned_of(method: Any) -> None:
    for model, args in (
        (gru(), (vectors(),)),
        (gru(models.packed), (vectors(), torch.tensor([7, 3, 5, 1]))),
        (classifier(), (torch.randint(11, (4, 7)),)),
        (reader(nn.LSTMCell(3, 6), models.looped), (vectors(),)),
        (reader(nn.GRU(3, 6), models.time_first), (vectors(),)),
    ):
        assert check_method(method, model, args) == ()
    bidirectional = nn.GRU(3, 6, batch_first=True, bidirectional=True)
    model = reader(bidirectional, models.last, width=12)
    assert check_method(method(model), model, {"x": vectors()}) == ()


def test_each_sentence_is_a_warning_once_and_a_result_always() -> None:
    model = gru()
    with pytest.warns(AttributionWarning, match="DeepLift is the plain"):
        first = check_method(DeepLift, model, vectors())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_method(DeepLift(model), model, vectors()) == first
    with pytest.warns(AttributionWarning, match="GuidedBackprop is the plain"):
        check_method(GuidedBackprop, model, vectors())


def test_without_inputs_the_model_is_not_run() -> None:
    def never(_: Reader, __: Tensor) -> Tensor:
        raise RuntimeError("was run")

    model = gru(never)
    (trap,) = found(DeepLift, model)
    assert "inside GRU," in trap
    with tap_hidden(model) as tap:
        assert len(found(NeuronDeepLift, model, layer=tap.layer)) == 1
        assert check_method(LayerDeepLift, model, layer=tap.layer) == ()
    assert check_method(IntegratedGradients, model) == ()


def test_a_warning_that_is_an_error_comes_again() -> None:
    for _ in range(2):
        with pytest.raises(AttributionWarning, match="DeepLift"):
            check_method(DeepLift, gru(), vectors())


def test_what_is_wrapped_in_a_noise_tunnel_is_seen() -> None:
    model = gru()
    (trap,) = found(NoiseTunnel(DeepLift(model)), model, vectors())
    assert trap.startswith("DeepLift")


class Stacked(nn.Module):
    """Two recurrent layers, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.LSTM(3, 5, batch_first=True)
        self.above = nn.GRU(5, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.above(self.below(x)[0])[0].sum((1, 2))


def test_only_the_layers_that_a_method_goes_back_through_count() -> None:
    model, x = Stacked().double(), vectors()
    with tap_hidden(model, "below") as below, tap_hidden(model, "above") as above:
        assert found(LayerDeepLift, model, x, layer=above.layer) == ()
        (trap,) = found(LayerDeepLift(model, below.layer), model, x)
        assert "inside GRU," in trap
        (trap,) = found(NeuronDeepLift, model, x, layer=below.layer)
        assert "inside LSTM," in trap
        (trap,) = found(NeuronDeepLift, model, x, layer=above.layer)
        assert "inside LSTM and GRU," in trap


class TimeFirst(nn.Module):
    """A model whose own inputs are (T, N, k)."""

    def __init__(self, rnn: nn.Module, read: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inner = reader(rnn, read)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(0, 1))


@pytest.mark.parametrize("size", [(4, 7), (7, 7), (1, 7)])
@pytest.mark.parametrize(
    "build",
    [
        lambda: TimeFirst(nn.GRU(3, 6), models.time_first),
        lambda: TimeFirst(nn.GRUCell(3, 6), models.looped),
    ],
)
def test_rows_that_are_steps_are_noticed(
    build: Callable[[], nn.Module], size: tuple[int, int]
) -> None:
    model, x = build(), vectors(*size).transpose(0, 1)
    for method in (IntegratedGradients, FeatureAblation, GradientShap):
        (trap,) = found(method, model, x)
        assert "`lambda x: model(x.transpose(0, 1))`" in trap
    assert found(Saliency, model, x) == found(InputXGradient, model, x) == ()


def test_the_remedies_for_rows_that_are_steps_are_right() -> None:
    model, x = TimeFirst(nn.GRU(3, 6), models.time_first), vectors()
    plain = model.inner
    expected = IntegratedGradients(plain).attribute(x, target=1)
    turned = IntegratedGradients(lambda x: model(x.transpose(0, 1)))
    torch.testing.assert_close(turned.attribute(x, target=1), expected)
    forward = LayerInputForward(model, plain.rnn)
    steps = x.transpose(0, 1).contiguous()
    assert check_method(IntegratedGradients, forward, (x, steps)) == ()
    torch.testing.assert_close(
        IntegratedGradients(forward).attribute(
            x, target=1, additional_forward_args=(steps,)
        ),
        expected,
    )


def test_deep_lift_behind_a_tap_needs_rows_that_are_examples() -> None:
    model = TimeFirst(nn.GRU(3, 6), models.time_first)
    with tap_hidden(model) as tap:
        (trap,) = found(LayerDeepLift(model, tap.layer), model, vectors())
        assert "axis 0" in trap


def test_texts_of_several_sentences_are_rows_too() -> None:
    inner = gru()

    class Texts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2]).sum((1, 2))

    texts = torch.stack([vectors(), vectors().flip(0)], dim=1)
    assert check_method(IntegratedGradients, Texts(), texts) == ()


@pytest.mark.parametrize("method", [LayerActivation, NeuronGradient])
def test_a_cell_in_a_loop_shows_one_step(method: Any) -> None:
    model = reader(nn.GRUCell(3, 6), models.looped)
    (trap,) = found(method, model, vectors(), layer=model.rnn)
    assert "sees one of the 7 calls" in trap
    assert "tap_hidden" in trap


def test_a_model_that_reads_h_n_does_not_read_its_tap() -> None:
    model = gru(models.h_n)
    with tap_hidden(model) as tap:
        for method in (LayerIntegratedGradients, NeuronConductance):
            (trap,) = found(method, model, vectors(), layer=tap.layer)
            assert "`outputs[:, -1]`" in trap
        for method in (LayerActivation, NeuronGradient):
            assert check_method(method, model, vectors(), layer=tap.layer) == ()
        model.read = models.last
        found_now = check_method(LayerConductance(model, tap.layer), model, vectors())
        assert found_now == ()


def test_cudnn_in_evaluation_mode_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # No GPU here: what is tested is what follows once a layer is on one.
    monkeypatch.setattr(_watch, "_on_cuda", lambda _: True)
    model, x = gru(), vectors()
    (trap,) = found(IntegratedGradients, model, x)
    assert "torch.backends.cudnn.flags(enabled=False)" in trap
    assert check_method(FeatureAblation, model, x) == ()
    with torch.backends.cudnn.flags(enabled=False):
        assert check_method(IntegratedGradients, model, x) == ()
    with tap_hidden(model) as tap:
        assert check_method(NeuronGradient, model, x, layer=tap.layer) == ()
        assert check_method(IntegratedGradients, model, x) == ()
    forward = LayerInputForward(model, model.rnn)
    assert check_method(IntegratedGradients, forward, (x, x)) == ()
    assert check_method(IntegratedGradients, model.train(), x) == ()


@pytest.mark.parametrize("form", ["alone", "tuple", "mapping"])
def test_packed_sequences_are_no_inputs_of_captum(form: str) -> None:
    packed = pack_sequence(list(vectors()))
    inputs: Any = {"alone": packed, "tuple": (packed,), "mapping": {"x": packed}}[form]
    (trap,) = found(Saliency, gru(), inputs)
    assert "give it the padded tensor" in trap


@pytest.mark.parametrize("failing", [False, True])
def test_model_and_inputs_are_left_as_they_were(failing: bool) -> None:
    def read(m: Reader, x: Tensor) -> Tensor:
        if failing:
            raise RuntimeError("broken on purpose")
        return models.last(m, x)

    model, x = gru(read).train(), vectors()
    before = x.clone()
    with tap_hidden(model) as tap:
        hooks = [len(m._forward_hooks) for m in (model, model.rnn, tap.layer)]
        if failing:
            with pytest.raises(RuntimeError, match="on purpose"):
                check_method(LayerConductance, model, x, layer=tap.layer)
        else:
            check_method(LayerConductance, model, x, layer=tap.layer)
        assert hooks == [len(m._forward_hooks) for m in (model, model.rnn, tap.layer)]
        assert len(model.rnn._forward_pre_hooks) == 1  # the tap's own
    assert model.training
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_misuse_is_refused() -> None:
    model, x = gru(), vectors()
    with pytest.raises(ValueError, match="`layer` of LayerConductance"):
        check_method(LayerConductance, model, x)
    with pytest.raises(ValueError, match="`layer` to be called"):
        check_method(LayerConductance, model, x, layer=nn.Identity())
    dropping = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="without active dropout"):
        check_method(Saliency, dropping, x)


@pytest.mark.misuse
def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(TypeError, match="`method` to be an attribution"):
        check_method("Saliency", gru(), vectors())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_analyze_warns_of_the_methods_it_compares() -> None:
    model = gru()
    with pytest.warns(AttributionWarning, match="DeepLift is the plain gradient"):
        result = cd.analyze(
            model, "rnn", vectors(8), target=1, compare=[DeepLift], starts=8
        )
    assert result.documents.explanations[1].method == "DeepLift"


def _time_first_inputs(model: Reader, x: Tensor) -> Tensor:
    return model.head(model.rnn(x)[0][-1])


@pytest.mark.parametrize(
    "kind", [DynamicsAttribution, TelescopingAttribution, LinearizedPropagation]
)
@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (lambda: nn.GRU(3, 6, batch_first=True), models.last),
        (lambda: nn.GRU(3, 6, batch_first=True), models.h_n),
        (lambda: nn.GRUCell(3, 6), models.looped),
        (lambda: nn.GRU(3, 6), _time_first_inputs),
    ],
    ids=["sequence", "h_n", "cell", "time first"],
)
def test_ours_are_not_warned_of(kind: Any, layer: Any, read: Any) -> None:
    model = reader(layer(), read)
    inputs = vectors()
    assert check_method(kind(model, model.rnn), model, inputs) == ()
    assert check_method(kind, model, inputs) == ()
    _, delta = kind(model, model.rnn).attribute(
        inputs, target=1, return_convergence_delta=True
    )
    assert kind is LinearizedPropagation or delta.abs().max() < 1e-9


def test_a_noise_tunnel_around_ours_still_puts_samples_along_time() -> None:
    model = reader(nn.GRU(3, 6), _time_first_inputs)
    tunnel = NoiseTunnel(DynamicsAttribution(model, model.rnn))
    (trap,) = found(tunnel, model, vectors())
    assert trap.startswith("NoiseTunnel puts examples along axis 0")


@pytest.mark.misuse
def test_a_model_that_cannot_be_watched_is_refused() -> None:
    model = gru()
    with pytest.raises(TypeError, match="`model` to be a torch"):
        check_method(Saliency, lambda x: model(x), vectors())  # type: ignore[arg-type]
