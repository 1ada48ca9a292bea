"""The whole chain on small real networks, and what it refuses."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients, Saliency
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.analysis import Analysis


class Reader(nn.Module):
    """Embedded sequences in, one or more numbers from the last state out."""

    def __init__(self, cell: type[nn.RNNBase] = nn.GRU, outputs: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.dropout = nn.Dropout(0.5)
            self.rnn = cell(4, 6, batch_first=True)
            self.readout = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(self.dropout(x))[0][:, -1])


def sequences(rows: int = 24, steps: int = 12) -> Tensor:
    return torch.randn(rows, steps, 4, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def result() -> Analysis:
    names = [f"w{row}" for row in range(30)]
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(30, 4, generator=generator)
    return cd.analyze(
        Reader().eval(),
        "rnn",
        sequences(),
        compare=[IntegratedGradients, Saliency],
        words=cd.NamedInputs(names, vectors, vectors[:, 0]),
        explained=3,
        starts=32,
    )


def test_fixed_point_of_an_untrained_network_is_found_and_attracts(
    result: Analysis,
) -> None:
    assert result.linearization.unstable_dims.tolist() == [0]
    assert float(result.points.residual_norms.max()) < 1e-12
    assert int(result.points.multiplicity) == 64


def test_contributions_sum_to_the_change_of_the_output(result: Analysis) -> None:
    documents = result.documents
    ours = documents.explanations[0]
    change = documents.outputs - documents.baseline_outputs
    torch.testing.assert_close(ours.contributions.sum(1), change, atol=1e-6, rtol=0)
    assert float(ours.deltas.abs().max()) < 1e-6


def test_captum_stands_beside_ours_in_the_same_space(result: Analysis) -> None:
    methods = [e.method for e in result.documents.explanations]
    assert methods == ["DynamicsAttribution", "IntegratedGradients", "Saliency"]
    shapes = {tuple(e.contributions.shape) for e in result.documents.explanations}
    assert shapes == {(3, 12)}
    assert result.documents.agreement(1) > 0.99
    assert bool(result.documents.explanations[2].deltas.isnan().all())


def test_same_seed_gives_the_same_numbers_and_leaves_the_global_one() -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    runs = [
        cd.analyze(Reader().eval(), "rnn", sequences(), starts=16, explained=1)
        for _ in range(2)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(runs[0].points.states, runs[1].points.states)
    assert torch.equal(runs[0].visits.plane, runs[1].visits.plane)


def test_save_and_load_is_the_identity(result: Analysis, tmp_path: Path) -> None:
    loaded = cd.load(result.save(tmp_path / "run"))
    assert loaded.summary() == result.summary()
    assert torch.equal(loaded.linearization.jacobians, result.linearization.jacobians)
    assert torch.equal(
        loaded.documents.explanations[0].contributions,
        result.documents.explanations[0].contributions,
    )
    assert set(loaded.graph.graph.edges) == set(result.graph.graph.edges)


def test_model_is_left_as_it_was() -> None:
    model = Reader().eval()
    before = copy.deepcopy(model.state_dict())
    cd.analyze(model, "rnn", sequences(), starts=16, explained=1)
    assert not model.training
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM])
def test_other_cells_go_through_the_same_chain(cell: type[nn.RNNBase]) -> None:
    model = Reader(cell).eval()
    result = cd.analyze(model, None, sequences(), starts=16, explained=2)
    assert float(result.documents.explanations[0].deltas.abs().max()) < 1e-6
    assert result.setting.layer == cell.__name__


def test_a_layer_whose_weights_are_computed_has_no_untrained_twin() -> None:
    model = Reader(nn.RNN).eval()
    nn.utils.parametrizations.orthogonal(model.rnn, "weight_hh_l0")
    result = cd.analyze(model, "rnn", sequences(), starts=16, explained=2)
    assert len(result.visits.untrained_variance) == 0
    assert "untrained" not in result.summary()


def test_feature_ablation_needs_no_gradient_of_ours() -> None:
    result = cd.analyze(
        Reader().eval(),
        "rnn",
        sequences(steps=4),
        compare=[FeatureAblation],
        starts=16,
        explained=2,
    )
    assert result.documents.explanations[1].method == "FeatureAblation"


def test_inputs_may_be_named_or_several() -> None:
    class Two(Reader):
        def forward(self, x: Tensor, gain: Tensor) -> Tensor:
            return gain * super().forward(x)

    model, x, gain = Two().eval(), sequences(), torch.full((24, 1), 2.0)
    by_place = cd.analyze(model, "rnn", (x, gain), starts=16, explained=2)
    by_name = cd.analyze(model, "rnn", {"gain": gain, "x": x}, starts=16, explained=2)
    assert torch.equal(by_place.documents.outputs, by_name.documents.outputs)


def test_lengths_keep_padding_out_of_the_visited_states() -> None:
    lengths = torch.full((24,), 5)
    result = cd.analyze(
        Reader().eval(), "rnn", sequences(), lengths=lengths, starts=16, explained=1
    )
    assert result.setting.steps == 24 * 5
    assert int(result.documents.valid.sum()) == 5


def test_output_of_several_columns_needs_a_target() -> None:
    model = Reader(outputs=3).eval()
    with pytest.raises(ValueError, match="`target` between 0 and 2"):
        cd.analyze(model, "rnn", sequences(), starts=16)
    result = cd.analyze(model, "rnn", sequences(), target=2, starts=16, explained=2)
    expected = model(sequences())[:2, 2].double()
    torch.testing.assert_close(result.documents.outputs, expected.detach())


def test_active_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"active dropout.*model\.eval"):
        cd.analyze(Reader().train(), "rnn", sequences())


def test_missing_layer_lists_those_there_are() -> None:
    with pytest.raises(cd.LayerNotFoundError, match=r"'rnn' \(GRU\)"):
        cd.analyze(Reader().eval(), "encoder", sequences())


def test_nothing_but_failing_searches_still_gives_a_result(tmp_path: Path) -> None:
    class Drift(nn.RNN):
        """A counter: no state of it rests."""

    model = Reader().eval()
    model.rnn = Drift(4, 6, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(torch.eye(6))
        model.rnn.weight_ih_l0.zero_()
        model.rnn.bias_ih_l0.fill_(1.0)
        model.rnn.bias_hh_l0.zero_()
    with (
        pytest.warns(cd.ConvergenceWarning, match="None of 32 searches"),
        pytest.warns(cd.AttributionWarning, match="All contributions are zero"),
    ):
        result = cd.analyze(model, "rnn", sequences(), starts=16, explained=1)
    assert "none found" in result.summary()
    assert (len(result.points), len(result.manifold)) == (10, 0)
    assert cd.load(result.save(tmp_path / "run")).summary() == result.summary()


def test_loading_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(cd.FileFormatError, match=r"other\.npz"):
        cd.load(tmp_path / "other.npz")
