"""Attributions of the shipped classifier on held-out reviews, with their times.

    python benchmarks/attribution_imdb.py --data imdb_train.jsonl.gz

The reviews are a user's own copy; the split is the one the networks were trained with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from captum_dynamics.attr import DynamicsAttribution, LayerInputForward, Switching
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks.imdb import hold_out, read_reviews

Result = TypeVar("Result")


def main() -> None:
    """Print one line a number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru")
    parser.add_argument("--reviews", type=int, default=200)
    parser.add_argument("--anchors", type=int, default=40)
    parser.add_argument("--steps", type=int, default=32)
    given = parser.parse_args()
    torch.manual_seed(0)
    trained = load_sentiment(given.cell)
    model = trained.model
    held_out = [r.text for r in hold_out(read_reviews(given.data), 5000).held_out]
    explained = trained.vocabulary.encode_batch(held_out[: given.reviews])
    calibration = trained.vocabulary.encode_batch(held_out[-100:])
    print(f"{given.cell}, {len(explained)} reviews, {int((explained > 0).sum())} words")

    exact = DynamicsAttribution(model, model.rnn, reference=trained.mean_embedding)
    ours, seconds = timed(
        lambda: exact.attribute(explained, target=0, internal_batch_size=50)
    )
    found = exact.evaluate(explained, target=0)
    spread = float(found.outputs.std())
    print(f"PathIntegrated: {seconds:.1f} s, R2 {found.attribution_r2:.8f}")
    print(f"  mean |delta| / sd(y) {float(found.delta.abs().mean()) / spread:.2e}")

    switching = DynamicsAttribution(
        model,
        model.rnn,
        estimator=Switching(anchors=given.anchors),
        reference=trained.mean_embedding,
    )
    _, fitting = timed(lambda: switching.fit(calibration, target=0))
    linear, seconds = timed(
        lambda: switching.attribute(explained, target=0, internal_batch_size=50)
    )
    found = switching.evaluate(explained, target=0)
    print(f"Switching({given.anchors}): fit {fitting:.1f} s, attribute {seconds:.1f} s")
    print(f"  R2 of the surrogate {found.surrogate_r2:.4f}")
    print(f"  sd(const) / sd(y) {found.constant_share:.2f}")
    print(f"  identity {found.identity_error:.1e}")

    gradients, seconds = timed(
        lambda: integrated(model, trained.mean_embedding, explained, given.steps)
    )
    print(f"IntegratedGradients, {given.steps} steps: {seconds:.1f} s")
    valid = explained > 0
    print(
        f"  correlation with PathIntegrated {correlation(ours, gradients, valid):.3f}"
    )
    print(f"  correlation with Switching {correlation(linear, gradients, valid):.3f}")
    within = [
        correlation(ours[row : row + 1], gradients[row : row + 1], valid[row : row + 1])
        for row in range(len(explained))
    ]
    print(f"  median within a review {float(torch.tensor(within).median()):.3f}")
    words = trained.word_scores[explained][valid].double()
    for name, values in (("PathIntegrated", ours), ("IG", gradients)):
        total = values.sum(-1)[valid].double()
        pair = torch.corrcoef(torch.stack([total, words]))[0, 1]
        print(f"  {name} with bag-of-words coefficients {float(pair):.3f}")


def integrated(
    model: torch.nn.Module, reference: Tensor, ids: Tensor, steps: int
) -> Tensor:
    """Integrated Gradients with respect to the layer's inputs."""
    method = IntegratedGradients(LayerInputForward(model, model.rnn))
    parts = []
    for batch in ids.split(10):
        inputs = model.embedding(batch).detach().requires_grad_()
        baselines = reference.expand_as(inputs)
        parts.append(
            method.attribute(
                inputs,
                baselines,
                target=0,
                additional_forward_args=(batch,),
                n_steps=steps,
                internal_batch_size=320,
            ).detach()
        )
    return torch.cat(parts)


def correlation(first: Tensor, second: Tensor, valid: Tensor) -> float:
    """Correlation of contributions per word."""
    pair = torch.stack([first.sum(-1)[valid], second.sum(-1)[valid]]).double()
    return float(torch.corrcoef(pair)[0, 1])


def timed(run: Callable[[], Result]) -> tuple[Result, float]:
    """Return a result with the seconds it took."""
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
