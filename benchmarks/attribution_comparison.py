"""Methods of Captum's and ours on the shipped classifier, side by side.

    python benchmarks/attribution_comparison.py --data imdb_train.jsonl.gz

Prints the table of `compare`, and paired differences from `DynamicsAttribution`; with
`--picture`, draws it. The reviews are a user's own copy, held out by the rule of
training. All methods explain the logit as a function of embedded words, from the mean
embedded word.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from torch import Tensor, nn

from captum_dynamics.attr import (
    DynamicsAttribution,
    LinearizedPropagation,
    Switching,
    TelescopingAttribution,
    compare,
)
from captum_dynamics.models import SentimentModel, load_sentiment
from captum_dynamics.plots import plot_comparison
from captum_dynamics.tasks.imdb import hold_out, read_reviews

OURS = "Dynamics"


class Embedded(nn.Module):
    """The classifier as a function of embedded words: a module, as DeepLift wants."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Score embedded words (N, T, E)."""
        return self.model.forward_embedded(embedded, lengths)


def main() -> None:
    """Print the table and the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--cell", choices=("gru", "lstm"), default="gru")
    parser.add_argument("--reviews", type=int, default=16)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--picture", help="where to write a picture")
    given = parser.parse_args()
    trained = load_sentiment(given.cell)
    texts = [r.text for r in hold_out(read_reviews(given.data), 5000).held_out]
    encode = trained.vocabulary.encode_batch
    ids = encode(texts[: given.reviews])[:, : given.words]
    model = trained.model
    embedded, lengths = model.embedding(ids).detach(), model.lengths(ids)
    result = compare(
        methods(trained, encode(texts[-100:])[:, : given.words]),
        embedded,
        baselines=trained.mean_embedding.expand(1, *embedded.shape[1:]),
        target=0,
        additional_forward_args=(lengths,),
        valid=torch.arange(ids.shape[1]) < lengths[:, None],
        settings={
            "Integrated Gradients": {"n_steps": 50, "internal_batch_size": 400},
            "Feature Ablation": {"feature_mask": by_word(embedded)},
        },
        n_perturb_samples=given.samples,
    )
    print(f"{given.cell}, {len(ids)} reviews, {int(lengths.sum())} words\n")
    print(result)
    print(f"\n{OURS} against, positive where it is better [95 % interval]:")
    for name in result.names[1:]:
        deletion = result.deletion_difference(OURS, name)
        insertion = result.insertion_difference(OURS, name)
        print(f"  {name}: deletion {deletion}, insertion {insertion}")
    if given.picture:
        figure, _ = plot_comparison(result)
        figure.savefig(given.picture, dpi=110)


def methods(trained: SentimentModel, calibration: Tensor) -> dict[str, Any]:
    """Ours, and some of Captum's; what has to be fitted is, to other reviews."""
    model, mean = trained.model, trained.mean_embedding
    forward, layer = Embedded(model), model.rnn
    switching = DynamicsAttribution(
        forward, layer, estimator=Switching(anchors=40), reference=mean
    )
    embedded, lengths = model.embedding(calibration), model.lengths(calibration)
    switching.fit(embedded.detach(), 0, (lengths,))
    return {
        OURS: DynamicsAttribution(forward, layer),
        "Switching(40)": switching,
        "Telescoping": TelescopingAttribution(forward, layer),
        "Propagation": LinearizedPropagation(forward, layer, epsilon=1e-4),
        "Integrated Gradients": IntegratedGradients(forward),
        "Input x Gradient": InputXGradient(forward),
        "DeepLift": DeepLift(forward),
        "Saliency": Saliency(forward),
        "Feature Ablation": FeatureAblation(forward),
    }


def by_word(embedded: Tensor) -> Tensor:
    """The features (1, T, E) of a word as one feature."""
    words = torch.arange(embedded.shape[1])
    return words[:, None].expand(embedded.shape[1:])[None]


if __name__ == "__main__":
    main()
