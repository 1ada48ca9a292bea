"""Words and their ids: how the review classifiers read a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor, nn

PADDING_ID = 0
UNKNOWN_ID = 1
SPECIAL_WORDS = ("<padding>", "<unknown>")

_LINE_BREAK = re.compile(r"<br\s*/?>")
# Letters and digits with inner apostrophes ("don't", "n't", "film's"), or one of the
# two marks that carry sentiment. All other punctuation only separates words.
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u00b4": "'", "`": "'"})


def tokenize(text: str) -> list[str]:
    """Split text into lower-case words, contractions whole, plus `!` and `?`.

    Line breaks written as HTML (`<br />`) count as spaces; typographic apostrophes
    are read as plain ones. There is no stemming and no stop list: "not" and "n't"
    matter to a network that reads in order.

    Args:
        text: Any text.

    Returns:
        The words in order.

    Example:
        >>> tokenize("It wasn't bad!<br /><br />An 8/10.")
        ['it', "wasn't", 'bad', '!', 'an', '8', '10']
    """
    plain = _LINE_BREAK.sub(" ", text.lower().translate(_APOSTROPHES))
    return _TOKEN.findall(plain)


@dataclass(frozen=True)
class Vocabulary:
    """The words a network knows; a word's id is its place in `words`.

    Id 0 is padding and id 1 stands for every unknown word; neither can be reached by
    writing its name in a text.

    Args:
        words: All words, `SPECIAL_WORDS` first.

    Raises:
        ValueError: If the special words are missing or a word occurs twice.

    Example:
        >>> vocabulary = Vocabulary(("<padding>", "<unknown>", "good", "film"))
        >>> vocabulary.encode("A good film")
        [1, 2, 3]
        >>> vocabulary.encode_batch(["good film", "film"]).tolist()
        [[2, 3], [3, 0]]
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse word lists whose ids would be ambiguous."""
        if self.words[:2] != SPECIAL_WORDS:
            raise ValueError(
                f"Expected `words` to begin with {SPECIAL_WORDS}, got {self.words[:2]}."
            )
        if len(set(self.words)) != len(self.words):
            raise ValueError("Expected every word in `words` to occur once.")

    def __len__(self) -> int:
        """Count the words, the two special ones included."""
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Id of each word."""
        return {word: index for index, word in enumerate(self.words)}

    def tokens(self, text: str) -> list[str]:
        """Split text as the network does, one token per id of `encode`.

        Unknown words stay as written, so a plot can label every step.

        Args:
            text: Any text.

        Returns:
            The words in order; see `tokenize`.
        """
        return tokenize(text)

    def encode(self, text: str) -> list[int]:
        """Look up the id of each word.

        Args:
            text: Any text.

        Returns:
            One id per token, 1 for unknown words; empty for a text without words.
        """
        return [self.ids.get(token, UNKNOWN_ID) for token in tokenize(text)]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Look up the word of each id, padding left out.

        Args:
            ids: Ids of this vocabulary.

        Returns:
            One word per id that is not padding.
        """
        return [self.words[index] for index in ids if index != PADDING_ID]

    def encode_batch(
        self, texts: Sequence[str], max_words: int = 400
    ) -> Int[Tensor, "n t"]:
        """Encode several texts into one right-padded table.

        A review's verdict stands at its end, so of a long text the LAST words stay.

        Args:
            texts: At least one text, each with at least one word.
            max_words: Longest document kept, in words.

        Returns:
            Ids of shape (N, T), int64, T being the longest document.

        Raises:
            ValueError: If there is no text, one has no word, or `max_words` is below 1.
        """
        if max_words < 1:
            raise ValueError(f"Expected `max_words` to be at least 1, got {max_words}.")
        documents = [self.encode(text)[-max_words:] for text in texts]
        if not documents:
            raise ValueError("Expected `texts` to hold at least one text, got none.")
        for index, document in enumerate(documents):
            if not document:
                raise ValueError(f"Expected words in `texts[{index}]`, found none.")
        return pad(documents)


def pad(documents: Sequence[Sequence[int]]) -> Int[Tensor, "n t"]:
    """Stack documents of ids, padded on the right to the longest.

    Args:
        documents: At least one document of ids.

    Returns:
        Ids of shape (N, T), int64.
    """
    rows = [torch.tensor(document, dtype=torch.long) for document in documents]
    return nn.utils.rnn.pad_sequence(rows, True, float(PADDING_ID))
