"""The shipped review classifiers: reading, scoring, loading."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_dynamics.exceptions import FileFormatError
from captum_dynamics.models import (
    SentimentClassifier,
    SentimentModel,
    Vocabulary,
    load_sentiment,
)
from captum_dynamics.models.vocabulary import SPECIAL_WORDS, tokenize

WORDS = ("a", "bad", "don't", "film", "good", "!")
WEIGHTS = Path(str(resources.files("captum_dynamics.models"))) / "weights"
CELLS = ("gru", "lstm")


@pytest.fixture(scope="module", params=CELLS)
def trained(request: pytest.FixtureRequest) -> SentimentModel:
    """Each shipped network, read once: the tests only look at it."""
    return load_sentiment(request.param)


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Six words."""
    return Vocabulary((*SPECIAL_WORDS, *WORDS))


@pytest.fixture(params=CELLS)
def small(request: pytest.FixtureRequest) -> SentimentClassifier:
    """An untrained network over ten words, without dropout."""
    sizes = {"embedding_dim": 4, "hidden_size": 3}
    return SentimentClassifier(10, cell=request.param, **sizes).eval()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good<br /><br />FILM", ["good", "film"]),
        ("Don't, isn\u2019t; n't", ["don't", "isn't", "n't"]),
        ("'quoted' rock 'n' roll", ["quoted", "rock", "n", "roll"]),
        ("Really?! 8/10.", ["really", "?", "!", "8", "10"]),
        ("caf\u00e9 _so_ well-made", ["caf\u00e9", "so", "well", "made"]),
        ("... --- ***", []),
    ],
)
def test_a_text_is_split_into_plain_words(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(st.lists(st.sampled_from(WORDS)))
def test_known_words_survive_the_way_to_ids_and_back(words: list[str]) -> None:
    vocabulary = Vocabulary((*SPECIAL_WORDS, *WORDS))
    assert vocabulary.decode(vocabulary.encode(" ".join(words))) == words


@given(st.text())
def test_every_text_has_one_id_per_token_and_none_is_padding(text: str) -> None:
    vocabulary = Vocabulary((*SPECIAL_WORDS, *WORDS))
    ids = vocabulary.encode(text)
    assert len(ids) == len(vocabulary.tokens(text))
    assert all(1 <= index < len(vocabulary) for index in ids)


def test_unknown_words_share_id_one_and_stay_readable(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode("good zyx <padding>") == [6, 1, 1]
    assert vocabulary.tokens("Good ZYX") == ["good", "zyx"]


def test_a_batch_is_padded_on_the_right_and_keeps_the_last_words(
    vocabulary: Vocabulary,
) -> None:
    batch = vocabulary.encode_batch(["a bad film", "good"], max_words=2)
    assert batch.dtype == torch.int64
    assert batch.tolist() == [[3, 5], [6, 0]]


def test_a_batch_refuses_what_cannot_be_read(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match=r"`texts\[1\]`"):
        vocabulary.encode_batch(["good", "..."])
    with pytest.raises(ValueError, match="`texts`"):
        vocabulary.encode_batch([])
    with pytest.raises(ValueError, match="`max_words`"):
        vocabulary.encode_batch(["good"], max_words=0)


@pytest.mark.parametrize("words", [("a", "b", "c"), (*SPECIAL_WORDS, "a", "a")])
def test_an_ambiguous_word_list_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="`words`"):
        Vocabulary(words)


def test_the_logit_is_the_readout_of_the_layers_own_last_state(
    small: SentimentClassifier,
) -> None:
    ids = torch.tensor([[3, 1, 4, 5]])
    _, last = small.rnn(small.embedding(ids))
    state = last if isinstance(small.rnn, nn.GRU) else last[0]
    assert torch.equal(small(ids), small.readout(state[0]))


def test_padding_changes_no_logit(trained: SentimentModel) -> None:
    ids = torch.randint(1, 16000, (5, 12), generator=torch.Generator().manual_seed(0))
    alone = torch.cat([trained.model(row[None, : 4 + i]) for i, row in enumerate(ids)])
    for row, padded in enumerate(ids):
        padded[4 + row :] = 0
    together = trained.model(nn.functional.pad(ids, (0, 30)))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_a_deleted_word_is_a_zero_input_and_not_an_end(
    small: SentimentClassifier,
) -> None:
    ids = torch.tensor([[3, 0, 4, 0]])
    embedded = small.embedding(torch.tensor([[3, 9, 4]]))
    embedded[:, 1] = 0.0
    expected = small.forward_embedded(embedded, torch.tensor([3]))
    assert small.lengths(ids).tolist() == [3]
    assert torch.equal(small(ids), expected)


def test_only_words_up_to_the_last_have_a_gradient(small: SentimentClassifier) -> None:
    embedded = small.embedding(torch.tensor([[3, 4, 5, 6]])).detach().requires_grad_()
    small.forward_embedded(embedded, torch.tensor([2])).sum().backward()
    assert embedded.grad is not None
    assert (embedded.grad.abs().sum(-1)[0] > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[3, 4], [0, 0]], "row 1"),
        ([[3, 10]], "`ids` from 0 to 9"),
        ([[3, -1]], "`ids` from 0 to 9"),
        ([3, 4], r"`ids` to have shape \(N, T\)"),
    ],
)
def test_documents_that_cannot_be_read_are_refused(
    small: SentimentClassifier, ids: list[list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(torch.tensor(ids))


@pytest.mark.parametrize("length", [0, 3])
def test_a_length_outside_the_document_is_refused(
    small: SentimentClassifier, length: int
) -> None:
    with pytest.raises(ValueError, match="`lengths`"):
        small.forward_embedded(torch.zeros(1, 2, 4), torch.tensor([length]))


def test_an_unknown_cell_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`cell`.*'gru'.*'lstm'.*'rnn'"):
        load_sentiment("rnn")
    with pytest.raises(ValueError, match="`cell`"):
        SentimentClassifier(10, cell="rnn")


def test_a_loaded_network_is_ordinary_and_ready(trained: SentimentModel) -> None:
    layer = {"gru": nn.GRU, "lstm": nn.LSTM}[trained.card["cell"]]
    assert type(trained.model.rnn) is layer
    assert not any(module.training for module in trained.model.modules())
    parameters = list(trained.model.parameters())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in parameters)
    assert trained.model.rnn.hidden_size == trained.model.embedding.embedding_dim == 128
    assert not trained.model.embedding.weight[0].any()


def test_loading_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    load_sentiment("gru")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("praise", "blame"),
    [
        ("a wonderful , moving film", "a dull , awful mess"),
        ("I loved every minute of it, superb!", "The worst two hours of my life."),
        (
            "It starts slowly, but the ending is brilliant and the cast is excellent.",
            "It starts well, but the ending is ridiculous and the cast is terrible.",
        ),
    ],
)
def test_obvious_sentences_get_the_right_sign(
    trained: SentimentModel, praise: str, blame: str
) -> None:
    logits = trained.model(trained.vocabulary.encode_batch([praise, blame]))
    assert logits.shape == (2, 1)
    assert logits[0] > 0 > logits[1]


def test_word_scores_know_praise_from_blame(trained: SentimentModel) -> None:
    ids = trained.vocabulary.ids
    scores = trained.word_scores
    assert scores.shape == trained.word_counts.shape == (len(trained.vocabulary),)
    assert min(scores[ids[w]] for w in ("excellent", "wonderful", "superb")) > 0.3
    assert max(scores[ids[w]] for w in ("worst", "awful", "waste")) < -0.3
    assert abs(scores[ids["the"]]) < 0.1
    assert scores[:2].tolist() == [0.0, 0.0]


def test_words_are_ranked_by_how_often_they_were_read(trained: SentimentModel) -> None:
    counts = trained.word_counts
    assert counts[0] == 0
    assert counts[1] > 0
    assert (counts[2:].diff() <= 0).all()
    assert trained.vocabulary.words[2] == "the"


def test_mean_embedding_is_the_mean_over_the_text(trained: SentimentModel) -> None:
    rows = torch.arange(len(trained.vocabulary)).repeat_interleave(
        # Thinned out, for the whole text has four million words.
        (trained.word_counts / 100).round().long()
    )
    mean = trained.model.embedding(rows).mean(0)
    assert not trained.mean_embedding.requires_grad
    torch.testing.assert_close(trained.mean_embedding, mean, rtol=0.05, atol=5e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_are_small_and_hold_half_precision(cell: str) -> None:
    from safetensors.torch import load_file

    file = WEIGHTS / f"imdb_{cell}.safetensors"
    assert file.stat().st_size < 6e6
    assert {value.dtype for value in load_file(file).values()} == {torch.float16}


def test_the_card_says_where_the_network_comes_from(trained: SentimentModel) -> None:
    card = trained.card
    bound = {"gru": 0.88, "lstm": 0.875}[card["cell"]]
    assert card["held_out_accuracy"] >= bound
    assert card["held_out_accuracy"] > card["bag_of_words_held_out_accuracy"]
    assert card["split"].startswith("20000 for training, 5000 held out")
    assert f"--cell {card['cell']}" in card["command"]
    assert f"--seed {card['seed']}" in card["command"]
    assert "imdb" in card["data"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"imdb_gru\.safetensors"):
        load_sentiment("gru", directory=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "other words", "other cell"])
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, damage: str
) -> None:
    for file in WEIGHTS.glob("imdb_*"):
        shutil.copyfile(file, tmp_path / file.name)
    weights = tmp_path / "imdb_gru.safetensors"
    words = tmp_path / "imdb_vocabulary.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other words":
        table = json.loads(words.read_text("utf-8"))
        words.write_text(json.dumps({**table, "words": table["words"][:-1]}))
    else:
        shutil.copyfile(tmp_path / "imdb_lstm.safetensors", weights)
    with pytest.raises(FileFormatError, match="one trained gru"):
        load_sentiment("gru", directory=tmp_path)


def test_importing_the_models_stays_light() -> None:
    listing = subprocess.run(
        [
            sys.executable,
            "-c",
            "import captum_dynamics.models, sys; print(*sys.modules)",
        ],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    loaded = set(listing.stdout.split())
    assert "captum_dynamics.models.sentiment" in loaded
    assert {"sklearn", "datasets", "captum", "matplotlib"} & loaded == set()
