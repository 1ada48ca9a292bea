"""LinearizedPropagation: the papers' relevance, conserved through every layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from captum_dynamics import AttributionWarning
from captum_dynamics.attr import (
    AbsoluteShares,
    EqualShares,
    LinearizedPropagation,
    ProductRule,
    ProportionalShares,
    SignalTakesAll,
)
from tests.attr import models, plain_lrp
from tests.attr.models import Reader, gru, projected_lstm, reader, vectors

RULES = {
    "all": SignalTakesAll(),
    "half": EqualShares(),
    "prop": ProportionalShares(),
    "abs": AbsoluteShares(),
}
LENGTHS = torch.tensor([7, 2, 5, 1])


def method(model: Any = None, **settings: Any) -> LinearizedPropagation:
    model = gru() if model is None else model
    return LinearizedPropagation(model, model.rnn, **settings)


def relu(read: Any = models.last, width: int = 6, **settings: Any) -> Reader:
    given = {"batch_first": True, **settings}
    return reader(nn.RNN(3, 6, nonlinearity="relu", **given), read, width)


def without_biases(model: Reader) -> Reader:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.zero_()
    return model


def both_ends(m: Reader, x: Tensor) -> Tensor:
    states = m.rnn(x)[0]
    return m.head(torch.cat([states[:, -1, :6], states[:, 0, 6:]], dim=-1))


def hidden(m: Reader, x: Tensor) -> Tensor:
    return m.head(torch.cat(list(m.rnn(x)[1]), dim=-1))


def packed_mean(m: Reader, x: Tensor, lengths: Tensor) -> Tensor:
    given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(m.rnn(given)[0], batch_first=True)
    return m.head(states.sum(1))


def packed_hidden(m: Reader, x: Tensor, lengths: Tensor) -> Tensor:
    given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return m.head(torch.cat(list(m.rnn(given)[1]), dim=-1))


def from_states(m: Reader, x: Tensor) -> Tensor:
    state = torch.linspace(-1, 1, 6).to(x).repeat(1, len(x), 1)
    return m.head(m.rnn(x, state)[0][:, -1])


def from_states_both_ways(m: Reader, x: Tensor) -> Tensor:
    states = torch.linspace(-1, 1, 24).to(x).view(4, 1, 6).repeat(1, len(x), 1)
    return m.head(m.rnn(x, states)[0].mean(1))


def final_states_and_cells(m: Reader, x: Tensor) -> Tensor:
    h_n, c_n = m.rnn(x)[1]
    return m.head(torch.cat([*h_n, *c_n], dim=-1))


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("layer", "plain"),
    [(nn.LSTM, plain_lrp.lstm), (nn.GRU, plain_lrp.gru), (nn.RNN, plain_lrp.rnn)],
)
def test_relevance_is_that_of_the_papers_message_by_message(
    layer: Any, plain: Callable[..., Any], rule: str, epsilon: float
) -> None:
    model, inputs = reader(layer(3, 6, batch_first=True), models.last), vectors(2, 4)
    found = method(model, rule=RULES[rule], epsilon=epsilon).attribute(inputs, target=2)
    w_out = model.head.weight[2].detach().numpy()
    share = plain_lrp.GATE_SHARES[rule]
    for row in range(2):
        expected = plain(model.rnn, inputs[row].numpy(), w_out, share, epsilon)
        torch.testing.assert_close(
            found[row], torch.from_numpy(expected), atol=1e-11, rtol=1e-9
        )


def secant(values: Tensor) -> Tensor:
    """tanh as the straight line from 0 to where it is."""
    return values * (torch.tanh(values) / values).detach()


def test_signal_takes_all_is_gradient_times_input_with_gates_held() -> None:
    model, inputs = projected_lstm(), vectors()
    found = method(model, epsilon=0.0).attribute(inputs, target=1)
    leaf = inputs.clone().requires_grad_()
    read = list(leaf.unbind(1))
    for level in range(2):
        w_x, w_h, b_x, b_h, w_p = (
            getattr(model.rnn, f"{name}_l{level}").detach()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        )
        h, c, above = torch.zeros(4, 4).double(), torch.zeros(4, 6).double(), []
        for x in read:
            i, f, g, o = (x @ w_x.mT + h @ w_h.mT + b_x + b_h).chunk(4, dim=-1)
            i, f, o = (torch.sigmoid(gate).detach() for gate in (i, f, o))
            c = f * c + i * secant(g)
            h = (o * secant(c)) @ w_p.mT
            above.append(h)
        read = above
    model.head(read[-1])[:, 1].sum().backward()
    torch.testing.assert_close(found, leaf.grad * inputs, atol=1e-12, rtol=1e-9)


# A ReLU net is linear around its inputs: relevance without epsilon is exactly input
# times gradient, which autograd gives for every way to build and to read one.
RELU_CASES: dict[str, tuple[Callable[[], Reader], tuple[Any, ...]]] = {
    "last step": (relu, ()),
    "lengths": (lambda: relu(models.at_lengths), (LENGTHS,)),
    "packed": (lambda: relu(models.packed), (LENGTHS,)),
    "mean over time": (lambda: relu(models.mean), ()),
    "stacked": (lambda: relu(num_layers=3), ()),
    "h_n of all levels": (lambda: relu(hidden, 12, num_layers=2), ()),
    "bidirectional": (lambda: relu(both_ends, 12, bidirectional=True), ()),
    "stacked bidirectional": (
        lambda: relu(models.mean, 12, bidirectional=True, num_layers=2),
        (),
    ),
    "h_n of both directions": (
        lambda: relu(hidden, 24, bidirectional=True, num_layers=2),
        (),
    ),
    "packed bidirectional": (
        lambda: relu(packed_mean, 12, bidirectional=True, num_layers=2),
        (LENGTHS,),
    ),
    "packed h_n of both": (
        lambda: relu(packed_hidden, 12, bidirectional=True),
        (LENGTHS,),
    ),
    "time first": (lambda: relu(models.time_first, batch_first=False), ()),
    "cell": (lambda: reader(nn.RNNCell(3, 6, nonlinearity="relu"), models.looped), ()),
    "given states": (lambda: relu(from_states), ()),
    "given states of both": (
        lambda: relu(from_states_both_ways, 12, bidirectional=True, num_layers=2),
        (),
    ),
}


@pytest.mark.parametrize("case", RELU_CASES)
def test_in_a_linear_region_relevance_is_input_times_gradient(case: str) -> None:
    build, additional = RELU_CASES[case]
    model, inputs = build(), vectors().requires_grad_()
    expected = InputXGradient(model).attribute(inputs, 1, additional).detach()
    found = method(model, epsilon=0.0).attribute(vectors(), 1, additional)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-9)
    told = method(model).evaluate(
        vectors(), target=1, additional_forward_args=additional
    )
    assert told.error.abs().max() < 1e-10


BUILDS: dict[str, Callable[[], Reader]] = {
    "GRU": gru,
    "LSTM": lambda: reader(nn.LSTM(3, 6, batch_first=True), models.last),
    "c_n": lambda: reader(nn.LSTM(3, 6, batch_first=True), models.c_n),
    "tanh RNN": lambda: reader(nn.RNN(3, 6, batch_first=True), models.last),
    "stacked projected LSTM": projected_lstm,
    "GRUCell": lambda: reader(nn.GRUCell(3, 6), models.looped),
    "LSTMCell": lambda: reader(nn.LSTMCell(3, 6), models.looped),
    "stacked bidirectional LSTM": lambda: reader(
        nn.LSTM(3, 6, num_layers=2, bidirectional=True, batch_first=True),
        both_ends,
        12,
    ),
    "bidirectional projected LSTM": lambda: reader(
        nn.LSTM(3, 8, bidirectional=True, proj_size=6, batch_first=True),
        both_ends,
        12,
    ),
    "stacked bidirectional GRU": lambda: reader(
        nn.GRU(3, 6, num_layers=2, bidirectional=True, batch_first=True),
        both_ends,
        12,
    ),
    "h_n and c_n of both": lambda: reader(
        nn.LSTM(3, 6, num_layers=2, bidirectional=True, batch_first=True),
        final_states_and_cells,
        48,
    ),
    "mean": lambda: gru(models.mean),
    "nonlinear head": lambda: gru(models.nonlinear),
    "attention": lambda: gru(models.attention),
}


@pytest.mark.parametrize("rule", [SignalTakesAll(), EqualShares()])
@pytest.mark.parametrize("build", BUILDS)
def test_without_biases_and_epsilon_the_inputs_receive_the_whole_output(
    build: str, rule: ProductRule
) -> None:
    model, inputs = without_biases(BUILDS[build]()), vectors()
    found, delta = method(model, rule=rule, epsilon=0.0).attribute(
        inputs, target=1, return_convergence_delta=True
    )
    with torch.no_grad():
        outputs = model(inputs)[:, 1]
    assert outputs.abs().min() > 1e-4
    torch.testing.assert_close(found.sum((1, 2)), outputs, atol=1e-10, rtol=0)
    assert delta.abs().max() < 1e-10


@pytest.mark.filterwarnings("ignore:Relevance of . of 4 examples grew")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("build", BUILDS)
def test_no_relevance_is_lost(build: str, rule: str) -> None:
    model, inputs = BUILDS[build](), vectors()
    explainer = method(model, rule=RULES[rule])
    found, delta = explainer.attribute(inputs, target=1, return_convergence_delta=True)
    told = explainer.evaluate(inputs, target=1)
    with torch.no_grad():
        outputs = model(inputs)[:, 1]
    # Near 0 = gate + signal, shares of LRP-prop may be a thousand times the relevance.
    assert told.error.abs().max() < 1e-9 * (1 + found.abs().max())
    torch.testing.assert_close(told.outputs, outputs)
    torch.testing.assert_close(told.totals, found.sum((1, 2)))
    torch.testing.assert_close(delta, told.totals - outputs)
    torch.testing.assert_close(told.delta, delta)
    assert told.biases.abs().min() > 0
    assert told.stabilizer.abs().min() > 0


def test_the_heads_bias_and_initial_states_are_told_apart() -> None:
    model = gru(from_states)
    told = method(model, epsilon=0.0).evaluate(vectors(), target=1)
    bias = model.head.bias[1].detach()
    torch.testing.assert_close(told.head, bias.expand(4))
    assert told.initial_states.abs().min() > 1e-8
    assert told.error.abs().max() < 1e-10
    assert (told.stabilizer == 0).all()


def test_a_bidirectional_layer_is_two_layers() -> None:
    for layer in (nn.GRU, nn.LSTM):
        model = reader(layer(3, 6, batch_first=True, bidirectional=True), both_ends, 12)
        found = method(model).attribute(vectors(), target=1)
        parts = []
        for backward in (False, True):
            one = layer(3, 6, batch_first=True).double()
            suffix = "_reverse" if backward else ""
            state = model.rnn.state_dict()
            one.load_state_dict({n: state[n + suffix] for n in one.state_dict()})
            columns = slice(6, 12) if backward else slice(0, 6)
            half = Reader(one, 6, models.last).double()
            with torch.no_grad():
                half.head.weight.copy_(model.head.weight[:, columns])
            inputs = vectors().flip(1) if backward else vectors()
            part = method(half).attribute(inputs, target=1)
            parts.append(part.flip(1) if backward else part)
        torch.testing.assert_close(found, parts[0] + parts[1])


def test_sums_of_zero_keep_their_relevance() -> None:
    model, inputs = gru(), torch.zeros(2, 5, 3).double()
    for epsilon in (0.0, 1e-3):
        explainer = method(without_biases(model), rule=EqualShares(), epsilon=epsilon)
        with pytest.warns(AttributionWarning, match="All contributions are zero"):
            assert (explainer.attribute(inputs, target=1) == 0).all()
    with torch.no_grad():
        # z = 1/2 whatever is read: its half of the relevance has no term to go to.
        for weights in (model.rnn.weight_ih_l0, model.rnn.weight_hh_l0):
            weights[6:12] = 0.0
    told = method(model, rule=EqualShares(), epsilon=0.0).evaluate(vectors(), target=1)
    assert told.stabilizer.abs().min() > 0.1 * told.outputs.abs().min()
    assert told.error.abs().max() < 1e-10


def test_a_kinked_head_is_complete_too() -> None:
    def kinked(m: Reader, x: Tensor) -> Tensor:
        return m.head(torch.relu(m.rnn(x)[0][:, -1] - 0.1))

    told = method(gru(kinked)).evaluate(vectors(), target=1)
    assert told.error.abs().max() < 1e-8


def test_states_changed_between_steps_are_noticed() -> None:
    cell = nn.LSTMCell(3, 6).double()

    def forward(x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = cell(step, state if state is None else (0.5 * state[0], state[1]))
        return state[0].sum(-1)

    with pytest.warns(AttributionWarning, match="change the states between steps"):
        LinearizedPropagation(forward, cell).attribute(vectors())


def test_relevance_that_grows_without_bound_is_noticed() -> None:
    model, inputs = gru(models.at_lengths), vectors(4, 300)
    lengths = torch.tensor([300, 2, 3, 1])
    explainer = method(model, rule=ProportionalShares(), epsilon=0.0)
    with pytest.warns(AttributionWarning, match="Relevance of 1 of 4 examples grew"):
        found = explainer.attribute(inputs, 1, lengths)
    # The rows that did not grow are as they are alone.
    alone = explainer.attribute(inputs[1:], 1, lengths[1:])
    torch.testing.assert_close(found[1:], alone)
    method(model).attribute(inputs, 1, lengths)
