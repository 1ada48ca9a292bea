"""A closed loop is the decoding loop, with its derivatives and known fixed points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import Feedback
from captum_dynamics.testing import _map_claims, check_adapter

NOTHING = torch.zeros(1, 0, dtype=torch.float64)
K, M, V = 3, 5, 7

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(K, M, batch_first=True),
    "lstm2": lambda: nn.LSTM(K, M, num_layers=2, batch_first=True),
    "gru cell": lambda: nn.GRUCell(K, M),
    "lstm cell": lambda: nn.LSTMCell(K, M),
}


def parts(kind: str, seed: int = 35) -> tuple[nn.Module, nn.Linear, nn.Embedding]:
    """A layer, a head and an embedding, whose greedy loops say several tokens."""
    torch.manual_seed(seed)
    made = LAYERS[kind](), nn.Linear(M, V), nn.Embedding(V, K)
    for module in made:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.7)
        module.double().eval()
    return made


def feedback_of(kind: str, head: nn.Module, embedding: nn.Embedding) -> Feedback:
    if kind == "greedy":
        return cd.greedy_feedback(head, embedding)
    return cd.soft_feedback(head, embedding, temperature=0.5)


def one_step(layer: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Output and new state of a layer's own forward."""
    if isinstance(layer, nn.RNNBase):
        outputs, state = layer(x[:, None], state)
        return outputs[:, 0], state
    state = layer(x, state)
    return (state[0] if isinstance(state, tuple) else state), state


def decode(
    kind: str, layer: nn.Module, head: nn.Module, table: Tensor, x: Tensor, nudges: Any
) -> tuple[Tensor, Tensor]:
    """Outputs and next inputs of a decoding loop, written out in PyTorch."""
    state, outputs, fed = None, [], []
    for nudge in nudges.unbind(1):
        output, state = one_step(layer, x + nudge, state)
        logits = head(output)
        if kind == "greedy":
            x = torch.stack([table[row.argmax()] for row in logits])
        else:
            x = torch.einsum("nv,vk->nk", torch.softmax(logits / 0.5, -1), table)
        outputs.append(output)
        fed.append(x)
    return torch.stack(outputs, 1), torch.stack(fed, 1)


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("kind", ["soft", "greedy"])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_loop_is_the_decoding_loop(name: str, kind: str, driven: bool) -> None:
    layer, head, embedding = parts(name)
    dynamics = cd.adapt(layer)
    loop = cd.ClosedLoop(dynamics, feedback_of(kind, head, embedding), driven=driven)
    first, steps = embedding.weight[:4], 50
    nudges = torch.randn(4, steps, K).double() * driven
    outputs, fed = decode(kind, layer, head, embedding.weight, first, nudges)
    starts = loop.start(torch.zeros(4, dynamics.state_dim).double(), first)
    visited = loop.rollout(starts, nudges[..., : loop.input_dim])
    torch.testing.assert_close(loop.outputs(visited), outputs, atol=1e-12, rtol=0)
    torch.testing.assert_close(visited[..., -K:], fed, atol=1e-12, rtol=0)
    if kind == "greedy":
        assert len(loop.feedback.tokens(outputs.flatten(0, 1)).unique()) > 1


@pytest.mark.parametrize("kind", ["soft", "greedy"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_module_proves_all_that_an_adapter_must(name: str, kind: str) -> None:
    layer, head, embedding = parts(name)
    feedback = feedback_of(kind, head, embedding)
    module = cd.GenerationLoop(layer, feedback, embedding.weight[0])
    inputs = torch.randn(3, 6, K, generator=torch.Generator().manual_seed(1)).double()
    report = check_adapter(cd.adapt(module), module, inputs)
    assert report.passed, report.table()


class Gated(cd.RecurrentAdapter):
    """A layer whose output is no part of its state: it reads x once more."""

    input_dim = K
    layout = cd.StateLayout((cd.Block("s", M),))

    def step(self, states: Tensor, inputs: Tensor) -> Tensor:
        return self.advance(states, inputs)[0]

    def advance(self, states: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        new = 0.8 * states + torch.tanh(inputs).sum(-1, keepdim=True)
        return new, new[:, :4] * torch.sigmoid(inputs[:, :1])


def test_an_output_outside_the_state_is_kept_beside_it() -> None:
    torch.manual_seed(0)
    weight, table = torch.randn(V, 4).double(), torch.randn(V, K).double()
    loop = cd.ClosedLoop(Gated(), cd.soft_feedback(weight, table), driven=True)
    assert loop.layout.names == ("output", "s", "input")
    start = loop.start(torch.ones(2, M).double(), table[0])
    nudges = torch.randn(2, 5, K).double()
    x, s = table[:1].expand(2, -1), torch.ones(2, M).double()
    for step, state in enumerate(loop.rollout(start, nudges).unbind(1)):
        s, output = Gated().advance(s, x + nudges[:, step])
        x = torch.softmax(output @ weight.T, -1) @ table
        torch.testing.assert_close(loop.outputs(state), output)
        torch.testing.assert_close(loop.fed_back(state), x)


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("layer", ["gru", "lstm2", "outside"])
def test_derivatives_are_central_differences(layer: str, driven: bool) -> None:
    torch.manual_seed(3)
    if layer == "outside":
        base: cd.RecurrentAdapter = Gated()
        feedback: Any = cd.soft_feedback(torch.randn(V, 4), torch.randn(V, K))
    else:
        module, _, _ = parts(layer)
        base, mix = cd.adapt(module), torch.randn(M, K).double()
        feedback = lambda o: torch.sin(o @ mix)  # noqa: E731
    loop = cd.ClosedLoop(base, feedback, driven=driven)
    states = torch.randn(3, loop.state_dim).double()
    inputs = torch.randn(3, loop.input_dim).double()
    for claims in (_map_claims.derivatives, _map_claims.independent_rows):
        for row in claims(loop, states, inputs):
            assert row.ok, row
    few = loop.tangent(states, inputs).select(torch.tensor([2]))
    torch.testing.assert_close(few.jacobians()[0], loop.jacobians(states, inputs)[2])


class Linear(nn.Module):
    """h' = U h + W x, a linear network, as a cell."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.u = nn.Parameter(0.4 * torch.randn(M, M, generator=generator).double())
        self.w = nn.Parameter(torch.randn(M, K, generator=generator).double())


def test_a_linear_network_has_the_point_and_spectrum_of_its_block_matrix() -> None:
    cell = Linear()
    u, w = cell.u.detach(), cell.w.detach()
    f = 0.2 * torch.randn(K, M, generator=torch.Generator().manual_seed(5)).double()
    b = torch.tensor([1.0, -2.0, 0.5]).double()
    base = cd.FunctionAdapter(lambda h, x: h @ u.T + x @ w.T, M, K)
    loop = cd.ClosedLoop(base, lambda o: o @ f.T + b)
    whole = torch.cat([torch.cat([u, w], 1), torch.cat([f @ u, f @ w], 1)])
    shift = torch.cat([torch.zeros(M).double(), b])
    wanted = torch.linalg.solve(torch.eye(M + K).double() - whole, shift)
    points = cd.find_fixed_points(loop, torch.randn(4, M + K).double(), NOTHING)
    found = cd.linearize(loop, points.unique())
    assert len(found.points) == 1
    torch.testing.assert_close(found.points.states[0], wanted, atol=1e-10, rtol=0)
    reduced = torch.linalg.eigvals(u + w @ f).abs().sort(descending=True).values
    magnitudes = found.eigenvalues[0].abs()
    # What is fed back adds K zeros, and nothing else, to the spectrum of U + W f.
    torch.testing.assert_close(magnitudes[:M], reduced, atol=1e-9, rtol=0)
    assert magnitudes[M:].max() < 1e-7
    assert not loop.traits.affine_in_state


def test_brouwers_point_of_a_soft_loop_lies_in_its_box() -> None:
    layer, head, embedding = parts("gru")
    loop = cd.ClosedLoop(cd.adapt(layer), feedback_of("soft", head, embedding))
    low, high = loop.invariant_box(NOTHING)
    corners = torch.where(torch.rand(64, loop.state_dim) < 0.5, low, high)
    after = loop.step(corners, NOTHING.expand(64, -1))
    assert bool(((after >= low) & (after <= high)).all())
    points = cd.find_fixed_points(loop, corners, NOTHING)
    assert int((points.kind == cd.Kind.FIXED).sum()) > 0
    driven = cd.ClosedLoop(
        cd.adapt(parts("lstm2")[0]), feedback_of("soft", head, embedding), driven=True
    )
    nudge = torch.full((1, K), 3.0).double()
    low, high = driven.invariant_box(nudge)
    corners = torch.where(torch.rand(64, driven.state_dim) < 0.5, low, high)
    after = driven.step(corners, nudge.expand(64, -1))
    assert bool(((after >= low) & (after <= high)).all())
    greedy = cd.ClosedLoop(cd.adapt(layer), feedback_of("greedy", head, embedding))
    assert greedy.invariant_box(NOTHING) is None


def test_a_greedy_loop_goes_round_between_two_tokens() -> None:
    # The layer keeps half of what it read; each token is answered by the other.
    base = cd.FunctionAdapter(lambda h, x: 0.1 * h + x, 2, 2)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    loop = cd.ClosedLoop(base, cd.greedy_feedback(swap, torch.eye(2)))
    starts = loop.start(torch.randn(8, 2).double(), torch.eye(2)[0])
    cycles = cd.find_cycles(loop, starts, NOTHING, 2)
    assert len(cycles) == 1
    # h_1 = 0.1 h_2 + e_1 and h_2 = 0.1 h_1 + e_2, by hand; x is the other unit vector.
    hidden = torch.tensor([[1.0, 0.1], [0.1, 1.0]], dtype=torch.float64) / 0.99
    expected = torch.cat([hidden, torch.eye(2).flip(0).double()], -1)
    order = cycles.states[0, :, 0].argsort(descending=True)
    torch.testing.assert_close(cycles.states[0, order], expected, atol=1e-9, rtol=0)
    assert cycles.eigenvalues[0].abs().tolist() == pytest.approx([0.01, 0.01, 0, 0])


def test_the_caller_keeps_what_was_given() -> None:
    layer, head, embedding = parts("gru")
    feedback = feedback_of("soft", head, embedding)
    loop = cd.ClosedLoop(cd.adapt(layer), feedback)
    state = torch.randn(1, loop.state_dim).double()
    before = loop.step(state, NOTHING)
    head.float()
    with torch.no_grad():
        embedding.weight.zero_()
        head.weight.zero_()
    assert torch.equal(loop.step(state, NOTHING), before)
    assert head.weight.requires_grad
    assert head.weight.dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    layer, head, embedding = parts("gru")
    dynamics = cd.adapt(layer)
    with pytest.raises(
        ValueError, match=r"`feedback` to give inputs of shape \(2, 3\)"
    ):
        cd.ClosedLoop(dynamics, lambda o: o)
    with pytest.raises(ValueError, match="`temperature` to be positive"):
        cd.soft_feedback(head, embedding, temperature=0.0)
    with pytest.raises(ValueError, match="`readout` to give 6 logits"):
        cd.ClosedLoop(dynamics, cd.soft_feedback(head, torch.zeros(6, K)))
    with pytest.raises(ValueError, match="`embedding` to be a matrix"):
        cd.soft_feedback(head, torch.zeros(6))
    loop = cd.ClosedLoop(dynamics, feedback_of("soft", head, embedding))
    with pytest.raises(ValueError, match=r"`fed` to have shape \(2, 3\)"):
        loop.start(torch.zeros(2, M), torch.zeros(1, 4))
    both = nn.GRU(K, M, bidirectional=True)
    with pytest.raises(ValueError, match="the two directions of a layer"):
        cd.ClosedLoop(cd.adapt_all(both)[""], lambda o: o[:, :K])
    module = cd.GenerationLoop(layer, feedback_of("soft", head, embedding))
    with pytest.raises(ValueError, match=r"`nudges` to have shape \(n, t, 3\)"):
        module(torch.zeros(2, 4, 2))
    with pytest.raises(ValueError, match="`first_input` to have shape"):
        cd.GenerationLoop(layer, feedback_of("soft", head, embedding), torch.ones(2))


@pytest.mark.misuse
def test_what_is_no_adapter_or_readout_is_refused() -> None:
    layer, _, embedding = parts("gru")
    with pytest.raises(TypeError, match="`dynamics` to be an adapter"):
        cd.ClosedLoop(layer, lambda o: o)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`readout` to be a module or a weight"):
        cd.soft_feedback(len, embedding)  # type: ignore[arg-type]
