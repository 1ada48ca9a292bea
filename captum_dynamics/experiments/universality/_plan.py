"""How many networks, how large, and how long they are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from captum_dynamics.models import ARCHITECTURES


@dataclass(frozen=True)
class Plan:
    """The sizes of one version of the experiment.

    Attributes:
        seeds: networks of each architecture.
        bits: channels of the flip-flop.
        memory_size: units of its networks.
        memory_updates: updates of their weights.
        sine_size: units of the networks that make waves, and of those that integrate.
        sine_updates: updates of the first.
        integration_updates: updates of the second.
        longer_updates: updates of vanilla networks that integrate, once more; 0 for
            none.
        cues: waves at which the networks are linearized, of the 51 they learn.
        permutations: random groupings that the true one is compared with.
    """

    seeds: int
    bits: int
    memory_size: int
    memory_updates: int
    sine_size: int
    sine_updates: int
    integration_updates: int
    longer_updates: int
    cues: int
    permutations: int = 9999

    @property
    def nets(self) -> list[tuple[str, int]]:
        """Architecture and seed of every network."""
        return [(arch, seed) for arch in ARCHITECTURES for seed in range(self.seeds)]

    @property
    def groups(self) -> list[str]:
        """Architecture of every network, as it is called."""
        return [NAMES[arch] for arch, _ in self.nets]

    @property
    def numbers(self) -> dict[str, Any]:
        """All sizes, by name."""
        return asdict(self)


NAMES = {"tanh": "vanilla", "ugrnn": "UGRNN", "gru": "GRU", "lstm": "LSTM"}

# Size and updates of the flip-flop are the defaults of its command. Of waves the first
# two nets tried (vanilla and UGRNN of 32 units, 3000 updates) explain 98 and 99.9 % of
# the variance, of sums (vanilla and LSTM, 500 updates) 95 and 99.6 %.
FULL = Plan(3, 3, 16, 3000, 32, 3000, 600, 3000, 11)
QUICK = Plan(2, 2, 12, 400, 16, 600, 300, 0, 3, 999)
