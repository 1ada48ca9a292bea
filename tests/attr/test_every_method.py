"""Captum's contract, for every attribution class: a new one adds one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from captum.attr import (
    GradientAttribution,
    LayerAttribution,
    NoiseTunnel,
    PerturbationAttribution,
)
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.attr import (
    ContextAttribution,
    DynamicsAttribution,
    EigenmodeAttribution,
    Switching,
    TelescopingAttribution,
)
from tests.attr import models
from tests.attr.models import classifier, gru, vectors

LENGTHS = torch.tensor([3, 7, 5, 1])


@dataclass(frozen=True)
class Case:
    """How a method is built for a model, and what else its `attribute` takes."""

    build: Callable[..., Any]
    name: str
    kind: type = GradientAttribution
    settings: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    def __call__(self, model: Any, forward: Any = None, **named: Any) -> Any:
        return self.build(model if forward is None else forward, model.rnn, **named)


def eigenmodes(forward: Any, layer: nn.Module, **named: Any) -> EigenmodeAttribution:
    dynamics = cd.adapt(layer)
    places = torch.linspace(-1, 1, 18).view(3, 6).double()
    once = cd.solvers.Iteration(max_steps=1)
    points = cd.find_slow_points(dynamics, places, torch.zeros(1, 3), solver=once)
    linear = cd.linearize(dynamics, points)
    return EigenmodeAttribution(forward, layer, linear, **named)


def switching_modes(forward: Any, layer: nn.Module, **named: Any) -> Any:
    return eigenmodes(forward, layer, estimator=Switching(anchors=3), **named)


CASES = {
    "dynamics": Case(DynamicsAttribution, "Dynamics Attribution"),
    "all modes": Case(eigenmodes, "Eigenmode Attribution"),
    "one mode": Case(
        eigenmodes,
        "Eigenmode Attribution",
        settings={"subspace": 1},
        complete=False,
    ),
    "modes of anchors": Case(switching_modes, "Eigenmode Attribution", complete=False),
    "telescoping": Case(
        TelescopingAttribution, "Telescoping Attribution", PerturbationAttribution
    ),
    "context": Case(
        ContextAttribution,
        "Context Attribution",
        PerturbationAttribution,
        complete=False,
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_a_tuple_gives_a_tuple_and_a_tensor_a_tensor(case: Case) -> None:
    inputs, method = vectors(), case(gru())
    plain = method.attribute(inputs, target=1, **case.settings)
    (wrapped,), delta = method.attribute(
        (inputs,), (0.0,), 1, return_convergence_delta=True, **case.settings
    )
    assert plain.shape == wrapped.shape == inputs.shape
    assert delta.shape == (4,)
    assert plain.is_contiguous()
    assert wrapped.is_contiguous()
    assert not plain.requires_grad
    assert not torch.equal(plain[:, 0], plain[:, 1])
    if case.complete:
        assert delta.abs().max() < 1e-8


def test_attributions_come_in_the_callers_precision(case: Case) -> None:
    found, delta = case(gru().float()).attribute(
        vectors().float(), target=1, return_convergence_delta=True, **case.settings
    )
    assert found.dtype == delta.dtype == torch.float32
    exact = case(gru()).attribute(vectors(), target=1, **case.settings)
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=1e-3)


def test_token_ids_give_what_their_embeddings_give(case: Case) -> None:
    model = classifier()
    ids = torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(0))
    found = case(model).attribute(ids, baselines=0, target=1, **case.settings)
    table = model.embedding.weight.detach()
    embedded = case(model, lambda x: model.head(model.rnn(x)[0][:, -1])).attribute(
        table[ids], table[torch.zeros_like(ids)], 1, **case.settings
    )
    torch.testing.assert_close(found, embedded)


@pytest.mark.parametrize(("size", "given"), [(1, False), (3, True), (9, False)])
def test_cutting_the_batch_changes_nothing(case: Case, size: int, given: bool) -> None:
    method = case(gru(models.packed))
    named = {
        "baselines": vectors().flip(0) if given else None,
        "target": [0, 3, 1, 2],
        "additional_forward_args": LENGTHS,
        **case.settings,
    }
    whole = method.attribute(vectors(), **named)
    cut = method.attribute(vectors(), internal_batch_size=size, **named)
    torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("read", "target", "each"),
    [
        (models.last, 2, [2] * 4),
        (models.last, torch.tensor([2]), [2] * 4),
        (models.last, torch.tensor([0, 3, 1, 2]), [0, 3, 1, 2]),
        (models.last, [0, 3, 1, 2], [0, 3, 1, 2]),
        (models.every_step, (3, 1), [(3, 1)] * 4),
        (models.every_step, [(0, 1), (3, 1), (6, 0), (2, 2)], None),
    ],
    # Not `str`: functions would be named by an address, which workers disagree on.
    ids=["int", "tensor of one", "tensor", "list", "tuple", "list of tuples"],
)
def test_every_form_of_target_selects_for_each_example(
    case: Case, read: Any, target: Any, each: Any
) -> None:
    method, inputs = case(gru(read), reference="zero"), vectors()
    if "anchors" in str(getattr(method, "estimator", "")):
        method.fit(inputs, target)
    whole = method.attribute(inputs, target=target, **case.settings)
    for row, one in enumerate(target if each is None else each):
        alone = method.attribute(inputs[row : row + 1], target=one, **case.settings)
        torch.testing.assert_close(alone[0], whole[row], atol=1e-10, rtol=0)


def test_neither_modes_of_torch_nor_frozen_parameters_change_it(case: Case) -> None:
    model = gru()
    expected = case(model).attribute(vectors(), target=1, **case.settings)
    found = []
    with torch.no_grad():
        found.append(case(model).attribute(vectors(), target=1, **case.settings))
    with torch.inference_mode():
        found.append(case(model).attribute(vectors(), target=1, **case.settings))
    model.train().requires_grad_(False)
    found.append(case(model).attribute(vectors(), target=1, **case.settings))
    for one in found:
        torch.testing.assert_close(one, expected)
        assert not one.is_inference()


def test_noise_tunnel_runs_with_delta_and_further_arguments(case: Case) -> None:
    method = case(gru(models.at_lengths))
    given = {
        "baselines": vectors().flip(0),
        "target": torch.tensor([0, 1, 2, 3]),
        "additional_forward_args": LENGTHS,
        **case.settings,
    }
    found, delta = NoiseTunnel(method).attribute(
        vectors(), nt_samples=3, stdevs=0.01, return_convergence_delta=True, **given
    )
    assert delta.shape == (12,)
    plain = method.attribute(vectors(), **given)
    torch.testing.assert_close(found, plain, atol=0.1, rtol=0.1)
    if case.complete:
        assert delta.abs().max() < 1e-8


def to_zero(x: Tensor) -> tuple[Tensor, Tensor]:
    """For contributions, a perturbation says which inputs go: here all of them."""
    return torch.ones_like(x), torch.zeros_like(x)


def test_sensitivity_and_infidelity_run(case: Case) -> None:
    model, inputs = gru(), vectors()
    method = case(model, reference="zero")
    sensitivity = sensitivity_max(
        method.attribute, inputs, target=1, n_perturb_samples=2, **case.settings
    )
    assert sensitivity.shape == (4,)
    assert torch.isfinite(sensitivity).all()
    attributions = method.attribute(inputs, target=1, **case.settings)
    infidel = infidelity(model, to_zero, inputs, attributions, target=1)
    assert infidel.shape == (4,)
    assert (infidel.max() < 1e-14) == case.complete


def snapshot(model: nn.Module) -> list[object]:
    return [
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        [m.training for m in model.modules()],
        [sorted(vars(m)) for m in model.modules()],
        [(p.tolist(), p.requires_grad, p.grad) for p in model.parameters()],
        torch.backends.cudnn.enabled,
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
    ]


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(case: Case, failing: bool) -> None:
    model = gru().train()
    model.head.weight.requires_grad_(False)
    calls: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(x)
        if failing and len(calls) == 5:
            raise RuntimeError("broken on purpose")
        return model(x)

    inputs = vectors().requires_grad_()
    method = case(model, forward)
    before = snapshot(model)
    if failing:
        with pytest.raises(RuntimeError, match="on purpose"):
            method.attribute(inputs, None, 1, **case.settings)
    else:
        method.attribute(inputs, None, 1, **case.settings)
    assert len(calls) >= 5
    assert snapshot(model) == before
    assert inputs.grad is None
    assert torch.equal(inputs, vectors())


def test_its_form_is_captums(case: Case) -> None:
    method = case(gru())
    assert method.get_name() == case.name
    assert isinstance(method, LayerAttribution)
    assert isinstance(method, case.kind)
    assert method.has_convergence_delta()
    assert method.multiplies_by_inputs
    with pytest.raises(NotImplementedError, match="attribute_future"):
        method.attribute_future()


def test_misuse_is_refused_in_one_sentence(case: Case) -> None:
    x, method = vectors(), case(gru())
    wrong: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("`target` to select", (x,), {}),
        ("`target` to select", (x,), {"target": 9}),
        ("`baselines` of shape", (x, x[:, :2], 1), {}),
        ("`inputs` to be finite", (x * float("nan"),), {"target": 1}),
        ("at least one row", (x[:0],), {"target": 1}),
        ("`internal_batch_size`", (x,), {"target": 1, "internal_batch_size": 0}),
    ]
    for match, args, named in wrong:
        with pytest.raises(ValueError, match=match):
            method.attribute(*args, **named, **case.settings)
    with pytest.raises(ValueError, match="`reference`"):
        case(gru(), reference="median")
    with pytest.raises(cd.LayerNotFoundError, match="not part of"):
        case.build(gru(), nn.GRU(3, 6).double())
    layer = method.layer
    dropping = case.build(nn.Sequential(layer, nn.Dropout(0.5)), layer)
    with pytest.raises(ValueError, match="active dropout"):
        dropping.attribute(x)
