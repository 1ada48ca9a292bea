"""Attributions where every token's worth is known: synthetic sentiment, soft labels.

    python benchmarks/attribution_synthetic.py --cells gru lstm tanh --seeds 3

Trains a net for each cell and seed (half a minute each), and explains fresh documents
in float64, with the mean token as the reference. One row a method, means over seeds:

- values: correlation of contributions with the tokens' values (plausibility).
- sum: R^2 of F(baseline) + sum of contributions against F(x); delta: mean distance of
  the two, in standard deviations of F(x).
- surrogate: free-run R^2 of the linear picture; const: standard deviation of its
  constant over that of F(x); identity: largest |sum + constant - picture's output|.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import Tensor

from captum_dynamics.attr import (
    Classical,
    DynamicsAttribution,
    LayerInputForward,
    PathIntegrated,
    Switching,
    TelescopingAttribution,
)
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.tasks.synthetic_sentiment import (
    evaluate_synthetic_sentiment,
    sample_synthetic_sentiment,
    token_values,
    train_synthetic_sentiment,
)

ESTIMATORS = {
    "`PathIntegrated()`": PathIntegrated(),
    "`Switching(anchors=40)`": Switching(anchors=40),
    "`Switching(anchors=1)`": Switching(anchors=1),
    "`Classical()`": Classical(),
}
HEAD = ("values", "sum", "delta", "surrogate", "const", "identity")
Row = tuple[float, ...]


def main() -> None:
    """Print a table for each cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=["gru", "lstm", "tanh"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=400)
    given = parser.parse_args()
    for cell in given.cells:
        rows: dict[str, list[Row]] = {}
        for seed in range(given.seeds):
            model = train_synthetic_sentiment(cell, seed=seed, show_progress=True)
            right, agreement = evaluate_synthetic_sentiment(model)
            print(f"{cell} {seed}: accuracy {right:.3f}, with sums {agreement:.3f}")
            for name, row in measured(model.double(), given.documents):
                rows.setdefault(name, []).append(row)
        print(f"\n| {cell} | {' | '.join(HEAD)} |\n|---|{'---|' * len(HEAD)}")
        for name, of_seeds in rows.items():
            columns = torch.tensor(of_seeds).mT
            print(f"| {name} | {' | '.join(map(cell_of, columns))} |", flush=True)


def measured(model: SentimentClassifier, documents: int) -> Iterator[tuple[str, Row]]:
    """One row a method."""
    fresh = torch.Generator().manual_seed(10**6)
    ids = sample_synthetic_sentiment(documents, generator=fresh).ids
    calibration = sample_synthetic_sentiment(documents, generator=fresh).ids
    mean = model.embedding.weight.detach()[1:].mean(0)
    for name, estimator in ESTIMATORS.items():
        ours = DynamicsAttribution(
            model, model.rnn, estimator=estimator, reference=mean
        ).fit(calibration, target=0)
        found = ours.evaluate(ids, target=0)
        row = (
            with_values(ours.attribute(ids, target=0), ids),
            found.attribution_r2,
            float(found.delta.abs().mean() / found.outputs.std(correction=0)),
            found.surrogate_r2,
            found.constant_share,
            found.identity_error,
        )
        yield name, row
    changes = model(ids)[:, 0].detach()
    others = {
        "`TelescopingAttribution`": telescoped(model, mean, ids),
        "Integrated Gradients, 64 steps": captums(
            IntegratedGradients, model, mean, ids, n_steps=64
        ),
        "Input times gradient": captums(InputXGradient, model, mean, ids),
    }
    before = model.forward_embedded(
        mean.expand(*ids.shape, -1), model.lengths(ids)
    ).detach()[:, 0]
    for name, attributions in others.items():
        missed = attributions.sum((1, 2)) - (changes - before)
        spread = changes.std(correction=0)
        r2 = 1 - float(missed.square().mean() / spread**2)
        delta = float(missed.abs().mean() / spread)
        nothing = (math.nan,) * 3
        yield name, (with_values(attributions, ids), r2, delta, *nothing)


def telescoped(model: SentimentClassifier, mean: Tensor, ids: Tensor) -> Tensor:
    """Contributions in the order of the tokens."""
    method = TelescopingAttribution(model, model.rnn, reference=mean)
    found: Tensor = method.attribute(ids, target=0)
    return found


def captums(
    kind: type[IntegratedGradients] | type[InputXGradient],
    model: SentimentClassifier,
    mean: Tensor,
    ids: Tensor,
    **settings: int,
) -> Tensor:
    """What Captum's method gives of the layer's inputs."""
    embedded = model.embedding(ids).detach().requires_grad_()
    given = {} if kind is InputXGradient else {"baselines": mean.expand_as(embedded)}
    found: Tensor = kind(LayerInputForward(model, model.rnn)).attribute(
        embedded, target=0, additional_forward_args=(ids,), **given, **settings
    )
    return found.detach()


def with_values(attributions: Tensor, ids: Tensor) -> float:
    """Correlation with what each token is worth."""
    read = ids > 0
    pair = attributions.sum(-1)[read].double(), token_values()[ids[read]].double()
    return float(torch.corrcoef(torch.stack(pair))[0, 1])


def cell_of(values: Tensor) -> str:
    """Mean over seeds, and the worst of small numbers."""
    mean = float(values.mean())
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" if abs(mean) > 1e-3 else f"{float(values.abs().max()):.0e}"


if __name__ == "__main__":
    main()
