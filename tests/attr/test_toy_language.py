"""A trained net of the toy language: "not" and "very" do what the language says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    WORDS,
    ContextNet,
    encode_words,
    load_context,
    sample_context,
    sum_values,
)

DATA = Path(__file__).parents[1] / "data"
VALUES = {"good": 1.0, "bad": -1.0, "awesome": 2.0, "awful": -2.0}
SPEED = 3e-3  # |g|, as for q below 5e-6


@dataclass(frozen=True)
class Read:
    """The net, its map, slow points under the mean noise word, and its readout."""

    net: ContextNet
    dynamics: cd.DynamicsMap
    linear: cd.Linearization
    readout: Tensor

    def modifiers(self, word: str) -> ModifierEffects:
        """Both modifiers before a word, at every point."""
        return measure_modifiers(
            self.dynamics, self.linear, self.readout, words("not very"), words(word)[0]
        )


def words(sentence: str) -> Tensor:
    return encode_words(sentence)[0].double()


def neutral() -> Tensor:
    """The mean noise word: of one-hot words, zero is none of the language."""
    return words(" ".join(NOISE)).mean(0, keepdim=True)


@pytest.fixture(scope="module")
def read() -> Read:
    net = load_context(DATA / "context_gru.safetensors").double()
    dynamics, generator = cd.adapt(net, "rnn"), torch.Generator().manual_seed(0)
    data = sample_context(32, 50, generator=generator)
    visited = cd.record(net, "rnn", data.inputs.double())
    starts = visited.sample_states(16, generator=generator)
    slow_enough = cd.solvers.LevenbergMarquardt(atol=SPEED)
    points = cd.find_slow_points(dynamics, starts, neutral(), solver=slow_enough)
    linear = cd.linearize(dynamics, points[points.kind <= cd.Kind.SLOW])
    return Read(net, dynamics, linear, net.readout.weight.detach()[0])


def sums(read: Read) -> Tensor:
    return read.linear.points.states @ read.readout + read.net.readout.bias.detach()


def test_the_points_are_a_line_that_keeps_the_sum(read: Read) -> None:
    assert len(read.linear) >= 12
    assert sums(read).max() - sums(read).min() > 8
    assert (read.linear.eigenvalues[:, 0].abs() - 1).abs().max() < 0.02


def test_input_jacobians_give_a_word_its_value_and_modifiers_change_it(
    read: Read,
) -> None:
    found = read.modifiers("good")
    for slopes, low, high in (
        (found.plain_slopes, 0.8, 1.2),
        (found.slopes[:, 0, 0], -1.2, -0.8),
        (found.slopes[:, 1, 0], 1.6, 2.4),
    ):
        assert low <= slopes.min()
        assert slopes.max() <= high


@pytest.mark.parametrize("word", VALUES)
def test_not_turns_four_words_and_very_doubles_one(read: Read, word: str) -> None:
    found, value = read.modifiers(word), VALUES[word]
    expected = torch.full((2, 8), value).double()
    expected[0, :4], expected[1, 0] = -value, 2 * value
    assert (found.plain_effects - value).abs().max() < 0.1
    assert (found.effects - expected).abs().max() < 0.2
    assert found.gone_after().tolist() == [[4, 1]] * len(found)


def test_two_groups_of_modes_carry_not_and_very(read: Read) -> None:
    found = read.modifiers("bad")
    # Before: "not bad" is +1 and "very bad" -2.
    assert (found.without[..., 0] - torch.tensor([1.0, -2.0])).abs().max() < 0.1
    misses = (found.without[..., 2] + 1).abs()
    # Where a sentence begins, and all along the line but for a rare point.
    assert misses[sums(read).abs().argmin()].max() < 0.3
    assert (misses < 0.3).double().mean() > 0.85
    assert misses.median() < 0.05
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
