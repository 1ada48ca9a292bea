"""What one search costs: point-steps a start, and processor time of one point-step.

    python benchmarks/point_steps.py

One thread, processor time: other users of the machine disturb it little, not nothing.
"""

from __future__ import annotations

import time

import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics.models import load_sentiment

STARTS = 4096


def main() -> None:
    """Print one row of a table for each net."""
    torch.set_num_threads(1)
    print(f"{'net':24} {'points':>6} {'steps':>6} {'us/step':>8} {'ms/start':>9}")
    for width in (16, 64, 128):
        report(f"random GRU {width}", cd.adapt(random_gru(width)))
    model = load_sentiment("gru")
    report("review GRU 128", cd.adapt(model, "rnn"))


def random_gru(width: int) -> nn.GRU:
    """A GRU whose recurrent weights are large enough for several fixed points."""
    torch.manual_seed(width)
    layer = nn.GRU(3, width)
    with torch.no_grad():
        layer.weight_hh_l0.normal_(0, 3 / width**0.5)
    return layer


def report(name: str, dynamics: cd.DynamicsMap) -> None:
    """Search from everywhere in the box, once to warm up and once for the clock."""
    draw = torch.Generator().manual_seed(0)
    starts = 2 * torch.rand(STARTS, dynamics.state_dim, generator=draw) - 1
    inputs = torch.zeros(1, dynamics.input_dim)
    cd.find_fixed_points(dynamics, starts[:64], inputs)
    begun = time.process_time()
    points = cd.find_fixed_points(dynamics, starts, inputs)
    seconds = time.process_time() - begun
    steps = int(points.steps.sum())
    distinct = len(points[points.kind == cd.Kind.FIXED].unique())
    print(
        f"{name:24} {distinct:6} {steps / STARTS:6.1f} {1e6 * seconds / steps:8.1f} "
        f"{1e3 * seconds / STARTS:9.3f}"
    )


if __name__ == "__main__":
    main()
