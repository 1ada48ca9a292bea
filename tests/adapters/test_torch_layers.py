"""Every torch adapter is its layer: outputs, derivatives, forms of a call."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import captum_dynamics as cd
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.testing import check_adapter

SEQUENCE_LAYERS = {
    "tanh": lambda **s: nn.RNN(3, 5, nonlinearity="tanh", **s),
    "relu": lambda **s: nn.RNN(3, 5, nonlinearity="relu", **s),
    "gru": lambda **s: nn.GRU(3, 5, **s),
    "lstm": lambda **s: nn.LSTM(3, 5, **s),
}
CELLS = {
    "tanh cell": lambda **s: nn.RNNCell(3, 5, nonlinearity="tanh", **s),
    "relu cell": lambda **s: nn.RNNCell(3, 5, nonlinearity="relu", **s),
    "gru cell": lambda **s: nn.GRUCell(3, 5, **s),
    "lstm cell": lambda **s: nn.LSTMCell(3, 5, **s),
}
BOTH = [torch.float32, torch.float64]


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def assert_faithful(layer: nn.Module, inputs: Tensor) -> None:
    report = check_adapter(cd.adapt(layer), layer, inputs)
    assert report.passed, report.table()


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize(
    ("name", "layers", "bias", "batch_first"),
    [*product(SEQUENCE_LAYERS, [1, 2, 3], [True, False], [True, False])],
)
def test_a_sequence_layer_is_its_adapter(
    name: str, layers: int, bias: bool, batch_first: bool, dtype: torch.dtype
) -> None:
    layer = SEQUENCE_LAYERS[name](num_layers=layers, bias=bias, batch_first=batch_first)
    assert_faithful(layer.to(dtype), random(4, 9, 3, dtype=dtype))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_with_a_projection_is_its_adapter(
    layers: int, bias: bool, dtype: torch.dtype
) -> None:
    layer = nn.LSTM(3, 5, layers, proj_size=2, bias=bias).to(dtype)
    assert_faithful(layer, random(4, 9, 3, dtype=dtype))
    assert cd.adapt(layer).state_dim == layers * (2 + 5)


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize(("name", "bias"), [*product(CELLS, [True, False])])
def test_a_cell_in_a_loop_is_its_adapter(
    name: str, bias: bool, dtype: torch.dtype
) -> None:
    assert_faithful(CELLS[name](bias=bias).to(dtype), random(4, 9, 3, dtype=dtype))


@pytest.mark.parametrize(("name", "index"), [*product(SEQUENCE_LAYERS, [0, 1, 2])])
def test_one_layer_of_a_stack_is_a_layer_with_its_weights(
    name: str, index: int
) -> None:
    stack = SEQUENCE_LAYERS[name](num_layers=3).double()
    width = 3 if index == 0 else 5
    alone = type(stack)(width, 5, **_nonlinearity(stack)).double()
    suffix = f"_l{index}"
    weights = {k: v for k, v in stack.state_dict().items() if k.endswith(suffix)}
    alone.load_state_dict({k.replace(suffix, "_l0"): v for k, v in weights.items()})
    single = cd.adapt(stack, layer_index=index)
    h, x = random(6, single.state_dim), random(6, width)
    assert torch.equal(single.step(h, x), cd.adapt(alone).step(h, x))


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_a_joint_map_is_its_layers_one_above_the_other(name: str) -> None:
    stack = SEQUENCE_LAYERS[name](num_layers=2).double()
    joint = cd.adapt(stack)
    below, above = (cd.adapt(stack, layer_index=index) for index in (0, 1))
    h, x = random(4, joint.state_dim), random(4, 3)
    old = h.split([below.state_dim, above.state_dim], dim=1)
    first = below.step(old[0], x)
    second = above.step(old[1], first[:, :5])
    assert torch.allclose(joint.step(h, x), torch.cat([first, second], dim=1))
    # The upper layer does not act back on the lower one.
    corner = joint.jacobians(h, x)[:, : below.state_dim, below.state_dim :]
    assert not corner.any()


def test_a_stack_names_its_blocks_by_layer() -> None:
    assert cd.adapt(nn.LSTM(3, 5, 2)).layout.names == ("h0", "c0", "h1", "c1")
    assert cd.adapt(nn.LSTM(3, 5)).layout.names == ("h", "c")


@pytest.mark.parametrize(("name", "layers"), [*product(SEQUENCE_LAYERS, [1, 2])])
def test_a_given_initial_state_is_read_and_the_last_one_written(
    name: str, layers: int
) -> None:
    layer = SEQUENCE_LAYERS[name](num_layers=layers, batch_first=True).double()
    adapter = cd.adapt(layer)
    hx = random(layers, 4, 5), random(layers, 4, 5)
    given = hx if isinstance(layer, nn.LSTM) else hx[0]
    assert_same_output(layer, adapter, random(4, 6, 3), given)


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_an_unbatched_call_is_read_and_written(name: str) -> None:
    layer = SEQUENCE_LAYERS[name](num_layers=2, batch_first=True).double()
    hx = random(2, 5), random(2, 5)
    given = hx if isinstance(layer, nn.LSTM) else hx[0]
    assert_same_output(layer, cd.adapt(layer), random(6, 3))
    assert_same_output(layer, cd.adapt(layer), random(6, 3), given)


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_packed_sequences_of_unsorted_lengths_are_read_and_written(name: str) -> None:
    layer = SEQUENCE_LAYERS[name](num_layers=2).double()
    lengths = torch.tensor([2, 7, 1, 5])
    packed = pack_padded_sequence(
        random(4, 7, 3), lengths, batch_first=True, enforce_sorted=False
    )
    adapter = cd.adapt(layer)
    hx = random(2, 4, 5), random(2, 4, 5)
    given = hx if isinstance(layer, nn.LSTM) else hx[0]
    call = adapter.calls.read(adapter, (packed, given), {})
    assert call.lengths.tolist() == lengths.tolist()
    output = layer(packed, given)
    states = adapter.rollout(call.initial_states, call.inputs)
    written, last = adapter.calls.write(adapter, states, call, output)
    found, _ = pad_packed_sequence(written, batch_first=True)
    wanted, _ = pad_packed_sequence(output[0], batch_first=True)
    assert torch.allclose(found, wanted, atol=1e-12)
    assert_close_trees(last, output[1])


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_takes_one_unbatched_step(name: str) -> None:
    cell = CELLS[name]().double()
    state = (random(5), random(5)) if isinstance(cell, nn.LSTMCell) else random(5)
    assert_same_output(cell, cd.adapt(cell), random(3))
    assert_same_output(cell, cd.adapt(cell), random(3), state)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_named_arguments_are_read_like_positional_ones(name: str) -> None:
    layer = SEQUENCE_LAYERS[name]().double()
    adapter, inputs = cd.adapt(layer), random(4, 2, 3)
    by_name = adapter.calls.read(adapter, (), {"input": inputs})
    assert torch.equal(by_name.inputs, inputs.transpose(0, 1))
    _, kwargs = adapter.calls.replace_inputs(2 * by_name.inputs, (), {"input": inputs})
    assert torch.equal(kwargs["input"], 2 * inputs)


@pytest.mark.parametrize("name", [*SEQUENCE_LAYERS, *CELLS])
def test_an_adapter_is_a_copy_that_later_training_does_not_change(name: str) -> None:
    layer = {**SEQUENCE_LAYERS, **CELLS}[name]()
    adapter = cd.adapt(layer)
    h, x = random(2, adapter.state_dim), random(2, 3)
    before = adapter.step(h, x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(1)
    assert torch.equal(adapter.step(h, x), before)


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_no_step_leaves_the_invariant_box(name: str, layers: int) -> None:
    layer = SEQUENCE_LAYERS[name](num_layers=layers).double()
    adapter, x = cd.adapt(layer), 3 * random(500, 3)
    box = adapter.invariant_box(x)
    if name == "relu":
        assert box is None
        return
    low, high = box
    inside = low + (high - low) * torch.randint(2, low.shape)
    new = adapter.step(inside, x)
    assert ((new >= low) & (new <= high)).all()


def test_a_projected_lstm_stays_in_its_box() -> None:
    adapter = cd.adapt(nn.LSTM(3, 5, 2, proj_size=2))
    x = 3 * random(500, 3)
    low, high = adapter.invariant_box(x)
    new = adapter.step(low + (high - low) * torch.randint(2, low.shape), x)
    assert ((new >= low) & (new <= high)).all()


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_what_a_gate_hides_shows_in_the_ungated_residual(name: str) -> None:
    layer = SEQUENCE_LAYERS[name]().double()
    with torch.no_grad():
        # The gate that keeps the state is the second block of either.
        layer.bias_ih_l0[5:10] = 40.0
    adapter = cd.adapt(layer)
    h, x = 0.5 * random(3, adapter.state_dim), torch.zeros(3, 3).double()
    if name == "gru":
        assert adapter.residual(h, x).abs().max() < 1e-12
    assert adapter.ungated_residual(h, x).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_ungated_and_plain_residuals_vanish_together(name: str) -> None:
    adapter = cd.adapt(SEQUENCE_LAYERS[name](num_layers=2).double())
    points = cd.find_fixed_points(
        adapter, torch.zeros(1, adapter.state_dim), torch.zeros(1, 3)
    )
    ungated = adapter.ungated_residual(points.states, points.inputs)
    assert points.residual_norms.max() < 1e-10
    assert ungated.abs().max() < 1e-9


def test_a_broken_adapter_is_told_from_its_layer() -> None:
    layer = nn.GRU(3, 5).double()
    wrong = copy.deepcopy(layer)
    with torch.no_grad():
        wrong.weight_hh_l0[0, 0] += 1e-3
    report = check_adapter(cd.adapt(wrong), layer, random(4, 9, 3))
    failed = [row.name for row in report.rows if not row.ok]
    assert failed == [
        "a sequence is the layer's",
        "row 0 of a batch is the layer's alone",
        "row 1 of a batch is the layer's alone",
        "a state is read as the layer left it",
        "a resumed sequence goes on as the whole",
    ]
    assert "FAIL" in report.table()


def test_a_check_that_raises_is_a_failed_claim() -> None:
    layer = nn.GRU(3, 5)
    report = check_adapter(cd.adapt(nn.GRU(4, 5)), layer, torch.randn(2, 4, 3))
    assert not report.passed
    assert "RuntimeError" in report.table()


def assert_same_output(
    layer: nn.Module, adapter: RecurrentAdapter, *args: Tensor | tuple[Tensor, ...]
) -> None:
    """What is written from the adapter's states is what the layer returned."""
    output = layer(*args)
    call = adapter.calls.read(adapter, args, {})
    states = adapter.rollout(call.initial_states, call.inputs)
    assert_close_trees(adapter.calls.write(adapter, states, call, output), output)


def assert_close_trees(found: object, wanted: object) -> None:
    if isinstance(wanted, Tensor):
        assert isinstance(found, Tensor)
        assert found.shape == wanted.shape
        assert found.dtype == wanted.dtype
        assert torch.allclose(found, wanted, atol=1e-12)
        return
    for one, other in zip(found, wanted, strict=True):
        assert_close_trees(one, other)


def _nonlinearity(layer: nn.RNNBase) -> dict[str, str]:
    is_plain = isinstance(layer, nn.RNN)
    return {"nonlinearity": layer.nonlinearity} if is_plain else {}


def test_what_a_stack_gives_out_is_the_output_of_its_last_layer() -> None:
    layer = nn.LSTM(3, 5, 2, proj_size=2).double()
    inputs = torch.randn(4, 3, dtype=torch.float64)
    adapter = cd.adapt(layer)
    states = torch.zeros(4, adapter.state_dim, dtype=torch.float64)
    _, given = adapter.advance(states, inputs)
    assert torch.allclose(given, layer(inputs[None])[0][0])
