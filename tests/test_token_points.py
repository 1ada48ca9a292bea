"""A greedy loop rests where its layer rests at a token that it emits there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd

NOTHING = torch.zeros(1, 0, dtype=torch.float64)
K, M, V = 3, 5, 7


def greedy(seed: int = 35) -> cd.ClosedLoop:
    torch.manual_seed(seed)
    cell, head, table = nn.GRUCell(K, M), nn.Linear(M, V), nn.Embedding(V, K)
    for module in (cell, head, table):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.7)
    return cd.ClosedLoop(cd.adapt(cell), cd.greedy_feedback(head, table))


def starts(count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, M, generator=generator).double()


@pytest.mark.parametrize("seed", [0, 1, 35])
def test_consistent_points_are_exactly_those_where_the_loop_rests(seed: int) -> None:
    loop = greedy(seed)
    found = cd.find_token_points(loop, starts())
    kept = found.points.kind == cd.Kind.FIXED
    assert found.tokens[kept].unique().tolist() == list(range(V))
    states = loop.start(found.points.states, found.points.inputs)
    moved = loop.residual(states, NOTHING.expand(len(states), -1)).norm(dim=-1)
    assert bool((moved[found.consistent & kept] < 1e-9).all())
    assert bool((moved[~found.consistent] > 0.1).all())
    assert torch.equal(found.margins > 0, found.consistent)


def test_long_runs_of_the_loop_end_on_the_points_that_attract() -> None:
    ends = 0
    for seed in range(3):
        loop = greedy(seed)
        found = cd.find_token_points(loop, starts())
        begun = loop.start(starts(32), loop.feedback(starts(32)))
        last = loop.rollout(begun, torch.zeros(32, 800, 0).double())[:, -1]
        at_rest = loop.residual(last, NOTHING.expand(32, -1)).norm(dim=-1) < 1e-9
        if not bool(at_rest.any()):
            continue
        hidden = last[at_rest][:, :M]
        gaps = torch.cdist(hidden, found.points.states[found.consistent])
        assert float(gaps.amin(1).max()) < 1e-6
        ends += int(at_rest.sum())
    assert ends > 0


def test_only_the_tokens_that_are_asked_are_searched() -> None:
    found = cd.find_token_points(greedy(), starts(), torch.tensor([4, 2, 4]))
    assert found.tokens.unique().tolist() == [2, 4]


def test_loops_and_tokens_that_do_not_fit_are_refused() -> None:
    loop = greedy()
    with pytest.raises(ValueError, match="`tokens` from 0 to 6"):
        cd.find_token_points(loop, starts(), torch.tensor([7]))
    with pytest.raises(ValueError, match=r"`initial_states` to have shape \(n, 5\)"):
        cd.find_token_points(loop, torch.zeros(2, 8))
    with pytest.raises(ValueError, match="at least one row"):
        cd.find_token_points(loop, torch.zeros(0, 5))
    plain = cd.ClosedLoop(loop.dynamics, lambda o: o[:, :K])
    with pytest.raises(TypeError, match="a feedback that reads tokens"):
        cd.find_token_points(plain, starts())
