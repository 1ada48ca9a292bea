"""The toy language: modifiers at slow points, and bags of words with modifier terms."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captum_dynamics.attr import ContextAttribution, ModifierEffects
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import Claim, at_most, holds, reported, within
from captum_dynamics.experiments.context._baseline import Line, count_terms, r_squared
from captum_dynamics.experiments.context._reading import (
    MODIFIERS,
    Reading,
    neutral_input,
    read_net,
)
from captum_dynamics.plots import plot_context, plot_modifiers, plot_removals
from captum_dynamics.tasks.context import (
    VALUES,
    WORDS,
    ContextNet,
    encode_words,
    sample_context,
)

SENTENCE = "it not good bad awful good awesome very good bad for"
GONE = 0.2  # of the largest change: below it an effect counts as gone
STEPS, FRESH = 50, 2000  # words of a sentence, and sentences to judge by
GOOD, BAD = (list(VALUES).index(word) for word in ("good", "bad"))
NOT, VERY = range(2)
PLAIN_BAD, NEAR = -1.0, 0.3  # what bad is worth, and how near a removal must bring it


def toy_sections(bench: Bench, net: ContextNet, *, starts: int, sentences: int) -> None:
    """Add the sections on the toy language."""
    bench.say("toy language: reading the net")
    reading = read_net(net, starts, generator=bench.generator())
    _effects(bench, reading)
    _modes(bench, reading)
    _sentence(bench, reading)
    bench.say("toy language: bags of words")
    _bags(bench, reading, sentences)


def _effects(bench: Bench, reading: Reading) -> None:
    found, net = reading.effects, reading.net
    bench.section(
        "The toy language: what words are worth after modifiers",
        f"A GRU of {net.rnn.hidden_size} units says the sum of all values so far. "
        f"{len(found)} slow points under the mean noise word, sums from "
        f"{float(reading.sums.min()):.1f} to {float(reading.sums.max()):.1f}; J_inp is "
        "taken there, and one word after a modifier was read there. The word is "
        "compared with the mean noise word. The least and the largest number of all "
        "points are judged. The rates of the training were chosen with this in view: "
        "at a rate of 5e-3 without a penalty the error falls to .0016, but weights "
        "grow so large that words open gates for themselves, and w J_inp good is .47 "
        "where the map itself adds 1.",
    )
    bench.claim(
        reported("mean squared error", reading.loss, paper=".003 to .006"),
        *_both("w J_inp good at h*", found.plain_slopes[:, GOOD], 0.8, 1.2, "about 1"),
        *_both(
            "w J_inp good after not",
            found.slopes[:, NOT, GOOD, 0],
            -1.2,
            -0.8,
            "about -1",
        ),
        *_both("w J_inp good after very", found.slopes[:, VERY, GOOD, 0], 1.6, 2.4, ""),
    )
    bench.claim(*_durations(found))
    bench.numbers["slopes_of_good"] = {
        "plain": found.plain_slopes[:, GOOD].tolist(),
        **{m: found.slopes[:, k, GOOD].tolist() for k, m in enumerate(MODIFIERS)},
    }
    figure, _ = plot_modifiers(found, MODIFIERS, word=GOOD, name="good")
    bench.picture(
        "effects",
        figure,
        "What good adds to the answer by the map itself, a number of words after not "
        "and very; 0 is without a modifier. Lines are medians over slow points, bands "
        "go from the least to the largest.",
    )


def _durations(found: ModifierEffects) -> list[Claim]:
    """How long modifiers change what words add, at the worst point."""
    lasting = found.gone_after(share=GONE)
    note = f"a change of less than {GONE:.0%} of the largest one counts as gone"
    return [
        at_most(
            "last word that not still changes, of all points and words",
            float(lasting[:, NOT].max()),
            4,
            paper="4",
            form=".0f",
            note=note,
        ),
        at_most(
            "last word that very still changes, of all points and words",
            float(lasting[:, VERY].max()),
            1,
            paper="1",
            form=".0f",
            note=note,
        ),
    ]


def _both(
    what: str, values: Tensor, low: float, high: float, paper: str
) -> tuple[Claim, Claim]:
    """Judge the least and the largest of the values."""
    return (
        within(f"{what}, least", float(values.min()), low, high, paper=paper),
        within(f"{what}, largest", float(values.max()), low, high, paper=paper),
    )


def _modes(bench: Bench, reading: Reading) -> None:
    found = reading.effects
    bench.section(
        "The toy language: which modes carry a modifier",
        "The deflection by a modifier is divided among the modes of J at h*; two "
        "groups of modes (a real mode or a complex pair each) are taken away, those "
        "that bring all four words nearest to what they are worth without a modifier.",
    )
    for row in (NOT, VERY):
        bench.claim(*_removal(reading, row), _direction(reading, row))
    figure, _ = plot_removals(found, MODIFIERS, word=BAD, name="bad")
    bench.picture(
        "removals",
        figure,
        "What bad adds one word after a modifier, when the parts of the deflection in "
        "one or two groups of modes are taken away; medians and ranges over points.",
    )


def _removal(reading: Reading, row: int) -> list[Claim]:
    """What "bad" adds after a modifier, without the groups that carry it."""
    found, name = reading.effects, MODIFIERS[row]
    left = found.without[:, row, BAD]
    misses = (left[:, 2] - PLAIN_BAD).abs()
    near = float((misses <= NEAR).double().mean())
    times = reading.linearization.subspaces.time_constants
    chosen = times.gather(1, found.ranking[:, row, :2])
    return [
        reported(f"{name} bad before the removal, median", float(left[:, 0].median())),
        at_most(
            f"|{name} bad - (-1)| without the two best groups, largest",
            float(misses.max()),
            NEAR,
            note=f"the worst point gives {float(left[misses.argmax(), 2]):.2f}, the "
            f"median one {float(left[:, 2].median()):.2f}; {near:.0%} of the points "
            f"are within {NEAR}",
        ),
        reported(
            f"time constants of these groups for {name}, median, in words",
            float(chosen.median()),
        ),
    ]


def _direction(reading: Reading, row: int) -> Claim:
    """The left mode nearest to a modifier's deflection."""
    near = reading.nearest[row]
    kind = "a complex pair" if near.pairs.double().mean() > 0.5 else "one real mode"
    return reported(
        f"angle of {MODIFIERS[row]}'s deflection to the nearest left mode",
        f"{float(near.angles.median()):.1f}° to {kind}",
        paper=("54.6° to a complex pair", "42.5° to one fast mode")[row],
        note=f"median over points; this mode lasts {float(near.times.median()):.1f} "
        f"words; random deflections: {reading.chance:.1f}°",
    )


def _sentence(bench: Bench, reading: Reading) -> None:
    words = SENTENCE.split()
    bench.section(
        "The toy language: modifiers of a sentence",
        f"ContextAttribution on '{SENTENCE}', where no word is told to be a modifier.",
    )
    net, reference = reading.net, neutral_input()[0]
    method = ContextAttribution(net, net.rnn, reference=reference)
    inputs = encode_words(SENTENCE).double()
    found = method.attribute_context(inputs, target=len(words) - 1)
    (flags,) = found.modifiers().tolist()
    named = [word for word, is_one in zip(words, flags, strict=True) if is_one]
    bench.claim(
        holds(
            "words that change others by a quarter of the largest effect",
            ", ".join(named),
            named == ["not", "very"],
            wanted="not, very",
        )
    )
    figure, _ = plot_context(found, words)
    bench.picture("sentence", figure, "Effect of each word on each later one.")


def _bags(bench: Bench, reading: Reading, sentences: int) -> None:
    generator = bench.generator()
    taught, fresh = (
        sample_context(count, STEPS, generator=generator)
        for count in (sentences, FRESH)
    )
    wanted = fresh.targets[:, -1].double()
    reaches = _reaches(reading)

    def fitted(terms: dict[int, int]) -> float:
        known, others = (
            count_terms(data.words, len(WORDS), terms) for data in (taught, fresh)
        )
        line = Line.through(known, taught.targets[:, -1].double())
        return line.explained(others, wanted)

    with torch.no_grad():
        answers = reading.net(fresh.inputs.double())[:, -1]
    explained = {
        "bag of words": fitted({}),
        "with terms for modifiers": fitted(reaches),
        "with measured factors": r_squared(_multiplied(reading, fresh.words), wanted),
        "GRU": r_squared(answers, wanted),
    }
    reached = ", ".join(f"{WORDS[word]} {reach}" for word, reach in reaches.items())
    bench.section(
        "The toy language: a bag of words with modifier terms",
        f"R² for the last sum of {FRESH} sentences of {STEPS} words. A linear "
        f"regression on {sentences} other sentences: on counts of words; and with "
        "counts of each word 1, 2, ... places behind a modifier, as far as it was "
        f"found to reach ({reached}). With measured factors: what words add at slow "
        "points, "
        "times the factors by which modifiers were found to change it there; nothing "
        "is fitted to sums.",
    )
    bench.claim(*(reported(f"R², {k}", v, form=".3f") for k, v in explained.items()))
    gain = explained["GRU"] - explained["bag of words"]
    for name, note in (
        (
            "with terms for modifiers",
            "one word in 18 stands behind two modifiers: the second turns it back, and "
            "terms that add turn it on",
        ),
        ("with measured factors", ""),
    ):
        share = (explained[name] - explained["bag of words"]) / gain
        what = f"share of the GRU's gain recovered, {name}"
        paper = "> 90 % (reviews)"
        bench.claim(reported(what, f"{share:.0%}", paper=paper, note=note))
    bench.numbers["toy_r_squared"] = explained


def _reaches(reading: Reading) -> dict[int, int]:
    """How many later words each modifier changes, by its number in the language."""
    lasting = reading.effects.gone_after(share=GONE).double().median(0).values
    return {
        WORDS.index(word): int(lasting[row].max()) for row, word in enumerate(MODIFIERS)
    }


def _multiplied(reading: Reading, words: Int[Tensor, "n t"]) -> Float[Tensor, " n"]:
    """Sum of what words add at slow points, times the factors of modifiers before."""
    found = reading.effects
    plain = found.plain_effects.median(0).values
    later = found.effects.median(0).values
    factors = (later * plain[:, None]).sum(1) / plain.square().sum()
    values = torch.zeros(len(WORDS)).double()
    values[[WORDS.index(word) for word in VALUES]] = plain
    added = values[words]
    for row, (word, reach) in enumerate(_reaches(reading).items()):
        seen = words == word
        for lag in range(1, reach + 1):
            added[:, lag:] *= torch.where(seen[:, :-lag], factors[row, lag - 1], 1.0)
    return added.sum(1)
