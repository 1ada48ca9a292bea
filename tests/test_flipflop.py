"""Trained flip-flop networks have the fixed points of a cube: 8 + 12 + 6 + 1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import (
    evaluate_flipflop,
    flipflop_fixed_points,
    load_flipflop,
)

DATA = Path(__file__).parent / "data"
CUBE = [8, 12, 6, 1]
NETS = os.environ.get("CAPTUM_DYNAMICS_NETS")
EXTERNAL = sorted(Path(NETS).glob("ff_*.safetensors")) if NETS else []

needs_nets = pytest.mark.skipif(
    NETS is None, reason="CAPTUM_DYNAMICS_NETS names no directory of trained nets"
)


def check_cube(path: Path) -> None:
    """27 fixed points by 0 to 3 unstable dimensions, in balance."""
    dynamics, points = flipflop_fixed_points(load_flipflop(path))
    linear = cd.linearize(dynamics, points)
    assert torch.bincount(linear.unstable_dims).tolist() == CUBE
    assert int(linear.indices.sum()) == 1
    assert points.residual_norms.max() < 1e-11
    assert not points.degenerate.any()


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_a_trained_net_has_the_27_points_of_a_cube(cell: str) -> None:
    check_cube(DATA / f"flipflop_{cell}.safetensors")


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
def test_a_trained_net_has_learned_its_task(cell: str) -> None:
    loss, accuracy = evaluate_flipflop(
        load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    )
    assert loss < 2e-3
    assert accuracy == 1.0


@pytest.mark.parametrize("cell", ["gru", "tanh", "relu"])
def test_each_attractor_holds_one_of_the_eight_memories(cell: str) -> None:
    net = load_flipflop(DATA / f"flipflop_{cell}.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    linear = cd.linearize(dynamics, points)
    attractors = points[linear.stability == cd.Stability.ATTRACTOR]
    with torch.no_grad():
        read = net.readout(attractors.states.float())
    assert torch.allclose(read.abs(), torch.ones(8, 3), atol=0.1)
    assert len(torch.unique(read.sign(), dim=0)) == 8


def test_an_attractor_stays_put_in_the_layer_itself() -> None:
    net = load_flipflop(DATA / "flipflop_gru.safetensors")
    dynamics, points = flipflop_fixed_points(net)
    linear = cd.linearize(dynamics, points)
    attractors = points[linear.stability == cd.Stability.ATTRACTOR].states
    with torch.no_grad():
        visited, _ = net.double().rnn(torch.zeros(8, 500, 3).double(), attractors[None])
    assert torch.allclose(visited[:, -1], attractors, atol=1e-10)


@needs_nets
@pytest.mark.parametrize("path", EXTERNAL, ids=[path.stem for path in EXTERNAL])
def test_other_trained_nets_have_the_27_points_too(path: Path) -> None:
    check_cube(path)


@needs_nets
def test_the_small_sentiment_net_is_bistable() -> None:
    with safe_open(Path(str(NETS)) / "sent_gru_128_s0.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    layer = nn.GRU(16, 128, batch_first=True)
    prefix = "rnn."
    layer.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(25, (16, 50), generator=generator)
    runs = cd.record(layer, None, weights["embedding"][words])
    points = cd.find_fixed_points(
        cd.adapt(layer),
        runs.sample_states(64, generator=generator),
        torch.zeros(1, 16),
        extra_starts=64,
        generator=generator,
    )
    unique = points[points.kind == cd.Kind.FIXED].unique()
    linear = cd.linearize(cd.adapt(layer), unique)
    assert sorted(linear.unstable_dims.tolist()) == [0, 0, 1]
