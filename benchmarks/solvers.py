"""What each solver finds from the same starts, and what it costs.

    python benchmarks/solvers.py --nets tests/data

Prints a table. Three networks: the flip-flops of a GRU and of a ReLU layer, whose 27
points are known, from 256 visited states and 768 mixtures of them; and the shipped
review GRU at its mean word, which has three points on a slow line, from 128 states of
texts of random words. Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics import solvers
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks.flipflop import load_flipflop, sample_flipflop

Case = tuple[DynamicsMap, Tensor, Tensor]
SOLVERS: dict[str, solvers.Solver | None] = {
    "default": None,
    "Newton": solvers.Newton(),
    "Dogleg": solvers.Dogleg(),
    "LevenbergMarquardt": solvers.LevenbergMarquardt(),
    "NewtonKrylov": solvers.NewtonKrylov(),
    "PiecewiseLinear": solvers.PiecewiseLinear(),
    "Iteration": solvers.Iteration(max_steps=2000, patience=2000),
    "GradientDescent": solvers.GradientDescent(max_steps=2000),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--nets", required=True, help="folder of flipflop_*.safetensors"
    )
    folder = Path(parser.parse_args().nets)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", cd.ConvergenceWarning)
    print("| net | solver | fixed | slow | other | points, by unstable | steps | ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in ("flipflop_gru", "flipflop_relu", "reviews, GRU"):
        case = reviews() if name.startswith("rev") else flipflop(folder, name)
        for solver in SOLVERS:
            print(f"| {name} | {solver} | {row(case, SOLVERS[solver])} |", flush=True)


def row(case: Case, solver: solvers.Solver | None) -> str:
    """Cells of one solver on one net."""
    dynamics, starts, inputs = case
    begin = time.process_time()
    points = cd.find_fixed_points(dynamics, starts, inputs, solver=solver)
    milliseconds = 1e3 * (time.process_time() - begin)
    fixed, slow = points.kind == cd.Kind.FIXED, points.kind == cd.Kind.SLOW
    distinct = points[fixed].unique()
    dims = cd.linearize(dynamics, distinct).unstable_dims if len(distinct) else None
    by_dims = "" if dims is None else ", ".join(map(str, dims.bincount().tolist()))
    cells = (
        int(fixed.sum()),
        int(slow.sum()),
        int((~fixed & ~slow).sum()),
        f"{len(distinct)}: {by_dims}" if by_dims else "0",
        f"{points.steps.double().mean():.1f}",
        f"{milliseconds:.0f}",
    )
    return " | ".join(map(str, cells))


def flipflop(folder: Path, name: str) -> Case:
    """Map, starts and input of a flip-flop net."""
    generator = torch.Generator().manual_seed(0)
    net = load_flipflop(folder / f"{name}.safetensors")
    runs = cd.record(net, "rnn", sample_flipflop(32, 64, generator=generator).inputs)
    visited = runs.sample_states(256, generator=generator)
    picks = torch.randint(len(visited), (768, 2), generator=generator)
    shares = torch.rand(768, 1, generator=generator).to(visited)
    mixed = shares * visited[picks[:, 0]] + (1 - shares) * visited[picks[:, 1]]
    return cd.adapt(net, "rnn"), torch.cat([visited, mixed]), torch.zeros(1, 3)


def reviews() -> Case:
    """Map, starts and mean word of the shipped classifier."""
    generator = torch.Generator().manual_seed(0)
    trained = load_sentiment("gru")
    counts = trained.word_counts.double()
    ids = torch.multinomial(counts, 64 * 100, True, generator=generator).view(64, 100)
    runs = cd.record(trained.model, "rnn", ids)
    starts = runs.sample_states(128, generator=generator)
    return cd.adapt(trained.model, "rnn"), starts, trained.mean_embedding[None]


if __name__ == "__main__":
    main()
