"""The context experiment: against algebra, the language, and a kept net."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.experiments import (
    Bench,
    Options,
    Verdict,
    _film_reviews,
    reproduce,
)
from captum_dynamics.experiments._bag_of_words import right_answers, term_presence
from captum_dynamics.experiments.context import _net, _reviews
from captum_dynamics.experiments.context._baseline import (
    Line,
    count_terms,
    r_squared,
    recovered_share,
)
from captum_dynamics.experiments.context._reading import nearest_left_mode
from captum_dynamics.experiments.context._toy import toy_sections
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks._documents import Documents
from captum_dynamics.tasks.context import (
    MODIFIERS,
    WORDS,
    encode_words,
    load_context,
    sample_context,
)
from captum_dynamics.tasks.imdb import read_reviews

REACHES = {WORDS.index(word): reach for word, (_, reach) in MODIFIERS.items()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_at_zero(matrix: torch.Tensor) -> cd.Linearization:
    dynamics = cd.FunctionAdapter(lambda h, x: h @ matrix.mT, len(matrix), 0)
    zero = torch.zeros(1, len(matrix)).double()
    points = cd.find_fixed_points(dynamics, zero, torch.zeros(1, 0))
    return cd.linearize(dynamics, points)


def test_the_nearest_left_mode_is_a_line_or_the_plane_of_a_pair() -> None:
    turning = 0.5 * torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    # In coordinates y = L h one mode decays and a pair turns: rows of L are left modes.
    blocks = torch.block_diag(torch.tensor([[0.9]]), turning).double()
    left = torch.tensor([[3.0, 0, 4], [0, 1, 0], [0, 1, 2]]).double()
    linear = linear_at_zero(torch.linalg.solve(left, blocks @ left))
    along = nearest_left_mode(linear, left[:1])
    assert float(along.angles) == pytest.approx(0, abs=1e-5)
    assert (bool(along.pairs), float(along.times)) == (
        False,
        pytest.approx(-1 / math.log(0.9)),
    )
    inside = nearest_left_mode(linear, left[1:2] - 2 * left[2:])
    assert float(inside.angles) == pytest.approx(0, abs=1e-5)
    assert bool(inside.pairs)
    assert float(inside.times) == pytest.approx(-1 / math.log(0.5))
    # (1, 0, 0) is acos .6 away from the first mode, and upright on the pair's plane.
    apart = nearest_left_mode(linear, torch.tensor([[1.0, 0, 0]]).double())
    assert float(apart.angles) == pytest.approx(math.degrees(math.acos(0.6)))


def test_terms_count_words_behind_modifiers() -> None:
    words = encode_words("not good the bad very good").argmax(-1)
    counts = count_terms(words, len(WORDS), REACHES)[0].view(-1, len(WORDS))
    good, bad, very, the = map(WORDS.index, ("good", "bad", "very", "the"))
    assert counts.shape[0] == 1 + 1 + 4
    assert counts[0, [good, bad, very, the]].tolist() == [2, 1, 1, 1]
    # In the order of the language: very and its one place, then the four of not.
    assert torch.equal(counts[1].nonzero()[:, 0], torch.tensor([good]))
    behind = [row.nonzero()[:, 0].tolist() for row in counts[2:]]
    assert behind == [[good], [the], [bad], [very]]


def test_terms_explain_all_of_the_language_where_one_modifier_is_read() -> None:
    data = sample_context(4000, 7, generator=generator())
    modifiers = torch.tensor(list(REACHES))
    single = torch.isin(data.words, modifiers).sum(1) <= 1
    words, sums = data.words[single], data.targets[single, -1].double()
    terms, plain = (count_terms(words, len(WORDS), m) for m in (REACHES, {}))
    half = len(words) // 2
    for features, low, high in ((terms, 1 - 1e-9, 1), (plain, 0.3, 0.9)):
        line = Line.through(features[:half], sums[:half])
        assert low <= line.explained(features[half:], sums[half:]) <= high


def test_r_squared_is_that_of_numpy() -> None:
    wanted = torch.randn(50, generator=generator()).double()
    found = wanted + 0.3 * torch.randn(50, generator=generator(1)).double()
    rest = np.mean((wanted - found).numpy() ** 2)
    assert r_squared(found, wanted) == pytest.approx(1 - rest / np.var(wanted.numpy()))


def test_presence_of_words_and_of_words_within_reach() -> None:
    found = term_presence([[2, 5, 3, 4, 5], [1, 0, 4]], 6, {2: 2, 4: 9})
    rows = [sorted(found[row].indices.tolist()) for row in range(2)]
    assert found.shape == (2, 18)
    # Words; 5 and 3 behind 2, two places at most; 5 behind 4. None for 0 and 1.
    assert rows == [[2, 3, 4, 5, 6 + 3, 6 + 5, 12 + 5], [4]]
    assert set(found.data) == {1.0}


def test_a_bag_with_terms_learns_what_a_plain_one_cannot() -> None:
    # 2 turns 3 and 4 around when it stands before them; all documents have all three.
    kinds = [([2, 3, 5, 4], 0), ([2, 4, 5, 3], 1)]
    labels = torch.tensor([label for _, label in kinds] * 30)
    data = Documents([ids for ids, _ in kinds] * 30, labels)
    plain, _ = right_answers(data, data, 6, {})
    better, _ = right_answers(data, data, 6, {2: 1})
    assert float(plain.double().mean()) == 0.5
    assert bool(better.all())


def test_the_share_recovered_has_an_interval() -> None:
    places = torch.arange(1000)
    plain, better, best = (places < count for count in (500, 750, 1000))
    found = recovered_share(plain, better, best, generator=generator())
    assert found.share == 0.5
    # Of 500 documents that only the net gets right, half: an error of 1 / sqrt(2000).
    half = 1.96 / math.sqrt(2000)
    assert found.low == pytest.approx(0.5 - half, abs=0.01)
    assert found.high == pytest.approx(0.5 + half, abs=0.01)
    assert str(found).startswith("50% (4")


def test_the_sections_on_a_kept_net_hold_what_the_paper_says(tmp_path: Path) -> None:
    net = load_context()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    bench = Bench(Options(tmp_path))
    toy_sections(bench, net, starts=4, sentences=800)
    found = bench.finish("context", "Context", "none")
    judged = [c for c in found.claims if c.verdict is not Verdict.REPORTED]
    assert len(judged) == 11
    assert all(claim.verdict is Verdict.REPRODUCED for claim in judged)
    explained = bench.numbers["toy_r_squared"]
    assert explained["GRU"] > 0.999
    assert explained["with measured factors"] > 0.995
    assert explained["bag of words"] < explained["with terms for modifiers"] < 0.8
    names = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert names == {"effects", "removals", "sentence"}
    assert all(torch.equal(net.state_dict()[name], v) for name, v in before.items())


def test_stages_are_trained_one_after_the_other_and_kept(tmp_path: Path) -> None:
    # A rate of next to nothing: the second ends where it began, where the first did.
    stage = _net.Stage(4, 2, 1e-9, 0.0, _net.Stage(4, 3, 1e-2, 0.0))
    bench = Bench(Options(tmp_path))
    last, again = (_net.trained_net(bench, stage) for _ in range(2))
    assert torch.equal(last.readout.weight, again.readout.weight)
    names = {file.name for file in (tmp_path / "nets").glob("*.safetensors")}
    assert names == {"toy-language-1.safetensors", "toy-language-2.safetensors"}
    first = load_context(tmp_path / "nets/toy-language-1.safetensors")
    torch.testing.assert_close(last.state_dict(), first.state_dict())


def test_without_reviews_the_section_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(_film_reviews, "download_reviews", none)
    bench = Bench(Options(tmp_path))
    _reviews.reviews_sections(bench, _reviews.Effort())
    (section,) = bench.finish("context", "Context", "none").sections
    assert section.text.startswith("Left out: no network")
    assert not section.claims


def test_reviews_are_read_and_the_bags_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        (f"this film is {adverb} {word} and I saw it {count} times", label)
        for count, adverb in enumerate(("not", "very", "so", "quite", "just"))
        for word, label in (("good", 1), ("bad", 0), ("great", 1), ("awful", 0))
    ]
    file = tmp_path / "reviews.jsonl.gz"
    lines = [json.dumps({"text": text, "label": label}) for text, label in texts]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setattr(_reviews, "HELD_OUT", 6)
    bench = Bench(Options(tmp_path, data=file))
    _reviews.reviews_sections(bench, _reviews.Effort(40_000, points=2, named=2))
    found = bench.finish("context", "Context", "none")
    by_name = {claim.what: claim for claim in found.claims}
    trained = load_sentiment("gru")
    split = _reviews.hold_out(read_reviews(file), 6)
    ids = trained.vocabulary.encode_batch([review.text for review in split.held_out])
    labels = torch.tensor([review.label for review in split.held_out])
    with torch.no_grad():
        right = (trained.model(ids)[:, 0] > 0) == (labels == 1)
    assert by_name["accuracy, the shipped GRU"].value == pytest.approx(
        float(right.double().mean())
    )
    assert by_name[
        "not: rank by fading change, factor, words that it changes"
    ].ours.startswith("1 of")
    assert (tmp_path / "figures/reviews.png").exists()


@pytest.mark.slow
def test_the_quick_version_runs_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_film_reviews, "download_reviews", _no_reviews)
    found = reproduce("context", Options(tmp_path, quick=True))
    assert len(found.sections) == 5
    assert len(list((tmp_path / "figures").glob("*.png"))) == 3


def _no_reviews() -> None:
    raise ConnectionError("no network")
