"""The experiments by name, and running one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from captum_dynamics.experiments._bench import Bench, Options
from captum_dynamics.experiments._result import Reproduction


@dataclass(frozen=True)
class Experiment:
    """One reproduction of a paper.

    Attributes:
        title: what is reproduced, with the paper.
        minutes: rough time of the full version on two cores.
        quick_minutes: that of the quick one.
        module: name of the module whose `run(bench)` does it.
    """

    title: str
    minutes: int
    quick_minutes: int
    module: str

    @property
    def run(self) -> Callable[[Bench], None]:
        """The function that does it, imported when first needed."""
        module = importlib.import_module(f"captum_dynamics.experiments.{self.module}")
        run: Callable[[Bench], None] = module.run
        return run


EXPERIMENTS = {
    "line-attractor": Experiment(
        "Line attractors in sentiment networks (Maheswaranathan et al., NeurIPS 2019)",
        40,
        2,
        "line_attractor",
    ),
    "context": Experiment(
        "How networks use context: not and very (Maheswaranathan and Sussillo, ICML "
        "2020)",
        25,
        2,
        "context",
    ),
    "geometry": Experiment(
        "The geometry of integration in text classification (Aitken et al., ICLR 2021)",
        15,
        2,
        "geometry",
    ),
    "universality": Experiment(
        "Universality and individuality of networks (Maheswaranathan et al., NeurIPS "
        "2019)",
        20,
        2,
        "universality",
    ),
}


def reproduce(name: str, options: Options) -> Reproduction:
    """Run an experiment; its tables, pictures and numbers are written to its folder.

    Trained nets are kept in the folder: a second run, or one after an interruption,
    uses them.

    Args:
        name: one of `EXPERIMENTS`.
        options: folder, version, seed and data.

    Returns:
        What was found: claims of the paper, our numbers, and verdicts.

    Raises:
        ValueError: for another name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(
            f"Expected `name` to be one of {', '.join(EXPERIMENTS)}, got {name!r}."
        )
    experiment = EXPERIMENTS[name]
    bench = Bench(options)
    experiment.run(bench)
    return bench.finish(name, experiment.title, _command(name, options))


def _command(name: str, options: Options) -> str:
    parts = ["captum-dynamics reproduce", name]
    if options.quick:
        parts.append("--quick")
    if options.seed:
        parts.append(f"--seed {options.seed}")
    if options.data is not None:
        parts.append(f"--data {options.data.name}")
    return " ".join(parts)
