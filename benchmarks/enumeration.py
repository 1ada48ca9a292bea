"""Times of proofs: all regions of random ReLU networks, and of a trained one.

python benchmarks/enumeration.py --net tests/data/flipflop_relu.safetensors
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.tasks.flipflop import load_flipflop


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", help="a trained flip-flop network")
    parser.add_argument("--units", type=int, nargs="+", default=[12, 16, 18, 20])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.5, 1.5, 5.0])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report("warm-up", cd.adapt(random_cell(2, 1.0)), torch.zeros(1))
    if given.net:
        dynamics = cd.adapt(load_flipflop(given.net).rnn)
        report(given.net, dynamics, torch.zeros(dynamics.input_dim))
    for units in given.units:
        for gain in given.gains:
            cell = random_cell(units, gain)
            report(f"{units} units, gain {gain}", cd.adapt(cell), torch.zeros(1))


def random_cell(units: int, gain: float) -> nn.RNNCell:
    """A cell with weights N(0, gain^2 / units) and offsets N(0, 1)."""
    generator = torch.Generator().manual_seed(units)
    cell = nn.RNNCell(1, units, nonlinearity="relu").double().requires_grad_(False)
    shape = cell.weight_hh.shape
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    cell.weight_hh.copy_(gain * weights / units**0.5)
    cell.bias_hh.copy_(torch.randn(units, generator=generator, dtype=torch.float64))
    cell.bias_ih.zero_()
    return cell


def report(name: str, dynamics: cd.DynamicsMap, inputs: Tensor) -> None:
    """Print how many points there are, and how long it took to prove it."""
    start = time.perf_counter()
    points = cd.enumerate_fixed_points(dynamics, inputs, max_units=30)
    seconds = time.perf_counter() - start
    largest = float(points.residual_norms.max()) if len(points) else 0.0
    regions = 2**dynamics.state_dim
    print(
        f"{name}: {len(points)} points of {regions} regions in {seconds:.2f} s, "
        f"{1e6 * seconds / regions:.2f} us a region, |g| <= {largest:.0e}"
    )


if __name__ == "__main__":
    main()
