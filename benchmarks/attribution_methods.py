"""What each attribution of the shipped classifiers costs, and what it sees: one table.

    python benchmarks/attribution_methods.py --data imdb_train.jsonl.gz --cell gru

The reviews are a user's own copy, held out by the rule of training. Columns:

- s: seconds a review, fitting and searching for points apart; MiB: memory above what
  was there before.
- delta: mean of |sum of contributions - (F(x) - F(baseline))| over reviews, in
  standard deviations of F(x).
- saturated: the same of sigmoid(F(x)), relative to its mean |change|: near 1 where an
  output that does not move any more is taken for one that nothing moves.
- later: by how much contributions of the first half of the words change, relative to
  their size, when the second half is that of another review: 0 where a word is judged
  by what was before it, and by nothing that comes after.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _measure import PeakMemory
from captum.attr import InputXGradient, IntegratedGradients
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics.attr import (
    Classical,
    DynamicsAttribution,
    EigenmodeAttribution,
    LayerInputForward,
    Switching,
    TelescopingAttribution,
)
from captum_dynamics.models import SentimentModel, load_sentiment
from captum_dynamics.tasks.imdb import hold_out, read_reviews

BATCH = 16
Explain = Callable[[Tensor, bool], Tensor]
"""Contributions (n, t) of word ids (n, t) to the logit, or to its sigmoid."""


@dataclass(frozen=True)
class Method:
    """A name for the table, and how to explain with it."""

    name: str
    gradient: bool
    explain: Explain


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru")
    parser.add_argument("--reviews", type=int, default=32)
    parser.add_argument("--words", type=int, default=200)
    given = parser.parse_args()
    trained = load_sentiment(given.cell)
    texts = [r.text for r in hold_out(read_reviews(given.data), 5000).held_out]
    encode = trained.vocabulary.encode_batch
    ids = encode(texts[: given.reviews])[:, : given.words]
    calibration = encode(texts[-100:])[:, : given.words]
    words = float((ids > 0).sum(1).double().mean())
    print(f"{given.cell}, {len(ids)} reviews of {words:.0f} words on average")
    linear = linearize_slow_points(trained, calibration)
    readout = trained.model.readout.weight.detach().double()
    state = torch.zeros(1, linear.jacobians.shape[-1]).double()
    state[:, : readout.shape[1]] = readout
    growth = linear.transient_growth(state)
    flagged = int((growth > 3).sum())
    print(
        f"modes of {len(linear)} points, condition up to {linear.condition.max():.0f}, "
        f"growth of the readout {growth.min():.2f} to {growth.max():.2f}, {flagged} "
        f"above 3, subspaces of up to {int(linear.subspaces.dimensions.max())} modes\n"
    )
    print("| method | s | MiB | gradient | delta | saturated | later |")
    print("|---|---|---|---|---|---|---|")
    for method in methods(trained, calibration, linear):
        print(row(method, trained, ids), flush=True)


def linearize_slow_points(
    trained: SentimentModel, calibration: Tensor
) -> cd.Linearization:
    """Distinct slow points under the mean word, with their modes."""
    model, mean = trained.model, trained.mean_embedding
    method = DynamicsAttribution(model, model.rnn, reference=mean)
    starts = method.record(calibration).sample_states(
        256, generator=torch.Generator().manual_seed(0)
    )
    points = cd.find_slow_points(method.dynamics, starts, mean.double())
    return method.linearize(points[points.kind != cd.Kind.UNCONVERGED].unique())


def methods(
    trained: SentimentModel, calibration: Tensor, linear: cd.Linearization
) -> list[Method]:
    """All of ours, and two of Captum's, with the mean word as the baseline."""
    model, mean = trained.model, trained.mean_embedding

    def ours(name: str, kind: Callable[..., Any], gradient: bool = True) -> Method:
        built = [
            kind(forward(trained, squashed), model.rnn, reference=mean)
            for squashed in (False, True)
        ]
        for method in built:
            if isinstance(getattr(method, "estimator", None), Switching | Classical):
                method.fit(calibration, target=0)

        def explain(ids: Tensor, squashed: bool) -> Tensor:
            found = built[squashed].attribute(ids, target=0, internal_batch_size=BATCH)
            return found.sum(-1).double()

        return Method(name, gradient, explain)

    def captums(name: str, kind: Callable[..., Any], **settings: Any) -> Method:
        built = [
            kind(LayerInputForward(forward(trained, squashed), model.rnn))
            for squashed in (False, True)
        ]

        def explain(ids: Tensor, squashed: bool) -> Tensor:
            given = {"baselines": mean.expand(1, ids.shape[1], -1), **settings}
            if kind is InputXGradient:
                given = {}
            found = [
                built[squashed].attribute(
                    model.embedding(part).detach().requires_grad_(),
                    target=0,
                    additional_forward_args=(part,),
                    **given,
                )
                for part in ids.split(BATCH)
            ]
            return torch.cat(found).detach().sum(-1).double()

        return Method(name, True, explain)

    def modes(name: str, linear: cd.Linearization) -> Method:
        built = [
            EigenmodeAttribution(
                forward(trained, squashed), model.rnn, linear, reference=mean
            )
            for squashed in (False, True)
        ]

        def explain(ids: Tensor, squashed: bool) -> Tensor:
            parts = ids.split(BATCH)
            found = [built[squashed].attribute_modes(part, target=0) for part in parts]
            return torch.cat([part.tokens for part in found])

        return Method(name, True, explain)

    return [
        ours("`DynamicsAttribution`", DynamicsAttribution),
        ours(
            "... `Switching(anchors=40)`",
            functools.partial(DynamicsAttribution, estimator=Switching(anchors=40)),
        ),
        ours(
            "... `Classical()`",
            functools.partial(DynamicsAttribution, estimator=Classical()),
        ),
        modes("`EigenmodeAttribution`, all modes", linear),
        ours("`TelescopingAttribution`", TelescopingAttribution, gradient=False),
        captums(
            "Integrated Gradients, 50 steps",
            IntegratedGradients,
            n_steps=50,
            internal_batch_size=25 * BATCH,
        ),
        captums("Input times gradient", InputXGradient),
    ]


def forward(trained: SentimentModel, squashed: bool) -> Callable[[Tensor], Tensor]:
    """The model, or the sigmoid of its logit."""
    if not squashed:
        return trained.model
    return lambda ids: torch.sigmoid(trained.model(ids))


def row(method: Method, trained: SentimentModel, ids: Tensor) -> str:
    """Measure one method."""
    method.explain(ids[:2], False)
    with PeakMemory() as memory:
        began = time.perf_counter()
        found = method.explain(ids, False)
        seconds = time.perf_counter() - began
    outputs, changes = told(trained, ids, False)
    delta = (found.sum(1) - changes).abs().mean() / outputs.std()
    _, flat = told(trained, ids, True)
    missing = (method.explain(ids, True).sum(1) - flat).abs().mean() / flat.abs().mean()
    full = ids[(ids > 0).all(1)]
    half = ids.shape[1] // 2
    other = torch.cat([full[:, :half], full.roll(1, 0)[:, half:]], dim=1)
    early = method.explain(full, False)[:, :half]
    moved = method.explain(other, False)[:, :half] - early
    later = moved.abs().sum() / early.abs().sum()
    return (
        f"| {method.name} | {seconds / len(ids):.2f} | {memory.mebibytes:.0f} | "
        f"{'yes' if method.gradient else 'no'} | {delta:.0e} | {missing:.0e} | "
        f"{later:.2f} |"
    )


@torch.no_grad()
def told(trained: SentimentModel, ids: Tensor, squashed: bool) -> tuple[Tensor, Tensor]:
    """F(x), and F(x) - F(baseline), by the model itself."""
    model = trained.model
    read = model.embedding(ids)
    mean = trained.mean_embedding.expand_as(read)
    lengths = model.lengths(ids)
    both = [model.forward_embedded(x, lengths)[:, 0].double() for x in (read, mean)]
    outputs, before = (torch.sigmoid(y) if squashed else y for y in both)
    return outputs, outputs - before


if __name__ == "__main__":
    main()
