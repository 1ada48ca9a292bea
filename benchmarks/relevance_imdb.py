"""LinearizedPropagation of the shipped classifiers, beside what else explains them.

    python benchmarks/relevance_imdb.py --data imdb_train.jsonl.gz

Correlations are over words, all reviews together and in the median review. Integrated
Gradients start from the mean embedded word, and from zero.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from attribution_imdb import correlation, integrated, timed
from torch import Tensor

from captum_dynamics.attr import (
    AbsoluteShares,
    DynamicsAttribution,
    EqualShares,
    LinearizedPropagation,
    ProportionalShares,
    SignalTakesAll,
)
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks.imdb import hold_out, read_reviews

RULES = (SignalTakesAll(), EqualShares(), AbsoluteShares(), ProportionalShares())


def main() -> None:
    """Print one line a number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru")
    parser.add_argument("--reviews", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--epsilon", type=float, default=1e-3)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "Relevance of")  # the numbers say so too
    trained = load_sentiment(given.cell)
    model, mean = trained.model, trained.mean_embedding
    held_out = [r.text for r in hold_out(read_reviews(given.data), 5000).held_out]
    ids = trained.vocabulary.encode_batch(held_out[: given.reviews])
    valid = ids > 0
    print(f"{given.cell}, {len(ids)} reviews, {int(valid.sum())} words")

    others = {}
    exact = DynamicsAttribution(model, model.rnn, reference=mean)
    others["DynamicsAttribution"], seconds = timed(
        lambda: exact.attribute(ids, target=0, internal_batch_size=50)
    )
    print(f"DynamicsAttribution: {seconds:.1f} s")
    for name, start in (("IG mean", mean), ("IG zero", torch.zeros_like(mean))):
        others[name], seconds = timed(
            lambda start=start: integrated(model, start, ids, given.steps)
        )
        print(f"{name}, {given.steps} steps: {seconds:.1f} s")
    words = trained.word_scores[ids][:, :, None]
    others["bag of words"] = words

    for rule in RULES:
        method = LinearizedPropagation(
            model, model.rnn, rule=rule, epsilon=given.epsilon
        )
        relevance, seconds = timed(
            lambda method=method: method.attribute(
                ids, target=0, internal_batch_size=50
            )
        )
        print(f"{type(rule).__name__}: {seconds:.1f} s")
        told = method.evaluate(ids, target=0)
        size = told.outputs.abs().mean()
        for name in ("totals", "biases", "stabilizer", "head", "delta", "error"):
            share = float(getattr(told, name).abs().mean() / size)
            print(f"  mean |{name}| / mean |F(x)| {share:.2e}")
        signs = (told.totals.sign() == told.outputs.sign()).double().mean()
        print(f"  totals of the output's sign {float(signs):.2f}")
        for name, values in others.items():
            print(f"  with {name}: {compared(relevance, values, valid)}")
    print(f"IG mean with DynamicsAttribution: {between(others, valid)}")


def compared(first: Tensor, second: Tensor, valid: Tensor) -> str:
    """Correlation over all words, and in the median review."""
    within = [
        correlation(first[row, None], second[row, None], valid[row, None])
        for row in range(len(valid))
    ]
    median = float(torch.tensor(within).median())
    return f"{correlation(first, second, valid):.3f} (median {median:.3f})"


def between(others: dict[str, Tensor], valid: Tensor) -> str:
    """The same for the two that relevance is compared with."""
    return compared(others["IG mean"], others["DynamicsAttribution"], valid)


if __name__ == "__main__":
    main()
