"""Where an experiment works: its folder, its kept nets, its claims and pictures."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from captum_dynamics._versions import versions
from captum_dynamics.experiments._claims import Claim
from captum_dynamics.experiments._result import Picture, Reproduction, Section
from captum_dynamics.tasks._training import Checkpoint

_logger = logging.getLogger(__name__)

Net = TypeVar("Net", bound=nn.Module)
CHECKPOINT_EVERY = 200  # updates


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        folder: where everything is written; trained nets are kept in it and used again.
        quick: whether to run the short version, in minutes.
        seed: seed of all random choices.
        data: a file of film reviews, for the experiments that read some.
        show_progress: show bars and say what is being done.
    """

    folder: Path
    quick: bool = False
    seed: int = 0
    data: Path | None = None
    show_progress: bool = False


@dataclass
class Bench:
    """One run of an experiment: it trains or loads nets and collects what is found.

    Attributes:
        options: what the user asked for.
        numbers: further numbers for the JSON file, as plain values.
    """

    options: Options
    numbers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin without sections."""
        self._began = time.perf_counter()
        self._kept_seconds = 0.0  # of trainings of earlier runs
        self._sections: list[tuple[str, str, list[Claim], list[Picture]]] = []
        (self.options.folder / "nets").mkdir(parents=True, exist_ok=True)
        (self.options.folder / "figures").mkdir(exist_ok=True)

    @property
    def quick(self) -> bool:
        """Whether this is the short version."""
        return self.options.quick

    @property
    def seed(self) -> int:
        """Seed of all random choices."""
        return self.options.seed

    @property
    def show_progress(self) -> bool:
        """Whether long work shows a bar."""
        return self.options.show_progress

    def generator(self) -> torch.Generator:
        """A new source of randomness, always the same."""
        return torch.Generator().manual_seed(self.seed)

    def say(self, sentence: str) -> None:
        """Tell the user what is being done, with the time since the start."""
        if self.show_progress:
            seconds = time.perf_counter() - self._began
            _logger.info("[%4.0f s] %s", seconds, sentence)

    def section(self, title: str, text: str) -> None:
        """Begin a section: later claims and pictures belong to it."""
        self._sections.append((title, text, [], []))

    def claim(self, *claims: Claim) -> None:
        """Add rows to the table of this section."""
        self._sections[-1][2].extend(claims)

    def picture(self, name: str, figure: Any, caption: str) -> None:
        """Write a matplotlib figure as `figures/<name>.png`."""
        file = f"figures/{name}.png"
        figure.savefig(self.options.folder / file, dpi=80)
        self._sections[-1][3].append(Picture(file, caption))

    def net(
        self,
        name: str,
        settings: Mapping[str, Any],
        train: Callable[[Checkpoint], Net],
        save: Callable[[Net, Path], None],
        load: Callable[[Path], Net],
    ) -> Net:
        """Train a net, or load the one that an earlier run with these settings kept.

        A run that was killed goes on from the checkpoint of its training.

        Args:
            name: of the file in the folder `nets`.
            settings: all that decides the weights; the seed is added.
            train: trains the net and keeps a checkpoint in the given file.
            save: writes the net.
            load: reads it.
        """
        file = self.options.folder / "nets" / f"{name}.safetensors"
        note = file.with_suffix(".json")
        wanted = {**settings, "seed": self.seed, "torch": torch.__version__}
        about = json.loads(json.dumps(wanted, default=str))
        known = json.loads(note.read_text("utf-8")) if note.exists() else {}
        same = known.get("settings") == about
        if same and file.exists():
            self.say(f"{name}: trained before")
            self._kept_seconds += known["seconds"]
            return load(file)
        checkpoint = file.with_suffix(".checkpoint")
        if not same:
            checkpoint.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            known = {"settings": about, "seconds": 0.0}
            _write(note, known)
        self.say(f"{name}: training")
        began = time.perf_counter()
        net = train(Checkpoint(checkpoint, CHECKPOINT_EVERY, resume=True))
        save(net, file)
        _write(note, known | {"seconds": time.perf_counter() - began})
        checkpoint.unlink(missing_ok=True)
        return load(file)

    def finish(self, name: str, title: str, command: str) -> Reproduction:
        """Write all down."""
        machine = {
            "processors": str(os.cpu_count()),
            "threads": str(torch.get_num_threads()),
            **versions(),
        }
        found = Reproduction(
            name,
            title,
            command,
            self.quick,
            self.seed,
            time.perf_counter() - self._began + self._kept_seconds,
            machine,
            tuple(
                Section(title, text, tuple(claims), tuple(pictures))
                for title, text, claims, pictures in self._sections
            ),
            self.numbers,
        )
        found.write(self.options.folder)
        return found


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all: the next run reads it."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
