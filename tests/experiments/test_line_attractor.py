"""The statistics of the line attractor, against answers known from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score

import captum_dynamics as cd
from captum_dynamics.analysis import NamedInputs
from captum_dynamics.experiments import Options, Verdict, reproduce
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments.line_attractor import _reviews, _tables
from captum_dynamics.experiments.line_attractor._linear_prediction import (
    linear_picture,
)
from captum_dynamics.experiments.line_attractor._saddles import find_saddle_line
from captum_dynamics.experiments.line_attractor._statistics import (
    LineStatistics,
    Subject,
    long_runs,
    measure_line,
    word_auc,
)
from captum_dynamics.experiments.line_attractor._synthetic import synthetic_subject
from captum_dynamics.models import LinearRNN, SentimentClassifier
from captum_dynamics.tasks.imdb import Review
from captum_dynamics.tasks.synthetic_sentiment import token_values
from tests.analyses import small_analysis


def integrator(fade: float = 0.995) -> SentimentClassifier:
    """A network that adds up what tokens are worth: a line attractor by construction.

    Unit 0 keeps the sum, the other units forget at once.
    """
    model = SentimentClassifier(61, cell="linear", embedding_dim=2, hidden_size=4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embedding.weight[:, 0] = token_values()
        model.embedding.weight[:, 1] = torch.linspace(-1, 1, 61)
        model.rnn.weight_hh_l0[0, 0] = fade
        model.rnn.weight_hh_l0[1:, 1:] = 0.3 * torch.eye(3)
        model.rnn.weight_ih_l0[0, 0] = 0.1
        model.rnn.weight_ih_l0[1:, 1] = 0.01
        model.readout.weight[0, 0] = 1.0
    return model.eval()


def measured(model: SentimentClassifier, folder: Path) -> LineStatistics:
    subject = synthetic_subject(Bench(Options(folder, quick=True)), model)
    return measure_line(subject, subject.analyze(0), seed=0)


def test_an_integrator_is_found_to_be_a_line_with_the_numbers_it_was_built_with(
    tmp_path: Path,
) -> None:
    found = measured(integrator(), tmp_path)
    assert found.dims == 1
    assert found.readout_alignment == pytest.approx(1)
    assert found.memory == pytest.approx(-1 / math.log(0.995), rel=1e-4)
    ratio = math.log(0.3) / math.log(0.995)
    assert found.ratio == pytest.approx(ratio, rel=1e-4)
    assert found.index_sum == 1
    assert found.score_correlation == pytest.approx(1)
    assert found.correlated_share == 1
    # A linear network is its own linear picture.
    assert found.one_step < 1e-6
    assert found.free_r2 == pytest.approx(1)
    assert found.free_agreement == 1
    assert found.jacobian_error < 1e-9
    # A fresh network of four units, with a fresh embedding, uses more than one of them.
    assert found.dims < found.unlearned_dims <= 4
    assert found.mode_error < 1e-9


@pytest.mark.filterwarnings("ignore::captum_dynamics.exceptions.ConvergenceWarning")
def test_a_network_that_drifts_for_ever_has_no_fixed_point(tmp_path: Path) -> None:
    # h <- h + .01 under the mean token: nowhere does h stay.
    drifting = integrator(1.0)
    with torch.no_grad():
        drifting.rnn.bias_ih_l0[0] = 0.01
    found = measured(drifting, tmp_path)
    assert (found.fixed, found.index_sum, found.leading) == (0, 0, ())
    assert math.isnan(found.turn)


def test_a_linear_picture_errs_where_the_map_bends() -> None:
    bent = cd.FunctionAdapter(lambda h, x: torch.tanh(0.99 * h + x), 1, 1)
    runs = cd.record(torch.nn.RNN(1, 1, batch_first=True), None, torch.randn(5, 30, 1))
    picture = linear_picture(
        bent,
        runs,
        torch.zeros(1, 1),
        steps=500,
        q_slow=1e-2,
        generator=torch.Generator().manual_seed(0),
    )
    state = torch.tensor([[0.01]], dtype=torch.float64)
    (near, far) = (
        abs(picture.step(state, push) - bent.step(state, push)).item()
        for push in (torch.full_like(state, 0.01), torch.full_like(state, 2.0))
    )
    assert near < 1e-4 < 0.5 < far


def test_the_chance_of_the_right_order_is_the_area_under_the_roc_curve() -> None:
    words = small_analysis().words
    classes = words.classes(10)
    rows = torch.cat([classes["positive"], classes["negative"]])
    labels = [1] * 10 + [0] * 10
    wanted = roc_auc_score(labels, words.projections[rows])
    assert word_auc(words, 10) == pytest.approx(wanted)


def test_a_vanilla_network_that_turns_is_told_from_a_line(tmp_path: Path) -> None:
    turning = SentimentClassifier(61, cell="tanh", embedding_dim=2, hidden_size=2)
    with torch.no_grad():
        for weight in turning.parameters():
            weight.zero_()
        turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
        turning.rnn.weight_hh_l0.copy_(1.3 * turn)
        turning.embedding.weight[:, 0] = token_values()
        turning.rnn.weight_ih_l0[0, 0] = 0.1
        turning.readout.weight[0, 0] = 1.0
    subject = synthetic_subject(Bench(Options(tmp_path, quick=True)), turning.eval())
    result = subject.analyze(0)
    found = measure_line(subject, result, seed=0)
    regimes = long_runs(subject, result, seed=0)
    told = {claim.what: claim for claim in _tables.oscillation_claims(found, regimes)}
    assert told["reading the mean word for ever"].verdict is Verdict.HOLDS
    assert "quasi-periodic" in told["reading the mean word for ever"].ours
    assert found.turn == pytest.approx(2 * math.pi / math.atan2(0.8, 0.6), rel=1e-3)
    assert told["line attractor claimed"].verdict is Verdict.HOLDS


def test_a_line_of_saddles_is_found_by_minimising_the_speed(tmp_path: Path) -> None:
    # Unit 0 keeps the sum; unit 1 jumps to and fro, and every state leaves its zero.
    model = integrator(0.9999)
    jumping = SentimentClassifier(61, cell="tanh", embedding_dim=2, hidden_size=4)
    jumping.load_state_dict(model.state_dict())
    with torch.no_grad():
        jumping.rnn.weight_hh_l0[1, 1] = -1.5
        jumping.rnn.weight_ih_l0[0, 0] = 0.02
    subject = synthetic_subject(Bench(Options(tmp_path, quick=True)), jumping.eval())
    found = find_saddle_line(subject, subject.analyze(0), seed=0)
    assert found.share == 1
    assert found.first_component > 0.99
    assert found.coverage > 0.5
    assert found.unstable_dims == 1
    assert found.kept == pytest.approx(1, abs=0.02)
    assert found.correlation == pytest.approx(1)


def test_without_reviews_the_experiment_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from captum_dynamics.experiments import line_attractor

    def no_network(_: Bench) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr(line_attractor, "_synthetic", lambda bench: None)
    monkeypatch.setattr(line_attractor, "find_reviews", no_network)
    found = reproduce("line-attractor", Options(tmp_path, quick=True))
    assert [(part.title, part.text) for part in found.sections] == [
        ("Film reviews", "Left out: no network here")
    ]


def test_a_file_that_is_none_of_reviews_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from captum_dynamics.experiments import line_attractor

    begun: list[Bench] = []
    monkeypatch.setattr(line_attractor, "_synthetic", begun.append)
    file = tmp_path / "notes.jsonl"
    file.write_text("Dear diary\n")
    with pytest.raises(ValueError, match="JSON in line 1 of the reviews"):
        reproduce("line-attractor", Options(tmp_path, quick=True, data=file))
    assert not begun


@pytest.mark.parametrize(("slow_share", "said"), [(0.0, True), (0.3, False)])
def test_that_no_state_slows_down_is_said_where_none_does(
    slow_share: float, said: bool
) -> None:
    from captum_dynamics.experiments.line_attractor import _predictions

    assert ("No visited state" in _predictions(slow_share)) is said


def test_reviews_give_a_subject_with_their_most_frequent_words(tmp_path: Path) -> None:
    texts = ["a good film", "a bad film", "good good", "bad bad day"] * 30
    reviews = _reviews.prepare_reviews(
        [
            Review(f"{text} {row}", int("good" in text))
            for row, text in enumerate(texts)
        ],
        quick=True,
    )
    assert reviews.bag_accuracy == 1
    model = SentimentClassifier(
        len(reviews.vocabulary), cell="gru", embedding_dim=3, hidden_size=3
    )
    subject = _reviews.review_subject(
        Bench(Options(tmp_path, quick=True)), model, reviews
    )
    assert isinstance(subject, Subject)
    assert isinstance(subject.words, NamedInputs)
    assert set(subject.words.names[:4]) == {"a", "good", "bad", "film"}
    shares = reviews.mean_counts
    assert float(shares.sum()) == pytest.approx(1)
    wanted = (shares @ model.embedding.weight.double()).float()
    torch.testing.assert_close(subject.reference, wanted)


def test_a_network_of_other_reviews_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(size: int, *_: object, **settings: int) -> tuple[SentimentClassifier]:
        trained.append(size)
        sizes = {name: settings[name] for name in ("embedding_dim", "hidden_size")}
        return (SentimentClassifier(size, cell="gru", **sizes),)

    monkeypatch.setattr(_reviews, "train", train)
    bench = Bench(Options(tmp_path, quick=True))
    for words in (("good", "bad"), ("good", "bad"), ("fine", "dull")):
        texts = [f"{words[row % 2]} {row}" for row in range(60)]
        read = [Review(text, 1 - row % 2) for row, text in enumerate(texts)]
        reviews = _reviews.prepare_reviews(read, quick=True)
        _reviews.train_on_reviews(bench, reviews, "gru")
    # As many reviews and as many words each time: the second net alone is kept.
    assert len(trained) == 2
    assert trained[0] == trained[1]


def test_the_linear_layer_is_a_layer_of_the_classifier() -> None:
    assert isinstance(integrator().rnn, LinearRNN)


@pytest.mark.slow
def test_the_quick_version_runs_from_end_to_end(tmp_path: Path) -> None:
    found = reproduce("line-attractor", Options(tmp_path, quick=True))
    assert found.sections[0].title == "Synthetic documents: accuracy"
    assert (tmp_path / "figures" / "synthetic_networks.png").exists()
    assert (tmp_path / "synthetic_gru.html").exists()
