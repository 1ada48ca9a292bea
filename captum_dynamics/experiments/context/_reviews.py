"""Film reviews: the modifiers of the shipped GRU, and what they are worth to a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captum_dynamics.adapters import adapt
from captum_dynamics.analysis._measure import task_step
from captum_dynamics.attr import ModifierEffects, measure_modifiers
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.experiments._bag_of_words import right_answers
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import reported
from captum_dynamics.experiments._film_reviews import find_reviews
from captum_dynamics.experiments.context._baseline import (
    recovered_share,
)
from captum_dynamics.linearization import Linearization
from captum_dynamics.models import SentimentModel, load_sentiment
from captum_dynamics.models.vocabulary import SPECIAL_WORDS
from captum_dynamics.plots import plot_modifiers
from captum_dynamics.recording import record
from captum_dynamics.tasks._documents import Documents, logits
from captum_dynamics.tasks.imdb import (
    encode_reviews,
    hold_out,
)
from captum_dynamics.topology import trace_slow_manifold

HELD_OUT = 5000  # the reviews that the shipped net has not seen
PROBES = [
    "good",
    "great",
    "excellent",
    "wonderful",
    "bad",
    "boring",
    "awful",
    "terrible",
]
SHOWN = ("not", "very")
STEPS = 12  # words followed after a modifier
GONE = 0.2  # of the largest fading change: below it a modifier has ended
TEXTS = 100  # reviews read to find slow points
_TEXT = (
    "Logistic regression on which words occur in {} training reviews, judged on {} "
    "held out. Terms of a modifier are which words occur within its reach behind it, "
    "each with a coefficient of its own. The control takes, instead of each word of "
    "the first list, the one nearest in frequency among those whose change fades least."
)


@dataclass(frozen=True)
class Effort:
    """How much is looked at.

    Attributes:
        least_count: how often a word must occur to be tried as a modifier.
        points: slow points at which words are tried.
        named: words taken as modifiers, those that change others most.
        reviews: training reviews of the bags of words; all by default.
    """

    least_count: int = 1500
    points: int = 8
    named: int = 20
    reviews: int | None = None


@dataclass(frozen=True, eq=False)
class Tried:
    """Words that were tried as modifiers of a review classifier.

    Changes are those of the effects of the probe words, as a share of these: a norm
    over probes, its mean over points.

    Attributes:
        words: the words.
        changes: (v,) one word later.
        fading: (v,) the part of it that is gone when all words were followed. What
            stays is no context: the word has moved the state to where others count
            less or more.
        factors: (v,) the factor that fits best the effects one word later.
        reaches: (v,) median number of words for which the fading part lasts.
    """

    words: tuple[str, ...]
    changes: Float[Tensor, " v"]
    fading: Float[Tensor, " v"]
    factors: Float[Tensor, " v"]
    reaches: Float[Tensor, " v"]


def strongest(strengths: Float[Tensor, " v"], count: int) -> list[int]:
    """Rows of the largest, in order."""
    order: list[int] = strengths.argsort(descending=True)[:count].tolist()
    return order


def reviews_sections(bench: Bench, effort: Effort) -> None:
    """Add the sections on film reviews, or say that they were left out."""
    title = "Film reviews: a bag of words with the modifiers of the shipped GRU"
    try:
        reviews = find_reviews(bench)
    except (ImportError, ConnectionError) as error:
        bench.section(title, f"Left out: {error}")
        return
    trained = load_sentiment("gru")
    split = hold_out(reviews, HELD_OUT)
    bench.say("film reviews: looking for modifiers")
    texts = [review.text for review in split.training[:TEXTS]]
    dynamics, slow = _slow_points(bench, trained, texts, effort)
    tried = _try_words(dynamics, slow, trained, effort)
    _report(bench, dynamics, slow, trained, tried, effort)
    bench.say("film reviews: bags of words")
    data = [
        encode_reviews(trained.vocabulary, part)
        for part in (split.training[: effort.reviews], split.held_out)
    ]
    bench.section(title, _TEXT.format(len(data[0].ids), HELD_OUT))
    _compare(bench, trained, tried, data[0], data[1], effort)


def _slow_points(
    bench: Bench, trained: SentimentModel, texts: list[str], effort: Effort
) -> tuple[DynamicsMap, Linearization]:
    """Slow points of the mean word, far from each other."""
    ids = trained.vocabulary.encode_batch(texts)
    runs = record(trained.model, "rnn", ids, lengths=trained.model.lengths(ids))
    dynamics = adapt(trained.model, "rnn")
    slow = trace_slow_manifold(
        dynamics,
        runs.sample_states(200, generator=bench.generator()),
        trained.mean_embedding.double()[None],
        task_step=task_step(runs),
        kept=effort.points,
        run_length=float(runs.lengths.double().mean()),
    )
    return dynamics, slow.linearization


def _read(
    dynamics: DynamicsMap,
    slow: Linearization,
    trained: SentimentModel,
    words: Sequence[str],
) -> ModifierEffects:
    """Effects of words on the probe words."""
    embeddings = trained.model.embedding.weight.detach().double()
    rows, probes = (
        embeddings[[trained.vocabulary.ids[word] for word in chosen]]
        for chosen in (words, PROBES)
    )
    readout = trained.model.readout.weight.detach()[0].double()
    return measure_modifiers(
        dynamics, slow, readout, rows, probes, steps=STEPS, removals=1
    )


def _try_words(
    dynamics: DynamicsMap,
    slow: Linearization,
    trained: SentimentModel,
    effort: Effort,
) -> Tried:
    """Try all frequent words as modifiers."""
    counted = zip(trained.vocabulary.words, trained.word_counts.tolist(), strict=True)
    words = tuple(
        word
        for word, count in counted
        if (count >= effort.least_count and word not in SPECIAL_WORDS) or word in SHOWN
    )
    found = _read(dynamics, slow, trained, words)
    plain = found.plain_slopes[:, None]
    size = plain.norm(dim=2)
    first, last = found.slopes[..., 0], found.slopes[..., -1]
    passing = (found.slopes - found.slopes[..., -1:]).norm(dim=2)
    lags = torch.arange(1, STEPS + 1)
    lasting = (passing >= GONE * passing.amax(2, keepdim=True)) * lags
    return Tried(
        words,
        ((first - plain).norm(dim=2) / size).mean(0),
        ((first - last).norm(dim=2) / size).mean(0),
        ((first * plain).sum(2) / size**2).mean(0),
        lasting.amax(2).double().median(0).values,
    )


def _report(
    bench: Bench,
    dynamics: DynamicsMap,
    slow: Linearization,
    trained: SentimentModel,
    tried: Tried,
    effort: Effort,
) -> None:
    """Say which words change others most, and draw two of them."""
    bench.section(
        "Film reviews: modifiers of the shipped GRU",
        f"Words that occur {effort.least_count} times or more, {len(tried.words)} in "
        f"all, are read at {len(slow)} slow points of the mean word; by how much does "
        f"that change what {', '.join(PROBES)} add (readout times J_inp times the "
        f"word) one word later? And how much of the change is gone {STEPS} words "
        "later? What stays is no context: words with a value of their own move the "
        "state along the line, to where others count less or more.",
    )
    _rank(bench, tried, effort.named)
    figure, _ = plot_modifiers(
        _read(dynamics, slow, trained, SHOWN), SHOWN, word=0, name=PROBES[0]
    )
    bench.picture(
        "reviews",
        figure,
        f"What {PROBES[0]} adds to the logit of the shipped GRU, a number of mean "
        f"words after {' and '.join(SHOWN)}; medians and ranges over slow points.",
    )


def _rank(bench: Bench, tried: Tried, named: int) -> None:
    """Name the strongest words, and say where the two of the paper stand."""
    for kind, strengths in (("change", tried.changes), ("fading change", tried.fading)):
        rows = strongest(strengths, named)
        texts = (f"{tried.words[r]} {float(tried.factors[r]):.2f}" for r in rows)
        bench.claim(
            reported(f"words of the largest {kind}, with the factor", ", ".join(texts))
        )
    order = strongest(tried.fading, len(tried.words))
    for word in SHOWN:
        row = tried.words.index(word)
        bench.claim(
            reported(
                f"{word}: rank by fading change, factor, words that it changes",
                f"{1 + order.index(row)} of {len(order)}, "
                f"{float(tried.factors[row]):.2f}, {float(tried.reaches[row]):.0f}",
            )
        )
    bench.numbers["review_modifiers"] = {
        tried.words[row]: {
            "change": float(tried.changes[row]),
            "fading": float(tried.fading[row]),
            "factor": float(tried.factors[row]),
            "reach": float(tried.reaches[row]),
        }
        for row in order[: 2 * named]
    }


def _compare(
    bench: Bench,
    trained: SentimentModel,
    tried: Tried,
    training: Documents,
    held_out: Documents,
    effort: Effort,
) -> None:
    """Fit the bags, and see how much of the GRU's gain each has."""
    size = len(trained.vocabulary)
    named = strongest(tried.fading, effort.named)
    sets: dict[str, list[int]] = {
        "bag of words": [],
        "with terms for words of the largest fading change": named,
        "with terms for words of the largest change": strongest(
            tried.changes, effort.named
        ),
        "with terms for weak words as frequent": _weak_twins(trained, tried, named),
    }
    right = {"GRU": (logits(trained.model, held_out) > 0) == (held_out.labels == 1)}
    for name, rows in sets.items():
        terms = {
            trained.vocabulary.ids[tried.words[row]]: round(float(tried.reaches[row]))
            for row in rows
        }
        right[name], penalty = right_answers(training, held_out, size, terms)
        accuracy = float(right[name].double().mean())
        note = f"inverse penalty {penalty}, chosen on a fifth of the training reviews"
        bench.claim(reported(f"accuracy, {name}", accuracy, form=".4f", note=note))
    accuracy = float(right["GRU"].double().mean())
    bench.claim(
        reported("accuracy, the shipped GRU", accuracy, form=".4f", paper=".8686")
    )
    plain = right["bag of words"]
    if accuracy <= float(plain.double().mean()):
        bench.claim(reported("gain of the GRU over the bag of words", "none"))
        return
    for name in list(sets)[1:]:
        share = recovered_share(
            plain, right[name], right["GRU"], generator=bench.generator()
        )
        bench.claim(
            reported(
                f"share of the GRU's gain recovered, {name}",
                str(share),
                paper="> 90 %" if name.endswith("fading change") else "",
                note="95 % interval over held-out reviews drawn anew",
            )
        )


def _weak_twins(trained: SentimentModel, tried: Tried, rows: list[int]) -> list[int]:
    """For each word, the one nearest in frequency among the weaker half of all."""
    counts = trained.word_counts[[trained.vocabulary.ids[w] for w in tried.words]]
    weak = tried.fading <= tried.fading.median()
    twins: list[int] = []
    for row in rows:
        gaps = (counts.log() - counts[row].log()).abs()
        free = weak.clone()
        free[twins] = False
        twins.append(int(torch.where(free, gaps, torch.inf).argmin()))
    return twins
