"""The networks that are searched: trained, shipped, random, or of a folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from _ugrnn import UGRNN, train_ugrnn, ugrnn_dynamics
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.fixed_points import mix_states
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks.flipflop import FlipFlopNet, sample_flipflop, train_flipflop

UPDATES = 1000  # of the flip-flop nets: all answers right, 27 points in most
WIDTHS = (16, 32, 64)
RANDOM_WIDTHS = (64, 128, 256, 512)
# Torch draws recurrent weights with a spectral radius of 0.58. At 3 times that, a GRU
# of these widths has one point, and every search meets it; at 4 times it is
# chaotic, with several points, and starts from which every search fails.
RANDOM_GAINS = (1.0, 3.0, 4.0)
RANDOM_STARTS = 64  # at most, as a search of 512 units from 256 takes a peer minutes
LEARNING_RATES = {"tanh": 1.0, "relu": 1.0}  # of a peer; 0.1 for all gated layers


@dataclass(frozen=True, eq=False)
class Net:
    """A recurrent layer with the starts and the input of its searches.

    Attributes:
        layer: batch first, called as `layer(inputs, states)`.
        dynamics: its map.
        visited: states (v, d) to draw starts from.
        inputs: the constant input (1, k).
        learning_rate: of a peer that descends a gradient.
        most_starts: cap on the starts of one search.
    """

    layer: nn.Module
    dynamics: cd.DynamicsMap
    visited: Tensor
    inputs: Tensor
    learning_rate: float = 0.1
    most_starts: int = 2**20

    def draw_starts(self, count: int, seed: int) -> Tensor:
        """Mixtures of visited states and their box, as `extra_starts` draws them."""
        count = min(count, self.most_starts)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.visited), generator=generator)
        donors = self.visited[order[: max(count // 4, 1)]]
        return mix_states(donors, count, generator=generator)


@dataclass(frozen=True)
class Recipe:
    """A net that is built when its turn comes."""

    name: str
    build: Callable[[], Net]


def default_recipes(cache: Path, seeds: int) -> list[Recipe]:
    """Flip-flops, the shipped classifiers, random GRUs."""
    recipes = []
    for cell, width in itertools.product(("tanh", "gru", "lstm", "ugrnn"), WIDTHS):
        # A UGRNN trains slowly, step by step in Python: one seed of it.
        for seed in range(1 if cell == "ugrnn" else seeds):
            build = partial(flipflop_net, cell, width, seed, cache)
            recipes.append(Recipe(f"flipflop-{cell}-{width}-s{seed}", build))
    for cell in ("gru", "lstm"):
        recipes.append(Recipe(f"imdb-{cell}-128", partial(sentiment_net, cell)))
    for width, gain in itertools.product(RANDOM_WIDTHS, RANDOM_GAINS):
        build = partial(random_net, "gru", width, gain, RANDOM_STARTS)
        recipes.append(Recipe(f"random-gru-{width}-x{gain:g}", build))
    return recipes


def folder_recipes(folders: Sequence[Path]) -> list[Recipe]:
    """One net a safetensors file: `rnn.*`, perhaps `embedding.weight`, a `cell`."""
    return [
        Recipe(path.stem, partial(stored_net, path))
        for folder in folders
        for path in sorted(folder.glob("*.safetensors"))
    ]


def flipflop_net(cell: str, width: int, seed: int, cache: Path) -> Net:
    """Train a net on the 3-bit flip-flop, or read it from an earlier run."""
    path = cache / f"flipflop-{cell}-{width}-s{seed}-u{UPDATES}.safetensors"
    if not path.exists():
        _save(_train(cell, width, seed), path)
    with torch.random.fork_rng(devices=[]):
        layer = UGRNN(3, width) if cell == "ugrnn" else FlipFlopNet(cell, width).rnn
    layer.load_state_dict(load_file(path))
    pulses = sample_flipflop(64, 200, generator=torch.Generator().manual_seed(0))
    return _net(layer, pulses.inputs, torch.zeros(1, 3), cell)


def sentiment_net(cell: str) -> Net:
    """The shipped classifier at its mean embedding; it visits random words' states."""
    trained = load_sentiment(cell)
    generator = torch.Generator().manual_seed(0)
    words = torch.multinomial(
        trained.word_counts.double(), 64 * 50, replacement=True, generator=generator
    )
    embedded = trained.model.embedding.weight.detach()[words].unflatten(0, (64, 50))
    return _net(trained.model.rnn, embedded, trained.mean_embedding[None], cell)


def random_net(cell: str, width: int, gain: float, most_starts: int) -> Net:
    """An untrained layer, its recurrent weights `gain` times torch's; zero input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = FlipFlopNet(cell, width).rnn
    with torch.no_grad():
        layer.weight_hh_l0.mul_(gain)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(16, 50, 3, generator=generator)
    return _net(layer, noise, torch.zeros(1, 3), cell, most_starts)


def stored_net(path: Path) -> Net:
    """A flip-flop, or a classifier of embedded words, trained elsewhere; zero input."""
    weights = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
    columns = weights["rnn.weight_ih_l0"].shape[1]
    with torch.random.fork_rng(devices=[]):
        layer = FlipFlopNet(about["cell"], int(about["hidden"]), bits=columns).rnn
    prefix = "rnn."
    layer.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    generator = torch.Generator().manual_seed(0)
    if "embedding.weight" in weights:
        words = weights["embedding.weight"]
        read = words[torch.randint(len(words), (64, 50), generator=generator)]
    else:
        read = sample_flipflop(64, 200, bits=columns, generator=generator).inputs
    return _net(layer, read, torch.zeros(1, columns), about["cell"])


def _net(
    layer: nn.Module, read: Tensor, inputs: Tensor, cell: str, most_starts: int = 2**20
) -> Net:
    dynamics = ugrnn_dynamics(layer) if isinstance(layer, UGRNN) else cd.adapt(layer)
    before = torch.zeros(len(read), dynamics.state_dim, dtype=torch.float64)
    with torch.no_grad():
        visited = dynamics.rollout(before, read.double()).flatten(0, 1)
    rate = LEARNING_RATES.get(cell, 0.1)
    return Net(layer.eval(), dynamics, visited, inputs.double(), rate, most_starts)


def _train(cell: str, width: int, seed: int) -> nn.Module:
    if cell == "ugrnn":
        return train_ugrnn(width, seed, updates=UPDATES)
    net = train_flipflop(cell, width, seed, updates=UPDATES, show_progress=True)
    return net.rnn


def _save(layer: nn.Module, path: Path) -> None:
    """Write a layer whole or not at all: an interrupted run leaves no broken cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".part")
    save_file(layer.state_dict(), partial_path)
    partial_path.replace(path)
