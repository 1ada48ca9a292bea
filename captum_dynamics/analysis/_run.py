"""`analyze`: the whole chain, from a trained model to one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs, PerPoint
from captum_dynamics.adapters import RecurrentAdapter, adapt, find_layer
from captum_dynamics.analysis._analysis import Analysis
from captum_dynamics.analysis._explain import Explained, explain, readout_direction
from captum_dynamics.analysis._measure import measure_visits, measure_words, task_step
from captum_dynamics.calling import ModelInputs
from captum_dynamics.findings import Setting, Visits, Words
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.recording import Trajectories, mean_input, record
from captum_dynamics.topology import SlowManifold, connect, trace_slow_manifold

STAGES = 6
KEPT_WITHOUT_FIXED = 10  # slowest rows to show where no search found a fixed point


@dataclass(frozen=True, eq=False)
class NamedInputs:
    """Inputs of a layer with names, such as the words of a vocabulary.

    Attributes:
        names: v names.
        inputs: what the layer reads for each, (v, k).
        scores: what is known of each from elsewhere, (v,), such as its weight in a bag
            of words; None where nothing is.
    """

    names: Sequence[str]
    inputs: Inputs
    scores: PerPoint | None = None

    def __post_init__(self) -> None:
        """Refuse lists of different lengths."""
        _checks.check_floating("words.inputs", self.inputs)
        rows = len(self.inputs)
        if len(self.names) != rows:
            raise ValueError(f"Expected {rows} `words.names`, got {len(self.names)}.")
        if self.scores is not None and self.scores.shape != (rows,):
            raise ValueError(
                f"Expected `words.scores` to have shape ({rows},), got "
                f"{tuple(self.scores.shape)}."
            )


def analyze(
    model: nn.Module,
    layer: str | nn.Module | None,
    inputs: ModelInputs,
    *,
    target: int | None = None,
    compare: Sequence[Callable[..., Any]] = (),
    tokens: Sequence[Sequence[str]] | None = None,
    lengths: Tensor | None = None,
    words: NamedInputs | None = None,
    reference: Tensor | None = None,
    explained: int = 8,
    starts: int = 256,
    seed: int = 0,
    show_progress: bool = False,
) -> Analysis:
    """Reverse engineer one recurrent layer of a trained model.

    The chain: record the layer in use, find its fixed points at the mean input,
    linearize, relax visited states to the slow manifold, connect the points, and
    attribute the output to the steps of some sequences.

    Args:
        model: the host model, in evaluation mode.
        layer: path of the recurrent layer, the layer, or None where there is one.
        inputs: what the model is called with: some tens to hundreds of sequences, as a
            tensor, a tuple of positional or a mapping of named arguments.
        target: column of the model's output to explain; it may be left out where
            there is one.
        compare: attribution classes of Captum to set beside ours, such as
            `[IntegratedGradients]`; they attribute to the layer's inputs.
        tokens: names of the steps of each sequence, such as its words.
        lengths: steps (n,) of each sequence that count; by default as many as it has
            tokens, else all.
        words: named inputs whose effect on the state is to be shown.
        reference: constant input (k,) of the searches and of the baseline; by default
            the mean of the recorded inputs.
        explained: number of sequences, from the first, to attribute.
        starts: visited states to search from; as many mixtures of them are added.
        seed: seed of all random choices; the global one is not touched.
        show_progress: show a progress bar over the stages.

    Returns:
        One frozen result, with `summary()`, `report(path)` and `save(path)`.

    Raises:
        LayerNotFoundError: no such layer.
        ValueError: bad inputs, active dropout, or an output that needs a `target`.

    Warns:
        ConvergenceWarning: when no search found a fixed point.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> class Last(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.rnn = torch.nn.GRU(3, 6, batch_first=True)
        ...         self.readout = torch.nn.Linear(6, 1)
        ...     def forward(self, x):
        ...         return self.readout(self.rnn(x)[0][:, -1])
        >>> result = cd.analyze(Last().eval(), "rnn", torch.randn(20, 15, 3), starts=32)
        >>> result.summary().startswith("LAYER  GRU at 'rnn' of Last")
        True
    """
    found = find_layer(model, layer)
    dynamics = adapt(found)
    run = _Run(show_progress)
    with run.stage("recording"):
        if lengths is None and tokens is not None:
            lengths = torch.tensor([len(names) for names in tokens])
        runs = record(model, found, inputs, lengths=lengths, dynamics=dynamics)
        constant = _reference(reference, runs, dynamics)
        explaining = Explained(model, found, dynamics, inputs, runs, explained, target)
        readout = readout_direction(explaining)
        visits = measure_visits(found, runs, readout, constant, seed)
    with run.stage("fixed points"):
        points, search = _search(dynamics, runs, constant, starts, seed)
    with run.stage("slow points"):
        linearization = linearize(dynamics, points)
        manifold = _slow(dynamics, runs, constant, seed)
    with run.stage("connections"):
        generator = torch.Generator().manual_seed(seed)
        visited = runs.sample_states(min(200, starts), generator=generator)
        graph = connect(
            dynamics, linearization, basin_states=visited, generator=generator
        )
    with run.stage("words"):
        spectrum = manifold.linearization if len(manifold) else linearization
        shown = _words(dynamics, spectrum, readout, visits, words, runs, seed)
    with run.stage("attribution"):
        documents = explain(explaining, constant, compare, tokens)
    setting = _setting(model, found, dynamics, runs, explaining.target, seed, search)
    return Analysis(
        run.finish(setting), graph, manifold, readout, visits, shown, documents
    )


@dataclass
class _Run:
    """The stages of one analysis: a bar, and the time of each."""

    show: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bar = tqdm(total=STAGES, desc="Analysis", disable=not self.show)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show its name."""
        self._bar.set_postfix_str(name)
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            self._bar.close()
            raise
        self.seconds[name] = time.perf_counter() - began
        self._bar.update()

    def finish(self, setting: Callable[[dict[str, float]], Setting]) -> Setting:
        """Close the bar and write the times down."""
        self._bar.close()
        return setting(self.seconds)


def _reference(
    reference: Tensor | None, runs: Trajectories, dynamics: RecurrentAdapter
) -> Inputs:
    if reference is None:
        return mean_input(runs)
    given = _checks.check_inputs(
        "reference", reference.detach(), 1, dynamics.input_dim, dynamics.device
    )
    return given.to(dynamics.dtype)


def _search(
    dynamics: RecurrentAdapter,
    runs: Trajectories,
    reference: Inputs,
    starts: int,
    seed: int,
) -> tuple[FixedPoints, str]:
    """Distinct fixed points, most often found first, and what the search met."""
    generator = torch.Generator().manual_seed(seed)
    visited = runs.sample_states(starts, generator=generator)
    found = find_fixed_points(
        dynamics, visited, reference, extra_starts=starts, generator=generator
    )
    distinct = found[found.kind == Kind.FIXED].unique()
    if not len(distinct):
        # Rows that are not even finite have nothing to show.
        finite = found[torch.isfinite(found.residual_norms)]
        slowest = finite.residual_norms.argsort()[:KEPT_WITHOUT_FIXED]
        return finite[slowest], found.summary()
    order = distinct.multiplicity.argsort(descending=True, stable=True)
    return distinct[order], found.summary()


def _slow(
    dynamics: RecurrentAdapter, runs: Trajectories, reference: Inputs, seed: int
) -> SlowManifold:
    generator = torch.Generator().manual_seed(seed)
    visited = runs.sample_states(500, generator=generator)
    return trace_slow_manifold(dynamics, visited, reference, task_step=task_step(runs))


def _words(
    dynamics: RecurrentAdapter,
    linearization: Linearization,
    readout: Tensor,
    visits: Visits,
    words: NamedInputs | None,
    runs: Trajectories,
    seed: int,
) -> Words:
    if words is None:
        recorded = runs.inputs[runs.valid]
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(recorded), generator=generator)[:2000]
        words = NamedInputs([""] * len(rows), recorded[rows.to(recorded.device)])
    inputs = _checks.check_matrix(
        "words.inputs", words.inputs.detach(), dynamics.input_dim, dynamics.device
    )
    scores = words.scores
    if scores is None:
        scores = torch.full((len(inputs),), torch.nan, dtype=torch.float64)
    return measure_words(
        dynamics,
        linearization,
        readout,
        visits,
        tuple(words.names),
        inputs.to(dynamics.dtype),
        scores.detach().double(),
    )


def _setting(
    model: nn.Module,
    layer: nn.Module,
    dynamics: RecurrentAdapter,
    runs: Trajectories,
    target: int | None,
    seed: int,
    search: str,
) -> Callable[[dict[str, float]], Setting]:
    paths = [path for path, module in model.named_modules() if module is layer]
    return lambda seconds: Setting(
        model=type(model).__name__,
        layer=type(layer).__name__,
        path=paths[0] if paths else "",
        blocks=dynamics.layout.names,
        state_dim=dynamics.state_dim,
        input_dim=dynamics.input_dim,
        sequences=len(runs.states),
        steps=int(runs.lengths.sum()),
        target="the output" if target is None else f"output {target}",
        seed=seed,
        search=search,
        versions=_versions(),
        seconds=seconds,
    )


def _versions() -> dict[str, str]:
    names = ("captum-dynamics", "torch", "captum", "numpy", "networkx", "scikit-learn")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
