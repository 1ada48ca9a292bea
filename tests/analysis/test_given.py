"""What `analyze` is given: cut where it may be, refused in one sentence, or used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    IntegratedGradients,
    LayerIntegratedGradients,
    NeuronGradient,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.analysis import Analysis
from captum_dynamics.analysis._given import check_methods

ROWS, STEPS = 12, 12


class Reader(nn.Module):
    """Sequences in; what `read` makes of the layer's outputs out."""

    def __init__(
        self,
        read: Callable[[Tensor], Any] = lambda outputs: outputs[:, -1, :2],
        *,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.rnn = nn.GRU(4, 6, batch_first=batch_first)
        self.read = read
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.read(self.rnn(x)[0])


def sequences(rows: int = ROWS, steps: int = STEPS) -> Tensor:
    return torch.randn(rows, steps, 4, generator=torch.Generator().manual_seed(4))


def analyze(model: nn.Module, inputs: Any = None, **settings: Any) -> Analysis:
    given = sequences() if inputs is None else inputs
    few = {"starts": 8, "explained": 2, "target": 0}
    return cd.analyze(model.eval(), "rnn", given, **{**few, **settings})


def test_time_first_sequences_are_explained_whole_and_all_of_them() -> None:
    """With as many steps as sequences, sizes do not tell which axis is which."""
    batch_first = analyze(Reader(), explained=ROWS)
    time_first = analyze(
        Reader(lambda outputs: outputs[-1, :, :2], batch_first=False),
        sequences().transpose(0, 1),
        compare=[IntegratedGradients],
    )
    ours, theirs = time_first.documents.explanations
    torch.testing.assert_close(
        ours.contributions, batch_first.documents.explanations[0].contributions
    )
    assert ours.contributions.shape == (ROWS, STEPS)
    assert float(theirs.deltas.abs().max()) < 1e-3
    assert time_first.setting.target == "output 0 of all sequences"


def test_of_batch_first_sequences_the_first_are_explained() -> None:
    some, everything = analyze(Reader()), analyze(Reader(), explained=100)
    torch.testing.assert_close(
        some.documents.explanations[0].contributions,
        everything.documents.explanations[0].contributions[:2],
    )
    assert some.setting.target == "output 0 of the first 2 of 12 sequences"
    assert everything.setting.target == "output 0 of all sequences"


def test_a_further_method_costs_its_own_runs_of_the_model_alone() -> None:
    model, runs = Reader(), []
    for compare in ([], [Saliency]):
        model.calls = 0
        analyze(model, compare=compare)
        runs.append(model.calls)
    assert runs[1] - runs[0] == 1


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda y: (y[:, -1], y), "`model` to return a tensor, got tuple; wrap it"),
        (lambda y: {"logits": y[:, -1]}, "`model` to return a tensor, got dict; wrap"),
        (lambda y: y.mean(), r"\(12,\) or \(12, outputs\).*got \(\); wrap it"),
        (lambda y: y, r"\(12,\) or \(12, outputs\).*got \(12, 12, 6\); wrap it"),
        (lambda y: y[:3, -1], r"a row for each sequence, got \(3, 6\)"),
        (lambda y: y[:, -1].argmax(-1), "floating numbers, got torch.int64; wrap it"),
    ],
    ids=["tuple", "dict", "one number", "sequences", "rows", "decisions"],
)
def test_outputs_that_are_not_one_row_a_sequence_are_refused(
    read: Callable[[Tensor], Any], complaint: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        analyze(Reader(read))


@pytest.mark.parametrize("target", [-1, 2, None])
def test_a_target_that_is_no_column_is_refused(target: int | None) -> None:
    with pytest.raises(ValueError, match=f"`target` between 0 and 1.*, got {target}"):
        analyze(Reader(), target=target)


def test_a_single_number_for_each_sequence_has_no_target() -> None:
    model = Reader(lambda outputs: outputs[:, -1, 0])
    with pytest.raises(ValueError, match=r"Expected no `target`.*got 0"):
        analyze(model)
    assert analyze(model, target=None).setting.target.startswith("the output of the")


NAMES = [["a"] * STEPS] * ROWS


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"explained": 0}, "`explained` to be a whole number of at least 1, got 0"),
        ({"explained": -2}, "`explained`"),
        ({"starts": 0}, "`starts` to be a whole number of at least 1, got 0"),
        ({"starts": -5}, "`starts`"),
        ({"tokens": NAMES[:3]}, r"`tokens` to hold a list .* 12 sequences, got 3"),
        ({"tokens": [*NAMES[1:], []]}, r"`tokens\[11\]`.*between 1 and 12.*got 0"),
        ({"tokens": [["a"] * 13, *NAMES[1:]]}, r"`tokens\[0\]`.*got 13 names"),
        ({"tokens": ["words"] * ROWS}, r"`tokens\[0\]` to be a list.*got one text"),
        ({"tokens": NAMES, "lengths": [5] * ROWS}, r"`tokens\[0\]`.*5 names.*got 12"),
        ({"lengths": [5] * 3}, "`lengths` to hold 12 whole numbers"),
        ({"lengths": [0, *[5] * 11]}, "`lengths` between 1 and 12"),
        ({"lengths": [13, *[5] * 11]}, "`lengths` between 1 and 12"),
        ({"reference": torch.zeros(5)}, "`reference` to have shape"),
        ({"words": cd.NamedInputs(["a"], torch.zeros(1, 5))}, r"`words\.inputs` to ha"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        analyze(Reader(), **settings)


@pytest.mark.misuse
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((["a"], torch.full((1, 4), torch.nan)), r"`words\.inputs` to be finite"),
        (([], torch.zeros(0, 4)), r"`words\.inputs` to have at least one row"),
        ((["a"], torch.zeros(3, 4)), r"3 `words\.names`, got 1"),
        ((["a"], torch.zeros(1, 4), torch.zeros(2)), r"`words\.scores` to have shape"),
        ((["a"], torch.zeros(1, 4), torch.tensor([torch.inf])), r"no infinite"),
        ((["a"], torch.zeros(1, 4), [1.0]), r"`words\.scores` to be a tensor"),
        ((["a"], [[0.0] * 4]), r"`words\.inputs` to be a tensor, got list"),
    ],
)
def test_named_inputs_that_do_not_fit_together_are_refused(
    arguments: tuple[Any, ...], complaint: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        cd.NamedInputs(*arguments)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor])
def test_lengths_may_be_any_sequence_of_whole_numbers(
    kind: Callable[[Sequence[int]], Any],
) -> None:
    found = analyze(Reader(), lengths=kind([5] * ROWS))
    assert found.setting.steps == 5 * ROWS
    assert [len(names) for names in found.documents.tokens] == [5, 5]


def test_tokens_say_how_many_steps_count() -> None:
    tokens = [["a"] * (1 + row) for row in range(ROWS)]
    found = analyze(Reader(), tokens=tokens)
    assert found.documents.valid.sum(1).tolist() == [1, 2]
    assert found.documents.tokens == (("a",), ("a", "a"))


def test_arguments_that_are_no_tensors_reach_the_model() -> None:
    class Flagged(Reader):
        def forward(self, flag: bool, x: Tensor, gain: None = None) -> Tensor:
            return super().forward(x) if flag and gain is None else x

    expected = analyze(Reader()).documents.explanations[0].contributions
    named = {"flag": True, "x": sequences(), "gain": None}
    found = analyze(Flagged(), named, compare=[IntegratedGradients])
    torch.testing.assert_close(found.documents.explanations[0].contributions, expected)


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        (LayerIntegratedGradients, "which needs layer"),
        (NeuronGradient, "which needs layer, neuron_selector"),
        (NoiseTunnel, "which needs attribution_method"),
        (Occlusion, "which needs sliding_window_shapes"),
        (captum.attr.Attribution, "got Attribution"),
    ],
)
def test_methods_that_need_more_than_a_forward_function_are_refused(
    method: type[Any], needs: str
) -> None:
    with pytest.raises(ValueError, match=rf"`compare` .*IntegratedGradients.*{needs}"):
        analyze(Reader(), compare=[method])


@pytest.mark.misuse
def test_a_method_by_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"classes of captum\.attr, got 'Saliency'"):
        analyze(Reader(), compare=["Saliency"])


def test_most_of_captums_input_attributions_are_accepted() -> None:
    def accepted() -> Iterator[str]:
        for name in dir(captum.attr):
            method = getattr(captum.attr, name)
            if isinstance(method, type) and issubclass(method, captum.attr.Attribution):
                try:
                    check_methods([method])
                except ValueError:
                    continue
                yield name

    found = set(accepted())
    assert {"DeepLift", "KernelShap", "Lime", "FeaturePermutation"} <= found
    assert not any(name.startswith(("Layer", "Neuron")) for name in found)


@pytest.mark.parametrize("method", [ShapleyValueSampling, GradientShap])
def test_methods_that_draw_leave_the_global_generators_alone(
    method: type[Any],
) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002
    found = [
        analyze(Reader(), sequences(steps=4), compare=[method], seed=seed)
        for seed in (5, 5, 6)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert {a.documents.explanations[1].deltas.shape for a in found} == {(2,)}
    first, again, other = (a.documents.explanations[1].contributions for a in found)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_any_function_that_makes_a_method_may_be_compared() -> None:
    found = analyze(
        Reader(), sequences(steps=4), compare=[lambda f: FeatureAblation(f)]
    )
    assert found.documents.explanations[1].method == "FeatureAblation"


class Scriptable(nn.Module):
    """A model that `torch.jit` can read."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0][:, -1]


def test_a_scripted_model_is_analysed_as_the_eager_one_is() -> None:
    eager = Scriptable().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(eager)
    found, expected = analyze(scripted), analyze(eager)
    torch.testing.assert_close(found.points.states, expected.points.states)
    for own, other in zip(
        found.documents.explanations, expected.documents.explanations, strict=True
    ):
        torch.testing.assert_close(own.contributions, other.contributions)
    # A scripted layer cannot be given fresh weights.
    assert len(found.visits.untrained_variance) == 0
    assert len(expected.visits.untrained_variance) > 0
