"""Recordings hold what a layer read and where it went, in every form of a call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import captum_dynamics as cd
from captum_dynamics import recording


class Host(nn.Module):
    """A model around one recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer
        self.calls = 0

    def forward(self, inputs: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        return self.rnn(inputs * scale)[0]


class Loop(nn.Module):
    """A cell called once a step."""

    def __init__(self, cell: nn.Module, *, starts_at: Tensor | None = None) -> None:
        super().__init__()
        self.cell, self.starts_at = cell, starts_at

    def forward(self, inputs: Tensor) -> Tensor:
        state = self.starts_at
        for step in range(inputs.shape[1]):
            x = inputs[:, step]
            state = self.cell(x) if state is None else self.cell(x, state)
        return state


class Packing(nn.Module):
    """A model that packs its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True).double()

    def forward(self, inputs: Tensor, lengths: Tensor) -> PackedSequence:
        packed = pack_padded_sequence(
            inputs, lengths, batch_first=True, enforce_sorted=False
        )
        return self.rnn(packed)[0]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recorded_states_are_those_of_the_layer(
    kind: type[nn.RNNBase], batch_first: bool
) -> None:
    layer = kind(3, 4, batch_first=batch_first).double()
    inputs = random(2, 7, 3)
    given = inputs if batch_first else inputs.transpose(0, 1)
    runs = cd.record(Host(layer), "rnn", given)
    outputs, _ = layer(given)
    wanted = outputs if batch_first else outputs.transpose(0, 1)
    assert torch.allclose(runs.states[..., :4], wanted, atol=1e-12)
    assert torch.equal(runs.inputs, inputs)
    assert runs.lengths.tolist() == [7, 7]
    assert not runs.initial_states.any()
    assert runs.valid.all()


def test_every_layer_of_a_stack_and_the_cells_of_an_lstm_are_recorded() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, batch_first=True).double()
    inputs = random(2, 5, 3)
    runs = cd.record(layer, None, inputs)
    _, (h, c) = layer(inputs)
    wanted = torch.cat([h[0], c[0], h[1], c[1]], dim=1)
    assert torch.allclose(runs.final_states, wanted, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_one_layer_of_a_stack_reads_the_layer_below(
    kind: type[nn.RNNBase], level: int
) -> None:
    # Widths are equal: nothing but the values tells the layers' inputs apart.
    layer = kind(4, 4, num_layers=3, batch_first=True).double()
    inputs, state = random(2, 5, 4), (random(3, 2, 4), random(3, 2, 4))
    given = state if kind is nn.LSTM else state[0]
    joint = cd.record(layer, None, (inputs, given))
    alone = cd.adapt(layer, layer_index=level)
    runs = cd.record(layer, None, (inputs, given), dynamics=alone)
    names = [name for name in cd.adapt(layer).layout.names if name.endswith(str(level))]
    parts = cd.adapt(layer).layout.split(joint.states)
    wanted = torch.cat([parts[name] for name in names], dim=-1)
    assert torch.allclose(runs.states, wanted, atol=1e-12)
    with pytest.raises(ValueError, match=f"got that of layer {level} alone"):
        alone.calls.replace_inputs(inputs, (inputs,), {})


def test_a_recording_is_in_double_precision_whatever_the_model() -> None:
    runs = cd.record(Host(nn.GRU(3, 4)), None, torch.randn(2, 5, 3))
    assert runs.states.dtype == runs.inputs.dtype == torch.float64


@pytest.mark.parametrize("how", ["lengths", "mask"])
def test_padding_is_told_by_lengths_or_a_mask(how: str) -> None:
    layer, inputs = nn.GRU(3, 4, batch_first=True).double(), random(3, 6, 3)
    lengths = torch.tensor([2, 6, 1])
    mask = torch.arange(6) < lengths[:, None]
    said = {"lengths": lengths} if how == "lengths" else {"mask": mask}
    runs = cd.record(layer, None, inputs, **said)
    assert torch.equal(runs.valid, mask)
    for row, length in enumerate(lengths.tolist()):
        _, last = layer(inputs[row : row + 1, :length])
        assert torch.allclose(runs.final_states[row], last[0, 0], atol=1e-12)
    wanted = inputs[mask].mean(0, keepdim=True)
    assert torch.allclose(cd.mean_input(runs), wanted)


def test_a_packed_batch_brings_its_own_lengths() -> None:
    model, inputs = Packing(), random(3, 6, 3)
    lengths = torch.tensor([2, 6, 3])
    runs = cd.record(model, "rnn", (inputs, lengths))
    assert runs.lengths.tolist() == [2, 6, 3]
    for row, length in enumerate(lengths.tolist()):
        _, (h, c) = model.rnn(inputs[row : row + 1, :length])
        wanted = torch.cat([h[0, 0], c[0, 0]])
        assert torch.allclose(runs.final_states[row], wanted, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_cell_in_a_loop_is_one_sequence(kind: type[nn.RNNCellBase]) -> None:
    cell, inputs = kind(3, 4).double(), random(2, 5, 3)
    model = Loop(cell)
    runs = cd.record(model, "cell", inputs)
    state = model(inputs)
    last = torch.cat(state, dim=1) if isinstance(state, tuple) else state
    assert torch.allclose(runs.final_states, last, atol=1e-12)
    assert torch.equal(runs.inputs, inputs)
    assert runs.lengths.tolist() == [5, 5]


def test_the_first_state_of_a_loop_is_kept() -> None:
    start = random(2, 4)
    model = Loop(nn.GRUCell(3, 4).double(), starts_at=start)
    runs = cd.record(model, "cell", random(2, 5, 3))
    assert torch.equal(runs.initial_states, start)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_splitting_a_batch_changes_nothing(size: int) -> None:
    host, inputs = Host(nn.GRU(3, 4, batch_first=True).double()), random(7, 5, 3)
    whole = cd.record(host, "rnn", inputs)
    host.calls = 0
    parts = cd.record(host, "rnn", inputs, batch_size=size)
    cuts_to_learn_the_order = 2 if size < 7 else 0
    assert host.calls == -(-7 // size) + cuts_to_learn_the_order
    assert torch.allclose(parts.states, whole.states, atol=1e-12)
    assert torch.equal(parts.inputs, whole.inputs)


def test_parts_of_different_lengths_are_padded() -> None:
    inputs, lengths = random(4, 6, 3), torch.tensor([2, 3, 6, 1])
    model = Packing()
    whole = cd.record(model, "rnn", (inputs, lengths))
    parts = cd.record(model, "rnn", (inputs, lengths), batch_size=2)
    assert torch.equal(parts.lengths, lengths)
    assert torch.allclose(parts.states[parts.valid], whole.states[whole.valid])


def test_inputs_may_be_named_and_values_without_rows_go_to_every_part() -> None:
    host, inputs = Host(nn.GRU(3, 4, batch_first=True).double()), random(4, 5, 3)
    named = {"inputs": inputs, "scale": 2.0}
    for size in (None, 3):
        runs = cd.record(host, "rnn", named, batch_size=size)
        assert torch.equal(runs.inputs, 2 * inputs)
    by_position = cd.record(host, "rnn", (inputs, 2.0), batch_size=3)
    assert torch.equal(by_position.inputs, 2 * inputs)


def hooks(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()
    )


def test_recording_leaves_the_model_as_it_was() -> None:
    host = Host(nn.GRU(3, 4)).train()
    before = {name: value.clone() for name, value in host.state_dict().items()}
    cd.record(host, "rnn", torch.randn(5, 2, 3))
    assert host.training
    assert hooks(host) == 0
    for name, value in host.named_parameters():
        assert torch.equal(value, before[name])
        assert value.requires_grad
        assert value.grad is None


def test_hooks_are_removed_after_an_exception() -> None:
    host = Host(nn.GRU(3, 4))
    with pytest.raises(RuntimeError):
        cd.record(host, "rnn", torch.randn(5, 2, 9))
    assert hooks(host) == 0

    class Failing(Host):
        def forward(self, inputs: Tensor, scale: float = 1.0) -> Tensor:
            super().forward(inputs, scale)
            raise ArithmeticError("after the layer")

    failing = Failing(nn.GRU(3, 4))
    with pytest.raises(ArithmeticError, match="after the layer"):
        cd.record(failing, "rnn", torch.randn(5, 2, 3))
    assert hooks(failing) == 0


def test_active_dropout_is_refused_and_idle_dropout_is_not() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.GRU(3, 4))
    with pytest.raises(ValueError, match=r"0 has p=0.5 in training mode.*model.eval"):
        cd.record(model, "1", torch.randn(5, 2, 3))
    assert cd.record(model.eval(), "1", torch.randn(5, 2, 3)).states.shape == (2, 5, 4)


def test_a_layer_that_is_never_called_is_refused() -> None:
    model = nn.ModuleDict({"used": nn.GRU(3, 4), "idle": nn.GRU(3, 4)})
    model.forward = model["used"].forward  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="call its recurrent layer; it never did"):
        cd.record(model, "idle", torch.randn(5, 2, 3))


def test_a_layer_called_twice_is_refused() -> None:
    class Twice(Host):
        def forward(self, inputs: Tensor, scale: float = 1.0) -> Tensor:
            return super().forward(inputs) + super().forward(inputs * scale)

    with pytest.raises(ValueError, match=r"Expected one call.*got 2"):
        cd.record(Twice(nn.GRU(3, 4)), "rnn", torch.randn(5, 2, 3))


@pytest.mark.parametrize(
    ("inputs", "settings", "complaint"),
    [
        ((0, 5, 3), {}, "at least one row"),
        ((0, 5, 3), {"batch_size": 2}, "`inputs` to have at least one row"),
        ((2, 5, 3), {"batch_size": 0}, "`batch_size` to be positive"),
        ((2, 5, 3), {"lengths": torch.tensor([0, 5])}, "`lengths` between 1 and 5"),
        ((2, 5, 3), {"lengths": torch.tensor([6, 5])}, "`lengths` between 1 and 5"),
        ((2, 5, 3), {"lengths": torch.tensor([5])}, "`lengths` to hold 2 whole"),
        ((2, 5, 3), {"mask": torch.ones(2, 4)}, r"`mask` to have shape \(2, 5\)"),
        (
            (2, 5, 3),
            {"mask": torch.tensor([[0, 1, 1, 1, 1]] * 2)},
            "`mask` to have its padding last",
        ),
        (
            (2, 5, 3),
            {"mask": torch.ones(2, 5), "lengths": torch.tensor([5, 5])},
            "`lengths` or `mask`, got both",
        ),
    ],
)
def test_batches_that_make_no_sense_are_refused(
    inputs: tuple[int, ...], settings: dict[str, object], complaint: str
) -> None:
    # A model that survives an empty batch; torch's own layers do not.
    cell = nn.GRUCell(3, 4)
    with pytest.raises(ValueError, match=complaint):
        cd.record(Loop(cell), "cell", torch.randn(inputs), **settings)


def test_a_sequence_of_no_steps_is_refused() -> None:
    dynamics = cd.FunctionAdapter(
        lambda h, x: h + x, 1, 1, calls=cd.adapters.SequenceCalls(nn.GRU(1, 1))
    )
    model = nn.Identity()
    with pytest.raises(ValueError, match="at least one step, got length 0"):
        cd.record(model, model, torch.zeros(0, 2, 1), dynamics=dynamics)


def test_an_adapter_of_another_layer_is_refused() -> None:
    host = Host(nn.GRU(3, 4))
    with pytest.raises(ValueError, match="inputs to have 5 columns, got 3"):
        cd.record(host, "rnn", torch.randn(5, 2, 3), dynamics=cd.adapt(nn.GRU(5, 4)))


def test_inputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="`inputs` to be finite"):
        cd.record(Host(nn.GRU(3, 4)), "rnn", torch.full((5, 2, 3), torch.nan))


def test_sampled_states_are_visited_ones_without_repetition_while_they_last() -> None:
    layer = nn.GRU(3, 4, batch_first=True).double()
    runs = cd.record(layer, None, random(3, 6, 3), lengths=torch.tensor([2, 6, 1]))
    visited = runs.states[runs.valid]
    drawn = runs.sample_states(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sort(0).values, visited.sort(0).values)
    more = runs.sample_states(20, generator=torch.Generator().manual_seed(0))
    assert torch.cdist(more, visited).amin(1).max() == 0
    assert len(torch.unique(more, dim=0)) == 9
    with pytest.raises(ValueError, match="`n` to be positive"):
        runs.sample_states(0)


def test_the_same_generator_draws_the_same_states_and_spares_the_global_one() -> None:
    runs = cd.record(nn.GRU(3, 4), None, torch.randn(8, 5, 3))
    before = torch.get_rng_state()
    one, again, other = (
        runs.sample_states(6, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_model_writes_into_its_tensors_later_changes_no_recording() -> None:
    class Scribbling(Loop):
        def forward(self, inputs: Tensor) -> Tensor:
            buffer, state = torch.empty(2, 3).double(), None
            for step in range(inputs.shape[1]):
                buffer.copy_(inputs[:, step])
                state = self.cell(buffer, state)
            return state

    inputs, cell = random(2, 5, 3), nn.GRUCell(3, 4).double()
    runs = cd.record(Scribbling(cell), "cell", inputs)
    assert torch.equal(runs.inputs, inputs)
    assert torch.equal(
        runs.final_states, cd.record(Loop(cell), "cell", inputs).final_states
    )


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTMCell])
def test_arguments_of_a_cell_may_be_named_in_any_order(kind: type[nn.Module]) -> None:
    class Named(Loop):
        def forward(self, inputs: Tensor) -> Tensor:
            state = None
            for step in range(inputs.shape[1]):
                state = self.cell(hx=state, input=inputs[:, step])
            return state

    inputs, cell = random(2, 5, 3), kind(3, 4).double()
    named, plain = (cd.record(m(cell), "cell", inputs) for m in (Named, Loop))
    assert torch.equal(named.states, plain.states)
    assert torch.equal(named.inputs, inputs)


class Masked(Loop):
    """A loop that keeps the state of a sequence where its padding begins."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        state = inputs.new_zeros(len(inputs), 4)
        for step in range(inputs.shape[1]):
            new = self.cell(inputs[:, step], state)
            state = torch.where((step < lengths)[:, None], new, state)
        return state


def test_a_loop_that_keeps_states_of_padding_needs_its_lengths() -> None:
    model, inputs = Masked(nn.GRUCell(3, 4).double()), random(3, 6, 3)
    lengths = torch.tensor([6, 2, 4])
    with pytest.raises(ValueError, match=r"sequence 1 call 3 gets another.*`lengths`"):
        cd.record(model, "cell", (inputs, lengths))
    runs = cd.record(model, "cell", (inputs, lengths), lengths=lengths)
    assert torch.allclose(runs.final_states, model(inputs, lengths), atol=1e-12)
    parts = cd.record(model, "cell", (inputs, lengths), lengths=lengths, batch_size=2)
    assert torch.allclose(parts.final_states, runs.final_states, atol=1e-12)


def test_a_cell_of_two_passes_is_refused() -> None:
    class Twice(Loop):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + super().forward(inputs.flip(1))

    model = Twice(nn.GRUCell(3, 4).double())
    with pytest.raises(ValueError, match="sequence 0 call 5 gets another"):
        cd.record(model, "cell", random(2, 5, 3))


class Doubled(nn.GRU):
    """A subclass that computes something else."""

    def forward(self, *args: Tensor) -> tuple[Tensor, Tensor]:
        outputs, last = super().forward(*args)
        return 2 * outputs, last


class DoubledCell(nn.GRUCell):
    """A subclass that computes something else, at its last and only step too."""

    def forward(self, *args: Tensor) -> Tensor:
        return 2 * super().forward(*args)


@pytest.mark.parametrize(
    ("model", "layer"), [(Doubled(3, 4), None), (Loop(DoubledCell(3, 4)), "cell")]
)
def test_states_that_are_not_those_of_the_output_are_noticed(
    model: nn.Module, layer: str | None
) -> None:
    with pytest.warns(cd.RecordingWarning, match="differ from the layer's own output"):
        cd.record(model, layer, torch.randn(2, 1, 3))


def test_dropout_between_layers_is_refused_whatever_the_adapter() -> None:
    layer = nn.GRU(3, 4, num_layers=2, dropout=0.5)
    dynamics = cd.adapt(layer.eval())
    with pytest.raises(ValueError, match=r"p=0.5 in training mode"):
        cd.record(layer.train(), None, torch.randn(5, 2, 3), dynamics=dynamics)


def test_running_statistics_are_not_updated_behind_the_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(5), nn.GRU(3, 4, batch_first=True))
    with pytest.raises(ValueError, match="0 updates its running statistics"):
        cd.record(model, "1", torch.randn(2, 5, 3))
    assert int(model[0].num_batches_tracked) == 0
    assert len(cd.record(model.eval(), "1", torch.randn(2, 5, 3)).states) == 2


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_a_time_first_model_is_not_cut_into_batches(steps: int) -> None:
    model = nn.GRU(3, 4)
    with pytest.raises(ValueError, match="leave `batch_size` out"):
        cd.record(model, None, torch.randn(steps, 2, 3), batch_size=2)


def test_an_initial_state_given_as_a_list_is_read() -> None:
    layer, inputs = nn.LSTM(3, 4, batch_first=True).double(), random(2, 5, 3)
    start = [random(1, 2, 4), random(1, 2, 4)]
    runs = cd.record(layer, None, (inputs, start))
    assert torch.equal(runs.initial_states, torch.cat(start, dim=-1)[0])


def test_lengths_and_masks_may_be_lists() -> None:
    layer, inputs = nn.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    assert cd.record(layer, None, inputs, lengths=[5, 2]).lengths.tolist() == [5, 2]
    mask = [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert cd.record(layer, None, inputs, mask=mask).lengths.tolist() == [5, 2]


def test_calls_that_the_adapter_makes_of_a_live_cell_are_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = nn.GRUCell(3, 4).double()
    dynamics = cd.FunctionAdapter(lambda h, x: cell(x, h), 4, 3)
    counts = []
    whole = recording.find_breaks
    monkeypatch.setattr(
        recording,
        "find_breaks",
        lambda adapter, calls: counts.append(len(calls)) or whole(adapter, calls),
    )
    cd.record(nn.Sequential(cell), cell, torch.ones(2, 3).double(), dynamics=dynamics)
    assert counts == [1]
