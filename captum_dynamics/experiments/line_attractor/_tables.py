"""The rows of the tables: what the paper says of a network, and what we find."""

from __future__ import annotations

from captum_dynamics.experiments._claims import (
    Claim,
    at_least,
    at_most,
    check,
    holds,
    reported,
)
from captum_dynamics.experiments.line_attractor._statistics import LineStatistics
from captum_dynamics.regimes import Regime, Regimes

NAMES = {"tanh": "vanilla", "ugrnn": "UGRNN", "gru": "GRU", "lstm": "LSTM"}
OSCILLATING = (Regime.CYCLE, Regime.QUASI_PERIODIC, Regime.CHAOTIC)
STRAIGHT = 0.9  # |cos| of a line's directions with its main axis
MOST = 0.5  # of the runs
LONGEST_TURN = 20.0  # steps: what turns more slowly is no oscillation to speak of
PERCENT = ".1%"
TIMES = ".0f"


def synthetic_claims(found: LineStatistics, *, length: float) -> list[Claim]:
    """Claims about a network that reads long documents of known tokens."""
    return [
        at_most("components for 90 %, trained", found.dims, 3, paper="2 to 3"),
        at_least(
            "components for 90 %, untrained",
            found.untrained_dims,
            8,
            note="fresh weights read the trained embedding, in which "
            f"{found.read_dims} directions hold 90 % of the variance of the tokens",
        ),
        at_least(
            "|cos| of readout and line",
            found.readout_alignment,
            0.9,
            note=_bend(found),
        ),
        at_least(
            "slow points where l1 B x follows the values (r ≥ .95)",
            found.correlated_share,
            0.9,
            form=PERCENT,
        ),
        *_memory(found, length, 3),
        at_least("median |cos| of r1 and the line", found.tangent_alignment, 0.8),
        at_most("median one-step error", found.one_step, 0.15, paper="about 0.1"),
        *_reported(found),
        check(at_most("J against central differences", found.jacobian_error, 1e-6)),
        check(at_most("|LR - I|", found.mode_error, 1e-8)),
    ]


def gru_claims(found: LineStatistics) -> list[Claim]:
    """Claims about the GRU that reads reviews: the paper's line attractor."""
    return [
        at_most("components for 90 %, trained", found.dims, 2, paper="2 to 3"),
        at_least("components for 90 %, untrained", found.untrained_dims, 20),
        *_memory(found, 150, 8, paper="about 1000"),
        at_least("median |cos| of r1 and the line", found.tangent_alignment, 0.98),
        at_least("|cos| of readout and line", found.readout_alignment, 0.85),
        at_least("praise and blame told apart (AUC)", found.auc, 0.99),
        at_least(
            "correlation with the bag of words",
            found.score_correlation,
            0.8,
        ),
        at_most("median one-step error", found.one_step, 0.05, paper="about 0.1"),
        *_reported(found),
    ]


def other_claims(found: LineStatistics) -> list[Claim]:
    """The same numbers of another gated network, without bounds."""
    return [
        reported("components for 90 %, trained", found.dims, paper="2 to 3"),
        reported("components for 90 %, untrained", found.untrained_dims),
        reported("median memory of mode 1", found.memory, form=TIMES),
        reported("mode 1 over mode 2", found.ratio),
        reported("median |cos| of r1 and the line", found.tangent_alignment),
        reported("|cos| of readout and line", found.readout_alignment),
        reported("praise and blame told apart (AUC)", found.auc),
        reported("correlation with the bag of words", found.score_correlation),
        reported("median one-step error", found.one_step, paper="about 0.1"),
        *_reported(found),
    ]


def oscillation_claims(found: LineStatistics, regimes: Regimes) -> list[Claim]:
    """A network without gates that oscillates: no line attractor may be claimed."""
    turning = sum(e.runs for e in regimes.endings if e.regime in OSCILLATING)
    share = turning / sum(ending.runs for ending in regimes.endings)
    counts: dict[str, list[str]] = {}
    for ending in regimes.endings:
        name = ending.regime.name.lower().replace("_", "-")
        counts.setdefault(name, []).append(str(ending.runs))
    told = "; ".join(
        f"{name}: {len(runs)} sets, {' + '.join(runs)} runs"
        for name, runs in counts.items()
    )
    claims = [
        holds(
            "reading the mean word for ever",
            told,
            share >= MOST,
            wanted="most runs oscillate",
            paper="one net, on Yelp",
        ),
        at_most("steps of a turn of mode 1 at a fixed point", found.turn, LONGEST_TURN),
        holds(
            "line attractor claimed",
            "yes" if found.is_line else "no",
            not found.is_line,
            wanted="no",
            paper="yes, but for one net",
        ),
    ]
    # The paper has lines here: that there is none is a finding of ours.
    return [check(claim) for claim in claims]


def _bend(found: LineStatistics) -> str:
    """What keeps the main axis from being the direction of the line."""
    if not found.axis_alignment < STRAIGHT:
        return ""
    return (
        f"the line bends: |cos| of r1 is {found.tangent_alignment:.2f} with its local "
        f"direction, {found.axis_alignment:.2f} with its main axis"
    )


def _memory(
    found: LineStatistics, longest: float, ratio: float, *, paper: str = ""
) -> list[Claim]:
    note = ""
    if found.growing_share > 0:
        note = (
            f"at {found.growing_share:.0%} of the slow points mode 1 grows instead; "
            f"with these, median |1/ln|λ|| is {found.scale:.0f}"
        )
    return [
        at_least(
            "median memory of mode 1, where it fades (steps)",
            found.memory,
            longest,
            paper=paper,
            form=TIMES,
            note=note,
        ),
        at_least("mode 1 over mode 2 (median ratio)", found.ratio, ratio),
    ]


def _reported(found: LineStatistics) -> list[Claim]:
    leading = ", ".join(f"{size:.4f}" for size in found.leading[:5])
    return [
        reported(
            "components for 90 %, before training, with its embedding",
            found.unlearned_dims,
            paper="far more",
        ),
        reported("shape of the slow points", found.shape, paper="line"),
        reported("visited states that become slow", found.slow_share, form=PERCENT),
        reported("of the readout's range, covered", found.coverage, form=PERCENT),
        reported("slow points where mode 1 grows", found.growing_share, form=PERCENT),
        reported("median |cos| of r1 and the main axis", found.axis_alignment),
        reported("fixed points, |λ1| of each", f"{found.fixed}: {leading}"),
        reported(
            "slow points where mode 2 fades", found.attracting_share, form=PERCENT
        ),
        check(
            holds(
                "sum of the fixed points' indices",
                str(found.index_sum),
                found.index_sum == 1,
                wanted="1",
                note=""
                if found.index_sum == 1
                else "fixed points are missing, or marginal",
            )
        ),
        reported(
            "labels on which the linear picture alone agrees",
            found.free_agreement,
            form=PERCENT,
        ),
        reported(
            "R² of its logits, many steps", found.free_r2, paper="diverges", form=".2f"
        ),
    ]
