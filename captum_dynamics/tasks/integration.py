"""Documents to classify by adding up (`python -m captum_dynamics.tasks.integration`).

Words have scores, a document has the sum of the scores of its words, and its label
follows from the sum (Aitken et al. 2021). Nets that learn this keep the sum
on an attractor whose shape the task decides: a simplex of N - 1 dimensions for N
categories, a line for ordered classes, a cube for independent labels.
"""

from __future__ import annotations

import argparse
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, Mask, OutputSequences
from captum_dynamics.tasks._command import run_training, training_parser
from captum_dynamics.tasks._compositions import compositions, uniform_below
from captum_dynamics.tasks.sequence_task import Sequences, SequenceTask

__all__ = [
    "CategoricalIntegration",
    "Integration",
    "LabelIntegration",
    "OrderedIntegration",
    "main",
]

SAMPLERS = ("words", "scores")
Ids = Int[Tensor, "n t"]
WordCounts = Int[Tensor, "n v"]
WordScores = Float[Tensor, "v s"]
Sums = Float[Tensor, "n s"]

_DESCRIPTION = """\
Train a recurrent network to classify documents of words with known scores: a document
has the sum of its words' scores. With N categories each word speaks for one, and the
largest sum wins; ordered classes are equal intervals of one sum; labels are the signs
of several. The last answer counts. About a minute for 64 units on one core.

The sampler "words" draws words one by one; "scores" draws the sum first, all sums being
equally likely, so that rare ones are learned too.
"""

_EPILOG = """\
example:
  python -m captum_dynamics.tasks.integration --kind categorical --classes 3 \\
      --arch ugrnn --size 64 --steps 2000 --out three.safetensors

  >>> import captum_dynamics as cd
  >>> from captum_dynamics.tasks.sequence_task import load_net
  >>> dynamics = cd.adapt(load_net("three.safetensors"), "rnn")
"""


@dataclass(frozen=True)
class Integration(SequenceTask):
    """Documents of one-hot words that are labelled by the sum of their scores.

    Attributes:
        length: words of a document at most.
        shortest: words at least, every length equally likely; `length` by default.
        sampler: "words" draws each word by itself; "scores" draws the sum first, all
            possible sums being equally likely, and then words that have it.
    """

    length: int = 50
    shortest: int | None = None
    sampler: str = "words"

    readout_bias = False

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.check_count("length", self.length)
        if self.shortest is not None:
            _checks.check_count("shortest", self.shortest)
            if self.shortest > self.length:
                raise ValueError(
                    f"Expected `shortest` to be at most `length` = {self.length}, got "
                    f"{self.shortest}."
                )
        if self.sampler not in SAMPLERS:
            raise ValueError(
                f"Expected `sampler` to be one of {', '.join(SAMPLERS)}, got "
                f"{self.sampler!r}."
            )

    @property
    @abstractmethod
    def scores(self) -> WordScores:
        """What each word adds to the sums, (v, s); the last word is neutral."""

    @abstractmethod
    def draw_counts(
        self, lengths: Counts, generator: torch.Generator | None
    ) -> WordCounts:
        """How often each word occurs, so that all sums are equally likely."""

    @abstractmethod
    def label(self, sums: Sums) -> Tensor:
        """Labels of sums (n, s)."""

    def tied(self, sums: Sums) -> Mask:
        """Sums that have no label; their documents are drawn anew."""
        return torch.zeros(len(sums), dtype=torch.bool)

    @property
    def input_size(self) -> int:
        """Number of words."""
        return len(self.scores)

    def sample(
        self, sequences: int, *, generator: torch.Generator | None = None
    ) -> Sequences:
        """Draw documents.

        Args:
            sequences: number of documents.
            generator: source of randomness.

        Returns:
            One-hot words, labels and lengths.
        """
        _checks.check_count("sequences", sequences)
        words = self._draw(sequences, generator)
        while bool((tied := self.tied(self._sums(words))).any()):
            words[tied] = self._draw(int(tied.sum()), generator)
        read = words >= 0
        one_hot = nn.functional.one_hot(words.clamp(min=0), self.input_size)
        inputs = one_hot.float() * read[:, :, None]
        return Sequences(inputs, self.label(self._sums(words)), read.sum(1))

    def _sums(self, words: Ids) -> Sums:
        """Sums of scores, where words of -1 come after the end."""
        padded = torch.cat([self.scores, torch.zeros_like(self.scores[:1])])
        return padded[words].sum(1)

    def _draw(self, count: int, generator: torch.Generator | None) -> Ids:
        """Words (n, length), and -1 after the end."""
        shortest = self.length if self.shortest is None else self.shortest
        shape = (count, self.length)
        lengths = torch.randint(
            shortest, self.length + 1, (count,), generator=generator
        )
        beyond = torch.arange(self.length) >= lengths[:, None]
        if self.sampler == "words":
            words = torch.randint(self.input_size, shape, generator=generator)
        else:
            counts = self.draw_counts(lengths, generator)
            places = torch.arange(self.length).expand(shape).contiguous()
            words = torch.searchsorted(counts.cumsum(1), places, right=True)
            keys = torch.rand(shape, generator=generator)
            words = words.gather(1, torch.where(beyond, 2.0, keys).argsort(1))
        return torch.where(beyond, -1, words)


@dataclass(frozen=True)
class CategoricalIntegration(Integration):
    """N classes: each word speaks for one of them, or for none; the largest sum wins.

    Documents in which two classes lead have no label, and are drawn anew.

    Attributes:
        classes: number of classes.

    Raises:
        ValueError: for fewer than two classes, or settings that make no documents.

    References:
        Aitken et al. (2021), The geometry of integration in text classification RNNs;
        arXiv 2010.15114. That ties are drawn anew is ours.

    Example:
        >>> task = CategoricalIntegration(classes=3, length=6)
        >>> data = task.sample(1, generator=torch.Generator().manual_seed(0))
        >>> data.inputs[0].argmax(-1).tolist(), data.targets.tolist()
        ([1, 3, 1, 2, 0, 3], [1])
    """

    classes: int = 3

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        _checks.check_count("classes", self.classes, 2)

    @property
    def output_size(self) -> int:
        """One logit a class."""
        return self.classes

    @property
    def scores(self) -> WordScores:
        """Unit vectors, and zero."""
        return torch.eye(self.classes + 1)[:, : self.classes]

    def draw_counts(
        self, lengths: Counts, generator: torch.Generator | None
    ) -> WordCounts:
        """All ways to divide a document among the words are equally likely."""
        return compositions(lengths, self.classes + 1, generator)

    def label(self, sums: Sums) -> Tensor:
        """The class of the largest sum."""
        return sums.argmax(1)

    def tied(self, sums: Sums) -> Mask:
        """Whether two classes lead."""
        best = sums.topk(2, dim=1).values
        return best[:, 0] == best[:, 1]

    def loss(self, answers: OutputSequences, data: Sequences) -> Tensor:
        """Cross-entropy of the last answer."""
        return nn.functional.cross_entropy(data.last(answers), data.targets)

    def score(self, answers: OutputSequences, data: Sequences) -> float:
        """Share of documents that are classified rightly."""
        return float((data.last(answers).argmax(1) == data.targets).double().mean())


@dataclass(frozen=True)
class OrderedIntegration(CategoricalIntegration):
    """N ordered classes, as stars of a review: equal intervals of one sum.

    Words are worth +1, -1 and 0, in this order. The classes divide [-length, length]
    into equal parts; a sum on a border belongs to the class above it. With the sampler
    "words" most sums are near zero, and so nearly all labels those of the middle.

    Attributes:
        classes: number of classes.

    Raises:
        ValueError: for fewer than two classes, or settings that make no documents.

    References:
        Aitken et al. (2021), arXiv 2010.15114.

    Example:
        >>> task = OrderedIntegration(classes=5, length=10, sampler="scores")
        >>> task.label(torch.tensor([[-10.0], [-6.0], [0.0], [5.0], [10.0]])).tolist()
        [0, 1, 2, 3, 4]
    """

    classes: int = 5

    @property
    def scores(self) -> WordScores:
        """Good, bad and neutral."""
        return torch.tensor([[1.0], [-1.0], [0.0]])

    def draw_counts(
        self, lengths: Counts, generator: torch.Generator | None
    ) -> WordCounts:
        """All sums are equally likely, and of each all numbers of neutral words."""
        sums = uniform_below(2 * lengths + 1, generator) - lengths
        pairs = uniform_below((lengths - sums.abs()) // 2 + 1, generator)
        good, bad = sums.clamp(min=0) + pairs, (-sums).clamp(min=0) + pairs
        return torch.stack([good, bad, lengths - good - bad], dim=1)

    def label(self, sums: Sums) -> Tensor:
        """The interval of [-length, length] that the sum is in."""
        places = self.classes * (sums[:, 0].long() + self.length)
        return (places // (2 * self.length)).clamp(max=self.classes - 1)

    def tied(self, sums: Sums) -> Mask:
        """No sum is without a class."""
        return torch.zeros(len(sums), dtype=torch.bool)


@dataclass(frozen=True)
class LabelIntegration(Integration):
    """Several labels, yes or no, each of which is the sign of a sum of its own.

    Words are worth +1 for one label, in the labels' order, then -1 for one label, and
    nothing. Documents with a sum of zero lack a label, and are drawn anew.

    Attributes:
        labels: number of labels.

    Raises:
        ValueError: for fewer than one label, or settings that make no documents.

    References:
        Aitken et al. (2021), arXiv 2010.15114.

    Example:
        >>> task = LabelIntegration(labels=2, length=9)
        >>> task.label(torch.tensor([[3.0, -1.0]])).tolist()
        [[1.0, 0.0]]
    """

    labels: int = 2

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        _checks.check_count("labels", self.labels)
        least = self.length if self.shortest is None else self.shortest
        if least < self.labels:
            raise ValueError(
                f"Expected documents of at least `labels` = {self.labels} words, since "
                f"every label needs one, got {least}."
            )

    @property
    def output_size(self) -> int:
        """One logit a label."""
        return self.labels

    @property
    def scores(self) -> WordScores:
        """Unit vectors, their opposites, and zero."""
        eye = torch.eye(self.labels)
        return torch.cat([eye, -eye, torch.zeros(1, self.labels)])

    def draw_counts(
        self, lengths: Counts, generator: torch.Generator | None
    ) -> WordCounts:
        """All sums are equally likely; words that cancel are drawn after them."""
        sides = (2 * lengths + 1)[:, None].expand(-1, self.labels)
        sums = torch.zeros_like(sides)
        todo = torch.ones_like(lengths, dtype=torch.bool)
        while bool(todo.any()):
            drawn = uniform_below(sides[todo], generator) - lengths[todo, None]
            sums[todo] = drawn
            todo = sums.abs().sum(1) > lengths
        pairs = uniform_below((lengths - sums.abs().sum(1)) // 2 + 1, generator)
        both = compositions(pairs, self.labels, generator)
        up, down = sums.clamp(min=0) + both, (-sums).clamp(min=0) + both
        neutral = lengths - up.sum(1) - down.sum(1)
        return torch.cat([up, down, neutral[:, None]], dim=1)

    def label(self, sums: Sums) -> Tensor:
        """Signs, as 1 and 0."""
        return (sums > 0).float()

    def tied(self, sums: Sums) -> Mask:
        """Whether a sum is zero."""
        return (sums == 0).any(1)

    def loss(self, answers: OutputSequences, data: Sequences) -> Tensor:
        """Mean cross-entropy of the labels at the last step."""
        return nn.functional.binary_cross_entropy_with_logits(
            data.last(answers), data.targets
        )

    def score(self, answers: OutputSequences, data: Sequences) -> float:
        """Share of labels that are right."""
        right = (data.last(answers) > 0) == (data.targets > 0)
        return float(right.double().mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train one net, say how well it does, write its file."""
    parser = training_parser(
        "integration", _DESCRIPTION, _EPILOG, size=64, updates=2000, learning_rate=5e-3
    )
    add = parser.add_argument
    kinds = ("categorical", "ordered", "labels")
    add("--kind", choices=kinds, default=kinds[0], help="labels (%(default)s)")
    add("--classes", type=int, default=3, help="classes, or labels (%(default)s)")
    add("--length", type=int, default=50, help="words of a document (%(default)s)")
    add("--shortest", type=int, help="words at least (all of --length)")
    add("--sampler", choices=SAMPLERS, default=SAMPLERS[0], help="(%(default)s)")
    run_training(parser, _task, argv)


def _task(options: argparse.Namespace) -> SequenceTask:
    shared = (options.length, options.shortest, options.sampler)
    if options.kind == "labels":
        return LabelIntegration(*shared, labels=options.classes)
    if options.kind == "ordered":
        return OrderedIntegration(*shared, classes=options.classes)
    return CategoricalIntegration(*shared, classes=options.classes)


if __name__ == "__main__":
    main()
