"""Attributions of a shipped classifier on held-out reviews: how good, how fast.

    python benchmarks/attribution_imdb.py --data imdb_train.jsonl.gz --cell gru

`DynamicsAttribution` as it is, `Switching(40)` fitted to other reviews, and Integrated
Gradients with 50 and with 300 steps, all from the mean embedded word.
Reviews are a user's own copy, held out by the rule of training; they are explained in
batches of like length, 50 at once, each method at its best: Integrated Gradients runs
250 rows at a time, which is no slower than more.

Deletion curves: words are replaced by the mean word, the most positive first; the
smaller the area below, the better the order. The interval is a paired bootstrap over
reviews.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from captum.attr import IntegratedGradients
from scipy.stats import bootstrap
from torch import Tensor

from captum_dynamics.attr import (
    Comparison,
    DynamicsAttribution,
    Faithfulness,
    LayerInputForward,
    Switching,
    compare,
)
from captum_dynamics.models import SentimentModel, load_sentiment
from captum_dynamics.tasks.imdb import hold_out, read_reviews

BATCH, ROWS = 50, 250
OURS, LOCAL, SHORT, LONG = "dynamics", "Switching(40)", "IG", "IG converged"


def main() -> None:
    """Print one line a number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru")
    parser.add_argument("--reviews", type=int, default=500)
    parser.add_argument("--anchors", type=int, default=40)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--converged", type=int, default=300, help="0 for none")
    given = parser.parse_args()
    trained = load_sentiment(given.cell)
    texts = [r.text for r in hold_out(read_reviews(given.data), 5000).held_out]
    encode = trained.vocabulary.encode_batch
    ids = encode(texts[: given.reviews])
    ids = ids[trained.model.lengths(ids).argsort()]
    batches = [part[:, : int((part > 0).sum(1).max())] for part in ids.split(BATCH)]
    print(f"{given.cell}, {len(ids)} reviews, {int((ids > 0).sum())} words")

    exact, local = ours(trained, encode(texts[-100:]), given.anchors)
    found = joined([exact.evaluate(part, target=0) for part in batches])
    spread = float(found.outputs.std(correction=0))
    print(f"{OURS}: R2 of F(baseline) + sum {found.attribution_r2:.8f}")
    print(f"  mean |delta| / sd(y) {float(found.delta.abs().mean()) / spread:.1e}")
    found = joined([local.evaluate(part, target=0) for part in batches])
    agree = torch.sign(found.surrogate_outputs) == torch.sign(found.outputs)
    print(f"{LOCAL}: R2 of the surrogate {found.surrogate_r2:.4f}")
    print(f"  sign agreement {float(agree.double().mean()):.3f}")
    print(f"  sd(const) / sd(y) {found.constant_share:.2f}")
    print(f"  R2 of F(baseline) + sum {found.attribution_r2:.2f}")
    print(f"  identity {found.identity_error:.1e}")
    report(compared(trained, local, batches, given.steps, given.converged))


def ours(
    trained: SentimentModel, calibration: Tensor, anchors: int
) -> tuple[DynamicsAttribution, DynamicsAttribution]:
    """The default, and local linear models fitted to other reviews."""
    model, mean = trained.model, trained.mean_embedding
    estimator = Switching(anchors=anchors)
    local = DynamicsAttribution(model, model.rnn, estimator=estimator, reference=mean)
    local.fit(calibration, target=0, internal_batch_size=BATCH)
    return DynamicsAttribution(model, model.rnn, reference=mean), local


def compared(
    trained: SentimentModel,
    local: DynamicsAttribution,
    batches: Sequence[Tensor],
    steps: int,
    converged: int,
) -> list[Comparison]:
    """All methods on embedded words, a comparison for each batch."""
    model = trained.model
    forward = LayerInputForward(model, model.rnn)
    methods = {
        OURS: DynamicsAttribution(forward, model.rnn, reference=trained.mean_embedding),
        LOCAL: DynamicsAttribution(forward, model.rnn, estimator=local.estimator),
        SHORT: IntegratedGradients(forward),
    }
    methods[LOCAL].fitted = local.fitted
    settings = {SHORT: {"n_steps": steps, "internal_batch_size": ROWS}}
    if converged:
        methods[LONG] = IntegratedGradients(forward)
        settings[LONG] = {"n_steps": converged, "internal_batch_size": ROWS}
    results = []
    for ids in batches:
        embedded = model.embedding(ids).detach()
        results.append(
            compare(
                methods,
                embedded,
                baselines=trained.mean_embedding.expand(1, *embedded.shape[1:]),
                target=0,
                additional_forward_args=(ids,),
                valid=torch.arange(ids.shape[1]) < model.lengths(ids)[:, None],
                settings=settings,
                n_perturb_samples=0,
            )
        )
    return results


def report(results: Sequence[Comparison]) -> None:
    """Print times, correlations and differences of deletion areas."""
    names = results[0].names
    count = sum(len(result.outputs) for result in results)
    seconds = {n: sum(result[n].seconds for result in results) for n in names}
    for name in names:
        times = seconds[name] / seconds[OURS]
        print(f"{name}: {seconds[name] / count:.4f} s a review, {times:.1f} x ours")
    for first, second in (
        (OURS, SHORT),
        (OURS, LONG),
        (LOCAL, SHORT),
        (LOCAL, LONG),
        (SHORT, LONG),
    ):
        if second in names:
            words, within = correlations(results, first, second)
            print(f"{first} with {second}: {words:.3f}, within a review {within:.3f}")
    outputs = torch.cat([result.outputs for result in results])
    for name in (OURS, LOCAL):
        for other in (SHORT, LONG):
            if other in names:
                gains = torch.cat(
                    [r[other].deletion_areas - r[name].deletion_areas for r in results]
                )
                gains = (gains / outputs.std()).numpy()
                ends = bootstrap((gains,), lambda x, axis: x.mean(axis), rng=0)
                low, high = ends.confidence_interval
                print(
                    f"deletion area of {other} less that of {name}, in sd(y): "
                    f"{gains.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
                )


def correlations(
    results: Sequence[Comparison], first: str, second: str
) -> tuple[float, float]:
    """Pearson's over all words, and the median within a review."""
    pairs = [
        torch.stack([result[first].by_step[row][of], result[second].by_step[row][of]])
        for result in results
        for row, of in enumerate(result.valid)
    ]
    within = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    words = torch.corrcoef(torch.cat(pairs, dim=1))[0, 1]
    return float(words), float(within.nanmedian())


def joined(parts: Sequence[Faithfulness]) -> Faithfulness:
    """What batches tell, as one."""
    return Faithfulness(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in (
                "outputs",
                "baseline_outputs",
                "totals",
                "constants",
                "surrogate_outputs",
            )
        )
    )


if __name__ == "__main__":
    main()
