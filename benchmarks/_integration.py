"""Networks that integrate evidence for three classes, and say how probable each is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from captum_dynamics.tasks.flipflop import FlipFlopNet, load_flipflop, save_flipflop

CLASSES = 3
UNITS = 16
STEPS = 80
LEAN = 0.5  # chance that a token speaks for the true class; the rest is shared
NEUTRAL = 0.6  # share of steps without a token
WEIGHT = 0.8  # evidence of one token, in units of the logarithm


def sample_evidence(sequences: int, generator: torch.Generator) -> Tensor:
    """One-hot tokens (n, t, 3), zero at neutral steps, which lean to one class."""
    chances = torch.full((sequences, CLASSES), (1 - LEAN) / (CLASSES - 1))
    true = torch.randint(CLASSES, (sequences, 1), generator=generator)
    chances.scatter_(1, true, LEAN)
    tokens = torch.multinomial(chances, STEPS, replacement=True, generator=generator)
    spoken = torch.rand(sequences, STEPS, 1, generator=generator) >= NEUTRAL
    return nn.functional.one_hot(tokens, CLASSES) * spoken.float()


def train_integrator(seed: int, *, updates: int = 3000) -> FlipFlopNet:
    """Train a GRU to answer with the softmax of the evidence so far (n, t, 3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FlipFlopNet("gru", UNITS, bits=CLASSES)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, 1e-4)
    for _ in range(updates):
        tokens = sample_evidence(64, generator)
        beliefs = (WEIGHT * tokens.cumsum(1)).softmax(-1)
        loss = nn.functional.mse_loss(net(tokens), beliefs)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


def integrator(seed: int, cache: Path) -> FlipFlopNet:
    """A trained net, kept in a folder."""
    path = cache / f"integration_gru_{seed}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        about = {"task": "integration of evidence for 3 classes", "seed": str(seed)}
        save_flipflop(train_integrator(seed), path, about=about)
    return load_flipflop(path)
