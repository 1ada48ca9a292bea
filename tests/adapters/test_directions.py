"""Each direction of a bidirectional layer is a system of its own, in its own time."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import captum_dynamics as cd
from captum_dynamics.adapters._registry import adapt_whole
from captum_dynamics.testing import check_adapter

LAYERS = {
    "tanh": lambda **s: nn.RNN(3, 5, nonlinearity="tanh", **s),
    "relu": lambda **s: nn.RNN(3, 5, nonlinearity="relu", **s),
    "gru": lambda **s: nn.GRU(3, 5, **s),
    "lstm": lambda **s: nn.LSTM(3, 5, **s),
    "projected": lambda **s: nn.LSTM(3, 5, proj_size=2, **s),
}
WAYS = ["forward", "backward"]
SYSTEMS = [*product([0, 1], WAYS)]


def two_way(name: str, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    torch.manual_seed(5)
    return LAYERS[name](bidirectional=True, **settings).to(dtype)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def alone(layer: nn.RNNBase, index: int, way: str) -> nn.RNNBase:
    """A layer of torch that holds the weights of one level and direction only."""
    suffix = f"_l{index}" + ("_reverse" if way == "backward" else "")
    weights = {
        name.replace(suffix, "_l0"): value
        for name, value in layer.state_dict().items()
        if name.endswith(suffix)
    }
    width = weights["weight_ih_l0"].shape[1]
    settings = {"nonlinearity": layer.nonlinearity} if type(layer) is nn.RNN else {}
    if layer.proj_size:
        settings["proj_size"] = layer.proj_size
    single = type(layer)(width, layer.hidden_size, batch_first=True, **settings)
    single.load_state_dict(weights)
    return single.to(next(layer.parameters()).dtype)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize(
    ("layers", "dtype"), [(1, torch.float32), (2, torch.float64)], ids=str
)
@pytest.mark.parametrize("name", LAYERS)
def test_every_level_and_direction_is_its_adapter(
    name: str, layers: int, dtype: torch.dtype
) -> None:
    layer = two_way(name, dtype, num_layers=layers, batch_first=layers == 1)
    for level, way in product(range(layers), WAYS):
        adapter = cd.adapt(layer, layer_index=level, direction=way)
        report = check_adapter(adapter, layer, random(4, 9, 3, dtype=dtype))
        assert report.passed, report.table()


def test_one_level_of_a_stack_in_one_direction_is_checked_too() -> None:
    stack = nn.LSTM(3, 5, num_layers=3).double()
    for level in range(3):
        adapter = cd.adapt(stack, layer_index=level)
        report = check_adapter(adapter, stack, random(4, 9, 3))
        assert report.passed, report.table()


def test_a_direction_with_the_weights_of_the_other_is_told_from_its_layer() -> None:
    layer = two_way("gru")
    wrong = two_way("gru")
    forward = {k: v for k, v in layer.state_dict().items() if "reverse" not in k}
    swapped = {f"{name}_reverse": value for name, value in forward.items()}
    wrong.load_state_dict(forward | swapped)
    report = check_adapter(
        cd.adapt(wrong, direction="backward"), layer, random(4, 9, 3)
    )
    failed = {row.name for row in report.rows if not row.ok}
    assert failed == {
        "one step is the layer's",
        "a sequence is the layer's",
        "row 0 of a batch is the layer's alone",
        "row 1 of a batch is the layer's alone",
    }


@pytest.mark.parametrize(("level", "way"), SYSTEMS)
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_direction_runs_in_its_own_order(name: str, level: int, way: str) -> None:
    layer = two_way(name, num_layers=2, batch_first=True)
    x = random(3, 6, 3)
    dynamics = cd.adapt(layer, layer_index=level, direction=way)
    runs = cd.record(layer, None, x, dynamics=dynamics)
    below = x
    if level == 1:
        pair = [alone(layer, 0, w) for w in WAYS]
        backward = pair[1](x.flip(1))[0].flip(1)
        below = torch.cat([pair[0](x)[0], backward], dim=-1)
    read = below.flip(1) if way == "backward" else below
    torch.testing.assert_close(runs.inputs, read)
    torch.testing.assert_close(runs.states[..., :5], alone(layer, level, way)(read)[0])
    assert dynamics.input_dim == read.shape[2]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["tanh", "lstm"])
def test_packed_rows_begin_at_their_own_last_step(name: str, way: str) -> None:
    layer = two_way(name, num_layers=2)
    x, lengths = random(4, 7, 3), torch.tensor([2, 7, 1, 5])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    hx = random(4, 4, 5), random(4, 4, 5).flip(0)
    given = hx if name == "lstm" else hx[0]
    dynamics = cd.adapt(layer, layer_index=1, direction=way)
    runs = cd.record(layer, None, (packed, given), dynamics=dynamics)
    assert runs.lengths.tolist() == lengths.tolist()
    place = 2 + WAYS.index(way)
    for row, length in enumerate(lengths.tolist()):
        own = [part[:, row : row + 1].contiguous() for part in hx]
        outputs, last = layer(
            x[row, :length, None], tuple(own) if name == "lstm" else own[0]
        )
        states = outputs[:, 0, :5] if way == "forward" else outputs[:, 0, 5:].flip(0)
        torch.testing.assert_close(runs.states[row, :length, :5], states)
        h_n = last[0] if name == "lstm" else last
        torch.testing.assert_close(runs.final_states[row, :5], h_n[place, 0])
        torch.testing.assert_close(runs.initial_states[row, :5], own[0][place, 0])


@pytest.mark.parametrize("said", ["lengths", "mask"])
def test_padding_comes_first_where_a_padded_layer_reads_backwards(said: str) -> None:
    layer, x = two_way("gru", batch_first=True), random(3, 6, 3)
    lengths = torch.tensor([2, 6, 1])
    mask = torch.arange(6) < lengths[:, None]
    given = {"lengths": lengths} if said == "lengths" else {"mask": mask}
    dynamics = cd.adapt(layer, direction="backward")
    runs = cd.record(layer, None, x, dynamics=dynamics, **given)
    whole = layer(x)[0][..., 5:]
    assert torch.equal(runs.valid, mask)
    for row, length in enumerate(lengths.tolist()):
        states = whole[row, :length].flip(0)
        torch.testing.assert_close(runs.states[row, :length], states)
        torch.testing.assert_close(runs.inputs[row, :length], x[row, :length].flip(0))
        after = whole[row, length] if length < 6 else torch.zeros(5).double()
        torch.testing.assert_close(runs.initial_states[row], after)
    torch.testing.assert_close(cd.mean_input(runs), x[mask].mean(0, keepdim=True))


def test_recording_in_batches_gives_the_same() -> None:
    layer, x = two_way("lstm", batch_first=True), random(5, 4, 3)
    dynamics = cd.adapt(layer, direction="backward")
    whole = cd.record(layer, None, x, dynamics=dynamics)
    parts = cd.record(layer, None, x, dynamics=dynamics, batch_size=2)
    torch.testing.assert_close(parts.states, whole.states)


def test_an_unbatched_call_is_read() -> None:
    layer, x = two_way("lstm"), random(6, 3)
    dynamics = cd.adapt(layer, direction="backward")
    runs = cd.record(layer, None, x, dynamics=dynamics)
    torch.testing.assert_close(runs.states[0, :, :5], layer(x)[0][:, 5:].flip(0))


def test_the_whole_chain_runs_on_each_direction() -> None:
    layer = two_way("tanh", batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.1)
        # One unit that remembers a sign, backwards alone: two ends and a saddle.
        layer.weight_hh_l0_reverse[0] = torch.tensor([2.0, 0, 0, 0, 0])
        layer.bias_hh_l0_reverse[0] = layer.bias_ih_l0_reverse[0] = 0.0
    found = {}
    for way in WAYS:
        dynamics = cd.adapt(layer, direction=way)
        runs = cd.record(layer, None, random(6, 8, 3), dynamics=dynamics)
        points = cd.find_fixed_points(
            dynamics, runs.sample_states(20), torch.zeros(1, 3), extra_starts=20
        ).unique()
        linear = cd.linearize(dynamics, points)
        graph = cd.connect(dynamics, linear, generator=torch.Generator())
        found[way] = sorted(linear.unstable_dims.tolist()), len(graph.graph.edges)
    assert found == {"forward": ([0], 0), "backward": ([0, 0, 1], 2)}


@pytest.mark.parametrize(
    ("column", "step", "reached"),
    [(0, 2, [0, 1, 2]), (5, 2, [2, 3]), (10, 2, [0, 1, 2, 3]), (15, 2, [0, 1, 2, 3])],
    ids=["forward", "backward", "above", "above, backward"],
)
def test_what_reaches_a_state_is_told_level_by_level(
    column: int, step: int, reached: list[int]
) -> None:
    whole = adapt_whole(two_way("gru", num_layers=2))
    read = torch.zeros(1, 4, 20, dtype=torch.bool)
    read[0, step, column] = True
    assert torch.nonzero(whole.reaching(read)[0])[:, 0].tolist() == reached


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_bidirectional_layer_needs_a_direction(layer: type[nn.RNNBase]) -> None:
    given = layer(3, 2, bidirectional=True)
    with pytest.raises(cd.UnsupportedLayerError, match=r"direction=.forward"):
        cd.adapt(given)
    with pytest.raises(cd.UnsupportedLayerError, match="bidirectional"):
        cd.record(given, None, torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"`direction` to be .forward. or .backward."):
        cd.adapt(given, direction="both")


def test_a_bidirectional_stack_needs_a_level() -> None:
    layer = two_way("gru", num_layers=2)
    with pytest.raises(ValueError, match="`layer_index` between 0 and 1 beside"):
        cd.adapt(layer, direction="forward")
    with pytest.raises(ValueError, match="`layer_index` between 0 and 1, got 2"):
        cd.adapt(layer, direction="forward", layer_index=2)


def test_what_has_one_direction_takes_none() -> None:
    for layer in (nn.GRU(3, 2), nn.GRUCell(3, 2)):
        with pytest.raises(ValueError, match="Expected no `direction` for GRU"):
            cd.adapt(layer, direction="forward")


def test_a_direction_is_not_called_from_outside() -> None:
    adapter = cd.adapt(two_way("gru"), direction="backward")
    with pytest.raises(ValueError, match="layer 0 alone, backward"):
        adapter.calls.replace_inputs(random(1, 2, 3), (random(2, 1, 3),), {})
