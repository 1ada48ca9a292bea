"""How often the shape of points is told right: the confusion table.

    python benchmarks/manifold_shapes.py --out shapes.md

Clouds of known shapes in 20 to 50 dimensions with isotropic noise, a new one for each
seed; and the states of GRUs that were trained to integrate evidence for three classes,
which lie on a triangle (the first run trains one for every four seeds, and keeps them:
--cache). Thresholds were chosen on seeds from 100 on.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

import torch
from _integration import STEPS, integrator, sample_evidence
from fixed_points import user_cache
from tqdm import tqdm

import captum_dynamics as cd
from captum_dynamics.testing import CLOUDS, sample_cloud
from captum_dynamics.topology import Shape, find_shape, trace_slow_manifold

SURFACES = ("torus", "doughnut")
DRAWS_A_NET = 4
TRAINED = ("trained net, points alone", "trained net, with its dynamics")


def main() -> None:
    """Print one line a class: how many draws got each verdict."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--draws", type=int, default=20, help="of each class (%(default)s)")
    add("--first-seed", type=int, default=0, help="of the draws (%(default)s)")
    add("--noise", type=float, default=0.02, help="in each dimension (%(default)s)")
    add("--points", type=int, default=400, help="of a cloud (%(default)s)")
    add("--torus-points", type=int, default=1000, help="of a torus (%(default)s)")
    add("--only", nargs="+", default=[*CLOUDS, *TRAINED], metavar="CLASS")
    add("--cache", type=Path, default=user_cache(), help="folder of trained nets")
    add("--out", type=Path, help="Markdown file to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(given.first_seed, given.first_seed + given.draws)
    lines = [_row("class", "n", "right answer", *(s.value for s in Shape), "s each")]
    lines.append(_row(*["---"] * (4 + len(Shape))))
    for name in tqdm(given.only, desc="Classes"):
        began = time.perf_counter()
        if name in TRAINED:
            points, right = 500, Shape.SIMPLEX
            counts = Counter(_net_shape(name, seed, given.cache) for seed in seeds)
        else:
            points = given.torus_points if name in SURFACES else given.points
            right = CLOUDS[name]
            counts = Counter(
                _cloud_shape(name, seed, points, given.noise) for seed in seeds
            )
        seconds = (time.perf_counter() - began) / given.draws
        told = (str(counts[shape] or "") for shape in Shape)
        lines.append(_row(name, str(points), right.value, *told, f"{seconds:.2f}"))
        tqdm.write(lines[-1])
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cloud_shape(name: str, seed: int, points: int, noise: float) -> Shape:
    generator = torch.Generator().manual_seed(seed)
    width = int(torch.randint(20, 51, (1,), generator=generator))
    states = sample_cloud(name, points, width=width, noise=noise, generator=generator)
    return find_shape(states).shape


def _net_shape(name: str, seed: int, cache: Path) -> Shape:
    """Slow states of one of the nets, on sequences of its own for each seed."""
    net = integrator(seed - seed % DRAWS_A_NET, cache)
    generator = torch.Generator().manual_seed(seed)
    runs = cd.record(net, "rnn", sample_evidence(100, generator))
    lengths = runs.states.diff(dim=1).norm(dim=-1)
    slow = trace_slow_manifold(
        cd.adapt(net, "rnn"),
        runs.sample_states(500, generator=generator),
        torch.zeros(1, 3),
        task_step=float(lengths.median()),
        run_length=STEPS,
        kept=500,
    )
    return find_shape(slow.points.states).shape if name == TRAINED[0] else slow.shape


if __name__ == "__main__":
    main()
