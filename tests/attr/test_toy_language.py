"""A trained net of the toy language: "not" and "very" do what the language says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.attr import (
    ContextAttribution,
    ModifierEffects,
    measure_modifiers,
)
from captum_dynamics.tasks.context import (
    NOISE,
    VALUES,
    WORDS,
    ContextNet,
    encode_words,
    load_context,
    sample_context,
    sum_values,
)

SPEED = 3e-3  # |g|, as for q below 5e-6


@dataclass(frozen=True)
class Read:
    """The net, slow points under the mean noise word, and both modifiers there."""

    net: ContextNet
    linear: cd.Linearization
    readout: Tensor
    modifiers: ModifierEffects


def words(sentence: str) -> Tensor:
    return encode_words(sentence)[0].double()


def neutral() -> Tensor:
    """The mean noise word: of one-hot words, zero is none of the language."""
    return words(" ".join(NOISE)).mean(0, keepdim=True)


@pytest.fixture(scope="module")
def read() -> Read:
    net = load_context().double()
    dynamics, generator = cd.adapt(net, "rnn"), torch.Generator().manual_seed(0)
    data = sample_context(32, 50, generator=generator)
    visited = cd.record(net, "rnn", data.inputs.double())
    starts = visited.sample_states(12, generator=generator)
    slow_enough = cd.solvers.LevenbergMarquardt(atol=SPEED)
    points = cd.find_slow_points(dynamics, starts, neutral(), solver=slow_enough)
    linear = cd.linearize(dynamics, points[points.kind <= cd.Kind.SLOW])
    readout, valued = net.readout.weight.detach()[0], words(" ".join(VALUES))
    found = measure_modifiers(dynamics, linear, readout, words("not very"), valued)
    return Read(net, linear, readout, found)


def sums(read: Read) -> Tensor:
    return read.linear.points.states @ read.readout + read.net.readout.bias.detach()


def test_the_points_are_a_line_that_keeps_the_sum(read: Read) -> None:
    assert len(read.linear) >= 9
    assert sums(read).max() - sums(read).min() > 8
    assert (read.linear.eigenvalues[:, 0].abs() - 1).abs().max() < 0.02


def test_input_jacobians_give_a_word_its_value_and_modifiers_change_it(
    read: Read,
) -> None:
    found = read.modifiers
    for slopes, low, high in (
        (found.plain_slopes[:, 0], 0.8, 1.2),
        (found.slopes[:, 0, 0, 0], -1.2, -0.8),
        (found.slopes[:, 1, 0, 0], 1.6, 2.4),
    ):
        assert low <= slopes.min()
        assert slopes.max() <= high


def test_not_turns_four_words_and_very_doubles_one(read: Read) -> None:
    found, values = read.modifiers, torch.tensor(list(VALUES.values())).double()
    expected = values[:, None].expand(2, 4, 8).clone()
    expected[0, :, :4] *= -1
    expected[1, :, 0] *= 2
    assert (found.plain_effects - values).abs().max() < 0.1
    assert (found.effects - expected).abs().max() < 0.2
    lasting = torch.tensor([4, 1])[:, None].expand(len(found), 2, 4)
    assert torch.equal(found.gone_after(), lasting)


def test_two_groups_of_modes_carry_not_and_very(read: Read) -> None:
    found = read.modifiers
    bad = found.without[:, :, 1]
    # Before: "not bad" is +1 and "very bad" -2.
    assert (bad[..., 0] - torch.tensor([1.0, -2.0])).abs().max() < 0.1
    # After: what "bad" is alone, within .3 at all points.
    assert (bad[..., 2] + 1).abs().max() < 0.3
    # The same groups serve all four words.
    assert found.left[:, :, 2].max() < 0.35
    assert found.left[:, :, 2].median(0).values.max() < 0.2
    # Modes that soon forget: the line itself holds none of it.
    times = read.linear.subspaces.time_constants
    for row, ranking in enumerate(found.ranking[:, :, :2]):
        assert times[row][ranking].max() < 8


def test_effects_of_words_on_words_are_those_of_the_language(read: Read) -> None:
    data = sample_context(6, 12, generator=torch.Generator().manual_seed(5))
    the = WORDS.index("the")
    baselines = encode_words("the").expand(6, 12, -1)
    method = ContextAttribution(lambda x: read.net(x)[:, -1], read.net.rnn)
    found = method.attribute_context(data.inputs.double(), baselines=baselines)

    def total(known: int, without: int) -> Tensor:
        heard = data.words.clone()
        heard[:, known:] = the
        heard[:, without] = the
        return sum_values(heard)[:, -1].double()

    for t in range(12):
        for s in range(t + 1, 12):
            nothing = data.words.clone()
            nothing[:, s + 1 :] = the
            before = data.words.clone()
            before[:, s:] = the
            adds = sum_values(nothing)[:, -1] - sum_values(before)[:, -1]
            expected = adds.double() - (total(s + 1, t) - total(s, t))
            assert (found.effects[:, t, s] - expected).abs().max() < 0.4
    assert found.effects.abs().max() > 3


def test_modifiers_are_found_in_a_sentence(read: Read) -> None:
    sentence = "it not good bad awful good awesome very good bad for"
    method = ContextAttribution(read.net, read.net.rnn, reference=neutral()[0])
    found = method.attribute_context(words(sentence)[None], target=10)
    (modifiers,) = found.modifiers().tolist()
    named = [w for w, is_one in zip(sentence.split(), modifiers, strict=True) if is_one]
    assert named == ["not", "very"]
    lasting = found.gone_after(share=0.2)[0]
    assert (int(lasting[1]), int(lasting[7])) == (4, 1)
