"""`captum-dynamics demo`: how the shipped review classifier decides."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from captum_dynamics.analysis import Analysis, NamedInputs, analyze
from captum_dynamics.attr import captum_method
from captum_dynamics.cli._output import check_folder, wrapped, write_all
from captum_dynamics.cli._sentences import EXAMPLES, SENTENCES
from captum_dynamics.models import SentimentModel, load_sentiment

DOCUMENTS = 64  # texts to record, besides the explained ones
SHOWN_WORDS = 3000  # most frequent words whose effect is shown

DESCRIPTION = """\
Analyse a network that was trained on real movie reviews and ships with the package:
which fixed and slow points it has, how long it remembers, which words push it which
way, and what each word of a review contributed, beside Integrated Gradients.

  captum-dynamics demo
  captum-dynamics demo --text "the film was not good"
"""


def add_demo(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="analyse a shipped network that reads movie reviews",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--text", metavar="SENTENCE", action="append", help="explain your own sentence"
    )
    parser.add_argument(
        "--cell", choices=("gru", "lstm"), default="gru", help="which network"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("captum_dynamics_demo"),
        help="folder for the report (default: %(default)s)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> str:
    """Run the chain on the shipped network and say what it found."""
    trained = load_sentiment(arguments.cell)
    own = arguments.text or []
    for text in own:
        if not trained.vocabulary.tokens(text):
            raise ValueError(
                f"Expected a sentence with at least one word, got {text!r}."
            )
    folder = check_folder(arguments.out)
    explained = [*own, *EXAMPLES][: max(len(own), len(EXAMPLES))]
    result = analyze_reviews(trained, explained, seed=arguments.seed)
    written = write_all(result, folder)
    shown = range(max(1, len(own)))
    sentences = "\n\n".join(_sentence(result, row) for row in shown)
    return f"{_unknown(trained, own)}{written}\n\n{sentences}"


def analyze_reviews(
    trained: SentimentModel, explained: list[str], *, seed: int = 0
) -> Analysis:
    """Analyse a review classifier in use on texts made of the demo's sentences."""
    texts = explained + _documents(seed)
    vocabulary = trained.vocabulary
    frequent = trained.word_counts.argsort(descending=True)[: SHOWN_WORDS + 2]
    frequent = frequent[frequent > 1]  # neither padding nor unknown
    words = NamedInputs(
        [vocabulary.words[row] for row in frequent.tolist()],
        trained.model.embedding.weight.detach()[frequent],
        trained.word_scores[frequent],
    )
    return analyze(
        trained.model,
        "rnn",
        vocabulary.encode_batch(texts),
        tokens=[vocabulary.tokens(text)[-400:] for text in texts],
        words=words,
        reference=trained.mean_embedding,
        compare=[captum_method("IntegratedGradients")],
        explained=len(explained),
        seed=seed,
        show_progress=sys.stderr.isatty(),
    )


def _documents(seed: int) -> list[str]:
    """Texts of 2 to 16 of the demo's sentences, in random order."""
    generator = torch.Generator().manual_seed(seed)
    documents = []
    for row in range(DOCUMENTS):
        order = torch.randperm(len(SENTENCES), generator=generator)
        documents.append(" ".join(SENTENCES[i] for i in order[: 2 + row % 15].tolist()))
    return documents


def _sentence(result: Analysis, row: int) -> str:
    """One explained sentence as a table, a word a line."""
    documents = result.documents
    output = float(documents.outputs[row])
    verdict = "positive" if output > 0 else "negative"
    names = [explanation.method for explanation in documents.explanations]
    lines = [
        wrapped(
            f"SENTENCE  {' '.join(documents.tokens[row])!r} reads as {verdict} (logit "
            f"{output:+.2f}; {float(documents.baseline_outputs[row]):+.2f} for as many "
            f"mean words). What each word contributed:"
        ),
        f"  {'word':16}" + "".join(f"{name:>22}" for name in names),
    ]
    for step, token in enumerate(documents.tokens[row]):
        values = (e.contributions[row, step] for e in documents.explanations)
        lines.append(f"  {token:16}" + "".join(f"{float(v):>+22.3f}" for v in values))
    return "\n".join(lines)


def _unknown(trained: SentimentModel, texts: list[str]) -> str:
    known = set(trained.vocabulary.words)
    tokens = [token for text in texts for token in trained.vocabulary.tokens(text)]
    missing = sorted({token for token in tokens if token not in known})
    if not missing:
        return ""
    return f"Read as the unknown word: {', '.join(missing)}.\n\n"
