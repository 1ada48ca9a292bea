"""Line attractors in sentiment networks (Maheswaranathan et al., NeurIPS 2019).

Four architectures learn to tell praise from blame, in synthetic documents whose tokens
have known values and in film reviews. The paper's four predictions, one statistic each:
slow points form a line along the readout; they attract and are marginally stable;
inputs push to both sides; what they push is kept along the line.
"""

from __future__ import annotations

from dataclasses import asdict

from captum_dynamics import plots
from captum_dynamics.analysis import Analysis
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import Claim, at_least, at_most
from captum_dynamics.experiments._film_reviews import find_reviews
from captum_dynamics.experiments.line_attractor._reviews import (
    Reviews,
    prepare_reviews,
    review_accuracy,
    review_subject,
    train_on_reviews,
)
from captum_dynamics.experiments.line_attractor._saddles import find_saddle_line
from captum_dynamics.experiments.line_attractor._statistics import (
    LineStatistics,
    Subject,
    long_runs,
    measure_line,
)
from captum_dynamics.experiments.line_attractor._synthetic import (
    document_length,
    synthetic_accuracy,
    synthetic_subject,
    train_synthetic,
)
from captum_dynamics.experiments.line_attractor._tables import (
    NAMES,
    PERCENT,
    gru_claims,
    oscillation_claims,
    other_claims,
    synthetic_claims,
)
from captum_dynamics.models import ARCHITECTURES

# Test accuracy on IMDB, table 1 of the paper.
PAPER = {
    "bag": "88.53 %",
    "tanh": "87.08 %",
    "ugrnn": "87.96 %",
    "gru": "86.86 %",
    "lstm": "86.93 %",
}
WANTED = {"bag": 0.88, "tanh": 0.85, "ugrnn": 0.87, "gru": 0.88, "lstm": 0.875}
SYNTHETIC = {"tanh": 0.93, "ugrnn": 0.97, "gru": 0.97, "lstm": 0.97}
BEHIND = 0.03  # that a directly trained linear network may be

__all__ = ["run"]


def run(bench: Bench) -> None:
    """Run the experiment; the reviews are left out where there are none."""
    # Before any long work: a file that is none of reviews is a mistake to hear of now.
    bench.say("reading reviews")
    reviews, missing = None, ""
    try:
        reviews = prepare_reviews(find_reviews(bench), quick=bench.quick)
    except (ImportError, ConnectionError) as error:
        missing = str(error)
    _synthetic(bench)
    if reviews is None:
        bench.section("Film reviews", f"Left out: {missing}")
    else:
        _film_reviews(bench, reviews)


def _synthetic(bench: Bench) -> None:
    nets = {arch: train_synthetic(bench, arch) for arch in (*ARCHITECTURES, "linear")}
    right = {arch: synthetic_accuracy(bench, net) for arch, net in nets.items()}
    bench.section(
        "Synthetic documents: accuracy",
        "Half of the tokens are neutral, the others are worth ±1 or ±2; a label is the "
        "probability that the sum gives, and accuracy is that of the sign where the "
        f"sum is not zero. Documents of {document_length(bench):.0f} tokens on "
        "average. The linear network has the same size and training, and no "
        "nonlinearity. The paper's numbers, here and below, are of review networks.",
    )
    for arch in ARCHITECTURES:
        name = f"accuracy, {NAMES[arch]}"
        bench.claim(at_least(name, right[arch], SYNTHETIC[arch], form=PERCENT))
    bench.claim(_linear_claim(right))
    analyses = {}
    for arch in ARCHITECTURES:
        subject = synthetic_subject(bench, nets[arch])
        name = f"Synthetic documents: {NAMES[arch]}"
        analysis, found = _study(bench, subject, f"synthetic_{arch}", name)
        bench.claim(*synthetic_claims(found, length=document_length(bench)))
        if arch == "tanh":
            _oscillation(bench, subject, name, analysis, found)
        analyses[NAMES[arch]] = analysis
    _side_by_side(bench, analyses, "synthetic")


def _film_reviews(bench: Bench, reviews: Reviews) -> None:
    archs = (*ARCHITECTURES, "linear")
    nets = {arch: train_on_reviews(bench, reviews, arch) for arch in archs}
    right = {arch: review_accuracy(net, reviews) for arch, net in nets.items()}
    bench.section(
        "Film reviews: accuracy",
        f"IMDB reviews, {len(reviews.training.ids):,} to learn from and "
        f"{len(reviews.held_out.ids):,} of the same set held out by a fixed rule. The "
        "paper's numbers (table 1, IMDB) are of the official test set, whose films are "
        "others; here a film may have reviews on both sides, which may help.",
    )
    bag = reviews.bag_accuracy
    for arch, name in (("bag", "bag of words"), *NAMES.items()):
        accuracy = bag if arch == "bag" else right[arch]
        bench.claim(
            at_least(
                f"accuracy, {name}",
                accuracy,
                WANTED[arch],
                paper=PAPER[arch],
                form=PERCENT,
            )
        )
    bench.claim(_linear_claim(right, paper="about 3 points"))
    analyses = {}
    for arch in ARCHITECTURES:
        subject = review_subject(bench, nets[arch], reviews)
        name = f"Film reviews: {NAMES[arch]}"
        analysis, found = _study(bench, subject, f"reviews_{arch}", name)
        if arch == "gru":
            bench.claim(*gru_claims(found))
        elif arch == "tanh":
            bench.claim(*other_claims(found))
            _oscillation(bench, subject, name, analysis, found)
        else:
            bench.claim(*other_claims(found))
        analyses[NAMES[arch]] = analysis
    _side_by_side(bench, analyses, "reviews")


_PREDICTIONS = (
    "The four predictions, and how well a linear picture does. A visited state counts "
    "as slow if, after some steps with the mean word, it moves by at most 5 % of the "
    "median step in use; the paper asks for a speed below 1e-8."
)
_NO_REST = (
    " No visited state of this network slows down that much: no number can be given "
    "for a line that attracts, and what words push is measured at its fixed points."
)


def _study(
    bench: Bench, subject: Subject, file: str, title: str
) -> tuple[Analysis, LineStatistics]:
    """Analyse a network, begin its section and draw its eight panels."""
    bench.say(f"{file}: analysing")
    analysis = subject.analyze(bench.seed)
    found = measure_line(subject, analysis, seed=bench.seed)
    bench.section(title, _predictions(found.slow_share))
    bench.numbers[file] = asdict(found)
    figure, _ = plots.plot_overview(analysis)
    bench.picture(file, figure, f"{title}: the eight panels of the paper's figure 3.")
    analysis.report(bench.options.folder / f"{file}.html")
    return analysis, found


def _predictions(slow_share: float) -> str:
    return _PREDICTIONS + ("" if slow_share else _NO_REST)


def _oscillation(
    bench: Bench,
    subject: Subject,
    title: str,
    analysis: Analysis,
    found: LineStatistics,
) -> None:
    """Say whether a network without gates comes to rest, and what it circles."""
    bench.section(
        f"{title}, does it oscillate?",
        "The paper finds one vanilla network that oscillates, on Yelp, and lines in "
        "the others, on IMDB too: an oscillation here is the same exception at another "
        "place. First what becomes of visited states when the mean word is read for "
        "ever; then slow points, attracting or not, that are found by minimising the "
        "speed, down to 1 % of a step in use.",
    )
    regimes = long_runs(subject, analysis, seed=bench.seed)
    bench.claim(*oscillation_claims(found, regimes))
    bench.claim(*find_saddle_line(subject, analysis, seed=bench.seed).claims())


def _linear_claim(right: dict[str, float], *, paper: str = "") -> Claim:
    best = max(right[arch] for arch in ARCHITECTURES)
    return at_most(
        "a directly trained linear network is behind the best by",
        best - right["linear"],
        BEHIND,
        paper=paper,
        form=PERCENT,
    )


def _side_by_side(bench: Bench, analyses: dict[str, Analysis], file: str) -> None:
    bench.section(
        "Side by side",
        "Dots are medians, bars reach from the 10th to the 90th percentile; the time "
        "constants of all three leading modes are |1/ln|λ||, fading or growing.",
    )
    figure, _ = plots.plot_networks(analyses)
    bench.picture(f"{file}_networks", figure, "The four architectures side by side.")
