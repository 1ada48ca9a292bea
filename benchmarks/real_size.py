"""A model of real size by products: random weights in the shape of mamba-130m.

Its fixed point at a constant token, layer by layer; the time constants of every layer;
and what of its input the slowest modes of a layer read.

python benchmarks/real_size.py --picture real_size.png
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.dynamics import Section
from captum_dynamics.subspaces import decay_times

STATE_SIZE = 16
HEADER = (
    "layer   |g|      |h|   slowest (steps)             50 %   10 %   "
    "reads |l B|        share of one direction"
)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Print a table with one line a layer, and times and memory of all."""
    given = parsed(arguments)
    torch.set_num_threads(given.threads)
    clock = Clock()
    model = random_mamba(given.layers, given.width, given.vocabulary)
    parameters = sum(p.numel() for p in model.parameters())
    clock.tell(f"built, {parameters / 1e6:.0f} M parameters")
    dynamics: Any = cd.adapt(model)
    clock.tell(f"adapted, {dynamics.state_dim:,} dimensions of state")
    sections = dynamics.sections
    clock.tell(f"{len(sections)} layers adapted")
    token = torch.tensor([given.token])
    embedded = model.get_input_embeddings()(token).detach().double()  # type: ignore[operator]
    start = torch.zeros(1, dynamics.state_dim, dtype=torch.float64)
    solution = cd.solvers.LayerByLayer().solve(dynamics, start, embedded)
    norm, status = float(solution.residual_norms), int(solution.status)
    clock.tell(f"solved, |g| = {norm:.1e} of the whole, status {status}")
    rows = []
    print(HEADER, flush=True)
    for number, section in enumerate(sections):
        rows.append(analysed(section, solution.states, embedded, given.modes))
        print(line(number, rows[-1]))
    clock.tell(f"{given.modes} modes of each layer and what they read")
    if given.picture:
        draw(rows, given.picture)
    return rows


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50_280)
    parser.add_argument("--token", type=int, default=510)
    parser.add_argument("--modes", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", help="file of a picture of time constants")
    return parser.parse_args(arguments)


class Clock:
    """Seconds since the last line, and the memory that was held at most so far."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def tell(self, what: str) -> None:
        """Print what has been done since."""
        now = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what}: {now - self._last:.1f} s, peak {peak:.2f} GiB", flush=True)
        self._last = time.perf_counter()


def random_mamba(layers: int, width: int, vocabulary: int) -> nn.Module:
    """A model with the random weights that transformers begins training with."""
    import transformers

    config = transformers.MambaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        state_size=STATE_SIZE,
        vocab_size=vocabulary,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model: nn.Module = transformers.MambaModel(config)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def analysed(
    section: Section, states: Tensor, inputs: Tensor, count: int
) -> dict[str, Any]:
    """Residual, time constants and input projections of one layer."""
    dynamics = section.dynamics
    own, read = states[:, section.columns], section.reads(states, inputs)
    tangent = dynamics.tangent(own, read)
    found = tangent.leading(count)
    if found is None:
        raise RuntimeError("Expected layers whose recurrence is diagonal.")
    values, _, left = found
    same = tangent.select(torch.zeros(count, dtype=torch.long))
    by_input = same.pull(left.real.contiguous())[1]
    singular = torch.linalg.svdvals(by_input)
    return {
        "residual": float(dynamics.residual(own, read).norm()),
        "size": float(own.norm()),
        "times": decay_times(values).tolist(),
        "quantiles": quantiles(section, own, read),
        "reads": by_input.norm(dim=1).tolist(),
        "share": float(singular[0] ** 2 / singular.square().sum()),
    }


def quantiles(section: Section, own: Tensor, read: Tensor) -> list[float]:
    """Time constants that half and a tenth of the recurrent state exceed."""
    reduction = section.dynamics.reduction
    if reduction is None:
        raise RuntimeError("Expected a layer with a recurrent state.")
    part = reduction.restrict(own)
    # J is diagonal: its product with ones is the diagonal.
    diagonal = reduction.dynamics.tangent(part, read).push(torch.ones_like(part))
    times = decay_times(diagonal[0].to(torch.complex128))
    return times.quantile(torch.tensor([0.5, 0.9]).to(times)).tolist()


def line(number: int, row: dict[str, Any]) -> str:
    times = " ".join(f"{value:7.1f}" for value in row["times"][:4])
    halves = " ".join(f"{value:6.2f}" for value in row["quantiles"])
    reads = " ".join(f"{value:.1e}" for value in row["reads"][:2])
    start = f"{number:5d}  {row['residual']:.1e}  {row['size']:6.2f}"
    return f"{start} {times} {halves}   {reads}   {row['share']:.2f}"


def draw(rows: list[dict[str, Any]], path: str) -> None:
    """Draw the time constants of the layers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    ax = figure.add_subplot()
    for number, row in enumerate(rows):
        ax.plot([number] * len(row["times"]), row["times"], "_", color="C0")
    for place, name in enumerate(("half", "a tenth")):
        exceeded = [row["quantiles"][place] for row in rows]
        ax.plot(exceeded, color=f"C{place + 1}", label=f"exceeded by {name}")
    ax.set(xlabel="layer", ylabel="time constant (steps)", yscale="log")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
