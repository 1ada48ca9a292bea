"""Training the review classifiers: the hold-out rule, the loop, the command line."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from captum_dynamics.models import Vocabulary, load_sentiment
from captum_dynamics.tasks._documents import (
    Documents,
    Recipe,
    accuracy,
    initialize,
    logits,
    train,
)
from captum_dynamics.tasks._imdb_data import build_vocabulary
from captum_dynamics.tasks.imdb import (
    Review,
    download_reviews,
    encode_reviews,
    fit_word_scores,
    hold_out,
    main,
    read_reviews,
)

REAL_DATA = os.environ.get("CAPTUM_DYNAMICS_IMDB", "")
PRAISE = ("lovely", "great", "superb")
BLAME = ("dreadful", "boring", "poor")
FILLER = ("the", "film", "of", "a", "story", "and", "cast", "scene", "night", "about")


def synthetic_reviews(count: int) -> list[Review]:
    """Write different reviews, half of them positive, that one word decides."""
    chance = random.Random(0)
    reviews = []
    for index in range(count):
        words = chance.choices(FILLER, k=chance.randint(4, 12))
        verdict = chance.choice(PRAISE if index % 2 else BLAME)
        words.insert(chance.randrange(len(words)), verdict)
        reviews.append(Review(f"{' '.join(words)} no{index}", index % 2))
    return reviews


def write_reviews(file: Path, reviews: Sequence[Review]) -> Path:
    """Write reviews as the command line reads them."""
    rows = [json.dumps(review._asdict(), ensure_ascii=False) for review in reviews]
    lines = "\n".join(rows) + "\n"
    packed = gzip.compress(lines.encode("utf-8"))
    file.write_bytes(packed if file.suffix == ".gz" else lines.encode("utf-8"))
    return file


def encoded(reviews: Sequence[Review]) -> tuple[Vocabulary, Documents]:
    """Encode reviews by their own words."""
    vocabulary = build_vocabulary([review.text for review in reviews], size=100)
    return vocabulary, encode_reviews(vocabulary, reviews)


def test_the_hold_out_rule_ignores_the_order_and_separates() -> None:
    once = synthetic_reviews(190)
    # Ten copies that differ in mark-up alone, and so are copies all the same.
    reviews = [*once, *(Review(f"<br />{text}", label) for text, label in once[:10])]
    shuffled = random.Random(1).sample(reviews, len(reviews))
    split = hold_out(reviews, 50)
    assert hold_out(shuffled, 50) == split
    assert len(split.held_out) == 50
    assert sorted(split.training + split.held_out) == sorted(reviews)
    assert not set(split.training) & set(split.held_out)


def test_the_hold_out_rule_is_not_the_order_of_the_text() -> None:
    reviews = synthetic_reviews(400)
    positive = sum(review.label for review in hold_out(reviews, 100).held_out)
    assert 30 <= positive <= 70


@pytest.mark.parametrize("count", [5, 20, 41])
def test_copies_of_a_review_stay_on_one_side(count: int) -> None:
    once = synthetic_reviews(30)
    copies = [Review(f"<br />{text.upper()}!", label) for text, label in once]
    marked = [Review(f"{text} !", label) for text, label in once[:15]]
    split = hold_out([*once, *copies, *marked], count)

    def numbers(reviews: list[Review]) -> set[str]:
        return {review.text.lower().rstrip("! ").split()[-1] for review in reviews}

    assert len(split.held_out) == count
    assert len(split.training) == 75 - count
    # A copy without the mark is another text, so only marked ones must agree.
    held = [review for review in split.held_out if review.text.endswith("!")]
    learnt = [review for review in split.training if review.text.endswith("!")]
    assert not numbers(held) & numbers(learnt)


@pytest.mark.parametrize("count", [0, 30, 31])
def test_a_split_with_an_empty_side_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="`count`"):
        hold_out(synthetic_reviews(30), count)


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.jsonl.gz"])
def test_reviews_are_read_as_written(tmp_path: Path, name: str) -> None:
    reviews = [*synthetic_reviews(4), Review("odd\u2028break \x85 \u00e9", 1)]
    assert read_reviews(write_reviews(tmp_path / name, reviews)) == reviews


@pytest.mark.parametrize(
    "line", ["{", '"text"', '{"text": "good", "label": 2}', '{"text": "", "label": 1}']
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "reviews.jsonl"
    file.write_text('{"text": "good", "label": 1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2"):
        read_reviews(file)


def test_without_the_datasets_package_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install datasets.*--data"):
        download_reviews()


def give_datasets(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., list[dict[str, object]]]
) -> None:
    package = ModuleType("datasets")
    package.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", package)


def test_reviews_are_fetched_by_the_datasets_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name: str, *, split: str) -> list[dict[str, object]]:
        assert name == "stanfordnlp/imdb"
        return [{"text": f"a {split} film", "label": int(split == "test")}]

    give_datasets(monkeypatch, load)
    assert download_reviews() == [Review("a train film", 0)]
    assert download_reviews("test") == [Review("a test film", 1)]
    with pytest.raises(ValueError, match="`split`"):
        download_reviews("dev")


def test_without_a_network_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OfflineError(Exception):
        pass

    def load(*_: object, **__: object) -> list[dict[str, object]]:
        raise OfflineError("a page of reasons")

    give_datasets(monkeypatch, load)
    with pytest.raises(ConnectionError, match=r"got OfflineError; without a.*--data"):
        download_reviews()


def test_the_vocabulary_keeps_the_most_frequent_words() -> None:
    texts = ["b b b a a c c d", "unread " * 9 + "b b b a"]
    vocabulary = build_vocabulary(texts, size=5, max_words=8)
    assert vocabulary.words[2:] == ("b", "unread", "a")


def test_documents_keep_their_last_words() -> None:
    vocabulary, _ = encoded([Review("a b c d", 1)])
    documents = encode_reviews(vocabulary, [Review("a b c d", 1)], max_words=2)
    assert vocabulary.decode(documents.ids[0]) == ["c", "d"]


def test_word_scores_tell_the_deciding_words_from_the_others() -> None:
    vocabulary, documents = encoded(synthetic_reviews(60))
    scores, right = fit_word_scores(documents, documents, size=len(vocabulary))
    by_word = dict(zip(vocabulary.words, scores.tolist(), strict=True))
    neutral = max(abs(by_word[word]) for word in FILLER)
    assert right > 0.95
    assert min(by_word[word] for word in PRAISE) > neutral
    assert max(by_word[word] for word in BLAME) < -neutral


def test_special_words_have_no_score_even_if_they_would_decide() -> None:
    vocabulary, documents = encoded(synthetic_reviews(60))
    labels = documents.labels.tolist()
    pairs = zip(documents.ids, labels, strict=True)
    telling = [[1] * label + ids for ids, label in pairs]
    marked = Documents(telling, documents.labels)
    scores, _ = fit_word_scores(marked, marked, size=len(vocabulary))
    assert scores[:2].tolist() == [0.0, 0.0]


def test_word_scores_see_which_words_occur_and_nothing_else() -> None:
    vocabulary, documents = encoded(synthetic_reviews(60))
    doubled = Documents([ids[::-1] + ids for ids in documents.ids], documents.labels)
    first, _ = fit_word_scores(documents, documents, size=len(vocabulary))
    second, _ = fit_word_scores(doubled, documents, size=len(vocabulary))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_learns_and_leaves_the_random_state_alone(cell: str) -> None:
    vocabulary, documents = encoded(synthetic_reviews(60))
    recipe = Recipe(epochs=25, batch_size=10, learning_rate=1e-2)
    sizes = {"embedding_dim": 16, "hidden_size": 16}
    before = torch.get_rng_state()
    model, by_epoch = train(
        len(vocabulary), documents, documents, recipe, cell=cell, **sizes
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert len(by_epoch) == 25
    assert by_epoch[-1] == accuracy(logits(model, documents), documents.labels) > 0.95
    assert not model.embedding.weight[0].any()


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    vocabulary, documents = encoded(synthetic_reviews(30))

    def weights(seed: int) -> torch.Tensor:
        recipe = Recipe(epochs=1, seed=seed, batch_size=10)
        model, _ = train(
            len(vocabulary),
            documents,
            documents,
            recipe,
            embedding_dim=4,
            hidden_size=4,
        )
        return model.rnn.weight_hh_l0.detach()

    torch.manual_seed(1)
    first = weights(seed=3)
    torch.manual_seed(2)
    assert torch.equal(weights(seed=3), first)
    assert not torch.equal(weights(seed=4), first)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_initial_weights_keep_a_state(cell: str) -> None:
    from captum_dynamics.models import SentimentClassifier

    model = SentimentClassifier(10, cell=cell, embedding_dim=4, hidden_size=6)
    initialize(model)
    # Without words and with other gates at rest, the keep gate alone is open.
    bias = (model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0).view(-1, 6)
    assert bias.mean(1).tolist() == [0.0, 1.0, *[0.0] * (len(bias) - 2)]
    for gate in model.rnn.weight_hh_l0.view(-1, 6, 6):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-5)
    assert not model.embedding.weight[0].any()


def test_scores_come_in_the_order_of_the_documents() -> None:
    from captum_dynamics.models import SentimentClassifier

    vocabulary, documents = encoded(synthetic_reviews(20))
    model = SentimentClassifier(len(vocabulary), embedding_dim=4, hidden_size=3)
    found = logits(model, documents, batch_size=3)
    assert model.training
    alone = [model.eval()(torch.tensor([ids])).item() for ids in documents.ids]
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_command_line_writes_files_that_load(tmp_path: Path, cell: str) -> None:
    file = write_reviews(tmp_path / "own.jsonl.gz", synthetic_reviews(60))
    out = tmp_path / "nets"
    command = f"--data {file} --cell {cell} --epochs 2 --held-out 15 --seed 7"
    main([*command.split(), "--vocabulary-size", "50", "--out", str(out)])
    trained = load_sentiment(cell, directory=out)
    card = trained.card
    assert len(trained.vocabulary) == 50
    assert card["split"].startswith("45 for training, 15 held out")
    assert card["command"].endswith(
        f"--data own.jsonl.gz --cell {cell} --epochs 2 --seed 7 "
        "--held-out 15 --vocabulary-size 50"
    )
    assert str(tmp_path) not in json.dumps(card)
    held_out = hold_out(read_reviews(file), 15).held_out
    documents = encode_reviews(trained.vocabulary, held_out)
    found = accuracy(logits(trained.model, documents), documents.labels)
    assert card["held_out_accuracy"] == pytest.approx(found, abs=1e-4)
    assert int(trained.word_counts.sum()) == sum(
        len(trained.vocabulary.encode(review.text))
        for review in hold_out(read_reviews(file), 15).training
    )


def test_a_directory_with_networks_for_other_words_is_refused(tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "own.jsonl", synthetic_reviews(20))
    shared = f"--data {file} --epochs 1 --held-out 5 --out {tmp_path / 'nets'}".split()
    main([*shared, "--vocabulary-size", "20"])
    with pytest.raises(FileExistsError, match="another --out"):
        main([*shared, "--vocabulary-size", "21"])


@pytest.mark.parametrize(
    "arguments", ["--cell rnn", "--epochs 0", "--held-out -1", "--vocabulary-size x"]
)
def test_wrong_arguments_end_with_a_usage_line(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments.split())
    assert arguments.split()[0] in capsys.readouterr().err


def test_help_teaches_the_form_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert '{"text": "...", "label": 0 or 1}' in " ".join(shown.split())
    assert "load_sentiment" in shown


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL_DATA,
    reason="CAPTUM_DYNAMICS_IMDB does not name a file of the 25,000 IMDB reviews",
)
@pytest.mark.parametrize(("cell", "bound"), [("gru", 0.88), ("lstm", 0.875)])
def test_shipped_networks_reach_their_accuracy_on_held_out_reviews(
    cell: str, bound: float
) -> None:
    trained = load_sentiment(cell)
    split = hold_out(read_reviews(REAL_DATA), 5000)
    assert len(split.training) == 20_000
    documents = encode_reviews(trained.vocabulary, split.held_out)
    found = accuracy(logits(trained.model, documents), documents.labels)
    assert found >= bound
    # Copies of the data differ by a few reviews.
    assert found == pytest.approx(trained.card["held_out_accuracy"], abs=2e-3)
