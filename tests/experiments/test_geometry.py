"""The geometry experiment: measured on a net that counts, whose geometry is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from captum_dynamics.exceptions import ConvergenceWarning
from captum_dynamics.experiments import Bench, Options, Verdict, reproduce
from captum_dynamics.experiments.geometry import _nets
from captum_dynamics.experiments.geometry._measures import (
    Effort,
    Geometry,
    answers_of,
    measure_geometry,
    numbered,
    shares_of_variance,
)
from captum_dynamics.experiments.geometry._nets import Recipe, trained
from captum_dynamics.experiments.geometry._sections import (
    draw_net,
    draw_variances,
    label_claims,
    simplex_claims,
)
from captum_dynamics.models import SequenceNet
from captum_dynamics.tasks.integration import (
    CategoricalIntegration,
    LabelIntegration,
    OrderedIntegration,
)

TASK = CategoricalIntegration(25, 20, classes=3)
EFFORT = Effort(documents=120, relaxed=200, searches=12, drawn=50)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counter() -> SequenceNet:
    """h' = relu(h + x): the state is how often each class was spoken for."""
    net = SequenceNet("relu", 4, 3, 3, bias=False)
    weights = dict(net.rnn.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            value.zero_()
            if "weight" in name:
                value[:, :3] = torch.eye(3)
        net.readout.weight.copy_(torch.eye(3))
    return net.eval()


@pytest.fixture(scope="module")
def counted() -> Geometry:
    return measure_geometry(counter(), TASK, EFFORT, generator=generator())


def test_a_net_that_counts_has_the_variance_of_the_counts(counted: Geometry) -> None:
    data = TASK.sample(EFFORT.documents, generator=generator())
    counts = np.concatenate(
        [
            words[:length, :3].cumsum(0).numpy()
            for words, length in zip(data.inputs, data.lengths.tolist(), strict=True)
        ]
    )
    variances = np.linalg.eigvalsh(np.cov(counts.T))[::-1]
    shares = variances / variances.sum()
    np.testing.assert_allclose(counted.variance, shares, rtol=1e-6)
    assert counted.held(2) == pytest.approx(shares[:2].sum())
    assert counted.participation == pytest.approx(1 / (shares**2).sum())
    assert counted.components == 1 + int((np.cumsum(shares) < 0.95).sum())


def test_it_is_always_right_and_rests_wherever_it_is(counted: Geometry) -> None:
    assert counted.accuracy == 1.0
    assert counted.cosines.tolist() == [0, 0, 0]
    slow = counted.manifold
    assert slow.slow_share == 1.0
    assert bool(torch.isinf(counted.times[0]))
    data = TASK.sample(EFFORT.documents, generator=generator())
    assert len(counted.states) == len(counted.labels) == EFFORT.drawn
    assert set(counted.labels.tolist()) <= set(data.targets.tolist())


def test_a_net_that_never_rests_is_told_as_such() -> None:
    net = counter()
    with torch.no_grad():
        # Every step doubles what was counted, and adds one: only zero would rest.
        net.rnn.get_parameter("weight_hh_l0").mul_(2)
        net.rnn.get_parameter("bias_ih_l0").fill_(1)
    with pytest.warns(ConvergenceWarning, match="None of 12 searches"):
        found = measure_geometry(net, TASK, EFFORT, generator=generator())
    assert len(found.manifold) == len(found.points) == 0
    assert bool(found.times.isnan().all())
    rows = [claim.ours for claim in simplex_claims(_nets.categorical(3), found)]
    assert "unbounded" in rows[-1]
    assert rows[-5:-1] == [
        "undecided",
        "0, of which 0 attract",
        "none attracts",
        "no state is slow",
    ]


def test_labels_of_states_are_those_of_their_documents() -> None:
    # In two words without a tie nobody is spoken for but the class that wins.
    task = CategoricalIntegration(2, classes=3)
    found = measure_geometry(
        counter(), task, Effort(60, 60, 4, 60), generator=generator()
    )
    counted = found.states.sum(1) > 0
    assert int(counted.sum()) > 30
    assert torch.equal(found.states[counted].argmax(1), found.labels[counted])


def test_answers_are_numbers_by_task() -> None:
    outputs = torch.tensor([[0.1, 0.9], [-1.0, -2.0], [3.0, 1.0]])
    assert answers_of(outputs, CategoricalIntegration(classes=2)).tolist() == [1, 0, 0]
    assert answers_of(outputs, OrderedIntegration(classes=2)).tolist() == [1, 0, 0]
    assert answers_of(outputs, LabelIntegration(labels=2)).tolist() == [3, 0, 3]
    assert numbered(torch.tensor([[1.0, 0.0, 1.0], [0, 1, 0]])).tolist() == [5, 2]


def test_shares_do_not_depend_on_where_the_states_are() -> None:
    states = torch.randn(30, 4, generator=generator()).double()
    shares = shares_of_variance(states)
    assert float(shares.sum()) == pytest.approx(1)
    torch.testing.assert_close(shares_of_variance(3 * states + 7), shares)


def test_the_rows_and_pictures_of_a_net(counted: Geometry, tmp_path: Path) -> None:
    bench = Bench(Options(tmp_path))
    bench.section("Counting", "A net that counts.")
    net = _nets.categorical(3)
    bench.claim(*simplex_claims(net, counted))
    draw_net(bench, net, counted)
    draw_variances(bench, {net.title: counted})
    found = bench.finish("geometry", "Geometry", "none")
    by_name = {claim.what.split(": ", 1)[1]: claim for claim in found.claims}
    # Counts are no simplex: three dimensions, and readouts at right angles.
    cosine = by_name["readout cosines, farthest from -0.50"]
    assert cosine.value == pytest.approx(0.5)
    assert cosine.verdict is Verdict.NOT_REPRODUCED
    assert by_name["accuracy"].ours == "1.000"
    assert (tmp_path / "figures/categorical-3-gru.png").stat().st_size > 1000
    assert (tmp_path / "figures/variance.png").exists()
    assert "2 labels" in label_claims(_nets.labels(2), counted)[0].what


def test_a_net_is_trained_as_told_and_kept(tmp_path: Path) -> None:
    bench, recipe = Bench(Options(tmp_path)), Recipe(4, 2, 3)
    net = _nets.categorical(3, "ugrnn")
    first, again = (trained(bench, net, recipe) for _ in range(2))
    assert first.arch == "ugrnn"
    assert first.readout.weight.shape == (3, 4)
    assert torch.equal(first.readout.weight, again.readout.weight)
    free = trained(bench, _nets.categorical(3, "ugrnn", penalty=0.0), recipe)
    assert not torch.equal(first.readout.weight, free.readout.weight)


@pytest.mark.slow
def test_the_quick_version_runs_to_its_end(tmp_path: Path) -> None:
    found = reproduce("geometry", Options(tmp_path, quick=True))
    assert len(found.sections) == 6
    assert found.count(Verdict.REPRODUCED) >= 5
    assert len(list((tmp_path / "figures").glob("*.png"))) == 13
