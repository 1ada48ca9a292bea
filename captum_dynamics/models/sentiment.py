"""The shipped review classifiers: the network, and trained weights for it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from captum_dynamics._checks import check_lengths
from captum_dynamics._typing import Counts, InputSequences
from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.models.sequence_net import build_layer
from captum_dynamics.models.vocabulary import PADDING_ID, Vocabulary

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

CELLS = ("gru", "lstm", "tanh", "ugrnn", "linear")
SHIPPED = ("gru", "lstm")


class SentimentClassifier(nn.Module):
    """Read a document word by word, then say how positive it is.

    Embedding, dropout on the embedded words, one recurrent layer, and a linear readout
    of the state at the last word. The layers are ordinary modules and run over
    plain (not packed) tensors, so hooks see what the network sees; states after the
    last word are computed and never read.

    Attributes:
        embedding: `nn.Embedding`; row 0, the padding, is zero.
        dropout: `nn.Dropout` on the embedded words.
        rnn: `nn.GRU`, `nn.LSTM`, `nn.RNN`, `UGRNN` or `LinearRNN`, batch first, one
            layer.
        readout: `nn.Linear(hidden_size, 1)`.

    Args:
        vocabulary_size: Number of words, the two special ones included.
        cell: "gru", "lstm", "tanh", "ugrnn" or "linear".
        embedding_dim: Width of an embedded word.
        hidden_size: Units of the recurrent layer.
        dropout: Share of embedded features dropped in training.

    Raises:
        ValueError: If `cell` is unknown.

    Example:
        >>> model = SentimentClassifier(50, cell="lstm", embedding_dim=4, hidden_size=3)
        >>> model(torch.tensor([[7, 8, 9], [7, 8, 0]])).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str = "gru",
        embedding_dim: int = 128,
        hidden_size: int = 128,
        dropout: float = 0.5,
    ) -> None:
        """Build the layers with PyTorch's default initial weights."""
        super().__init__()
        _check_cell(cell)
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim, PADDING_ID)
        self.dropout = nn.Dropout(dropout)
        self.rnn = build_layer(cell, embedding_dim, hidden_size)
        self.readout = nn.Linear(hidden_size, 1)

    def forward(self, ids: Tensor) -> Float[Tensor, "n 1"]:
        """Score documents given as word ids.

        Args:
            ids: Shape (N, T), padded on the right by 0.

        Returns:
            Logits of shape (N, 1), positive for a positive review; Captum's
            `target=0` selects them.

        Raises:
            ValueError: If a document is empty or an id is outside the vocabulary.
        """
        lengths = self.lengths(ids)
        return self.forward_embedded(self.embedding(ids), lengths)

    def lengths(self, ids: Tensor) -> Counts:
        """Find the length of each document: the place of its last word.

        An id 0 *between* words is not an end: it is read as a word with embedding
        zero, which is what an attribution that deletes words wants.

        Args:
            ids: Shape (N, T), padded on the right by 0.

        Returns:
            Lengths of shape (N,), each at least 1.

        Raises:
            ValueError: If a document is empty or an id is outside the vocabulary.
        """
        if ids.ndim != 2:
            raise ValueError(
                f"Expected `ids` to have shape (N, T), got {tuple(ids.shape)}."
            )
        size = self.embedding.num_embeddings
        if bool(((ids < 0) | (ids >= size)).any()):
            raise ValueError(
                f"Expected `ids` from 0 to {size - 1}, got {int(ids.min())} to "
                f"{int(ids.max())}."
            )
        empty = (ids == PADDING_ID).all(1)
        if bool(empty.any()):
            raise ValueError(
                f"Expected at least one word in every row of `ids`, got only padding "
                f"in row {int(empty.nonzero()[0])}."
            )
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        return (places * (ids != PADDING_ID)).amax(1)

    def forward_embedded(
        self, embedded: InputSequences, lengths: Counts
    ) -> Float[Tensor, "n 1"]:
        """Score documents given as embedded words, the entry for gradients.

        Args:
            embedded: Shape (N, T, E), what `embedding` returns.
            lengths: Shape (N,), what `lengths` returns.

        Returns:
            Logits of shape (N, 1).

        Raises:
            ValueError: If `lengths` are not N numbers between 1 and T.
        """
        check_lengths("lengths", lengths, embedded.shape[0], embedded.shape[1])
        states, _ = self.rnn(self.dropout(embedded))
        rows = torch.arange(len(lengths), device=states.device)
        logits: Tensor = self.readout(states[rows, lengths - 1])
        return logits


@dataclass(frozen=True, eq=False)
class SentimentModel:
    """A trained classifier with all that its analysis needs.

    Attributes:
        model: The network in evaluation mode; parameters require gradients.
        vocabulary: The words it knows.
        word_scores: Shape (V,): coefficient of each word in a bag-of-words logistic
            regression on the same reviews, positive for praise, 0 for the special
            words. An outside reference for what a word is worth.
        word_counts: Shape (V,): how often the network read each word in training.
        card: Data, split, accuracies, seed and command, as plain JSON values.
    """

    model: SentimentClassifier
    vocabulary: Vocabulary
    word_scores: Float[Tensor, " v"]
    word_counts: Int[Tensor, " v"]
    card: dict[str, Any]

    @cached_property
    def mean_embedding(self) -> Float[Tensor, " e"]:
        """Mean embedded word over the training text, shape (E,).

        The network's average input, and so the input at which to look for its fixed
        points: a zero input is a word it never saw.
        """
        weights = self.word_counts.double() / self.word_counts.sum()
        vectors = self.model.embedding.weight.detach()
        return (weights @ vectors.double()).to(vectors.dtype)


def load_sentiment(
    cell: str = "gru", *, directory: str | os.PathLike[str] | None = None
) -> SentimentModel:
    """Load a review classifier trained on IMDB.

    The weights are stored in float16 and returned in float32; the accuracies in the
    card were measured with these very weights.

    Args:
        cell: "gru" or "lstm"; with a `directory` of your own also "tanh" or "ugrnn".
        directory: Where to read; by default the weights shipped with the package.
            `python -m captum_dynamics.tasks.imdb --out DIR` writes such a directory.

    Returns:
        Network, vocabulary, word scores and model card.

    Raises:
        ValueError: If `cell` is unknown.
        FileNotFoundError: If `directory` lacks one of the files.
        FileFormatError: If a file is damaged, or of another network than the rest.

    Example:
        >>> trained = load_sentiment("gru")
        >>> ids = trained.vocabulary.encode_batch(["A wonderful, moving film."])
        >>> bool(trained.model(ids) > 0)
        True
    """
    _check_cell(cell)
    if directory is None and cell not in SHIPPED:
        raise ValueError(
            f"Expected `cell` to be one of {list(SHIPPED)}, whose weights are shipped, "
            f"got {cell!r}; train it and give its `directory`."
        )
    folder: Traversable
    if directory is None:
        folder = resources.files("captum_dynamics.models") / "weights"
    else:
        folder = Path(directory)
    stored = (folder / f"imdb_{cell}.safetensors").read_bytes()
    try:
        table = json.loads((folder / "imdb_vocabulary.json").read_text("utf-8"))
        card = json.loads((folder / f"imdb_{cell}.json").read_text("utf-8"))
        return SentimentModel(
            model=_restore(cell, stored, len(table["words"])),
            vocabulary=Vocabulary(tuple(table["words"])),
            word_scores=torch.tensor(table["scores"], dtype=torch.float32),
            word_counts=torch.tensor(table["counts"], dtype=torch.long),
            card=card,
        )
    except (KeyError, RuntimeError, SafetensorError, ValueError) as error:
        raise FileFormatError(
            f"Expected the files of one trained {cell} in {folder}, got a damaged or "
            f"foreign one: {error}"
        ) from error


def _restore(cell: str, stored: bytes, vocabulary_size: int) -> SentimentClassifier:
    """Build a classifier of the weights' sizes around them."""
    weights = load(stored)
    # A new module draws initial weights; the caller's random state must not notice.
    with torch.random.fork_rng(devices=[]):
        model = SentimentClassifier(
            vocabulary_size,
            cell=cell,
            embedding_dim=weights["embedding.weight"].shape[1],
            hidden_size=weights["readout.weight"].shape[1],
        )
    # Copies into the module's own float32 parameters.
    model.load_state_dict(weights)
    return model.eval()


def _check_cell(cell: str) -> None:
    if cell not in CELLS:
        raise ValueError(f"Expected `cell` to be one of {sorted(CELLS)}, got {cell!r}.")
