"""`analyze`: the whole chain, from a trained model to one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_dynamics import _checks
from captum_dynamics._typing import Inputs
from captum_dynamics._versions import versions
from captum_dynamics.adapters import RecurrentAdapter, adapt, find_layer
from captum_dynamics.adapters._registry import adapt_whole
from captum_dynamics.adapters._scripted import layer_type
from captum_dynamics.analysis._analysis import Analysis
from captum_dynamics.analysis._explain import explain, readout_direction
from captum_dynamics.analysis._given import (
    Explained,
    NamedInputs,
    check_lengths,
    check_methods,
    choose_explained,
)
from captum_dynamics.analysis._measure import measure_visits, measure_words, task_step
from captum_dynamics.calling import ModelInputs
from captum_dynamics.findings import Setting, Visits, Words
from captum_dynamics.fixed_points import FixedPoints, Kind, find_fixed_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.recording import Trajectories, mean_input, record
from captum_dynamics.topology import SlowManifold, connect, trace_slow_manifold

STAGES = 6
KEPT_WITHOUT_FIXED = 10  # slowest rows to show where no search found a fixed point


def analyze(
    model: nn.Module,
    layer: str | nn.Module | None,
    inputs: ModelInputs,
    *,
    target: int | None = None,
    direction: str | None = None,
    compare: Sequence[Callable[..., Any]] = (),
    tokens: Sequence[Sequence[str]] | None = None,
    lengths: Tensor | Sequence[int] | None = None,
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
        target: column of the model's output (n, outputs) to explain; it may be left
            out where there is one.
        direction: "forward" or "backward": which system of a bidirectional layer to
            analyse; steps are attributed through both. Levels of a bidirectional
            stack are adapted one by one, with `captum_dynamics.adapt`.
        compare: attribution classes of Captum to set beside ours, such as
            `[IntegratedGradients]`; they attribute to the layer's inputs.
        tokens: names of the steps of each sequence that count, such as its words.
        lengths: steps (n,) of each sequence that count; by default as many as it has
            tokens, else all.
        words: named inputs whose effect on the state is to be shown.
        reference: constant input (k,) of the searches and of the baseline; by default
            the mean of the recorded inputs.
        explained: number of sequences, from the first, to attribute; a model whose
            inputs are not batch first cannot be cut, and all are attributed.
        starts: visited states to search from; as many mixtures of them are added.
        seed: seed of all random choices; the global one is not touched.
        show_progress: show a progress bar over the stages.

    Returns:
        One frozen result, with `summary()`, `report(path)` and `save(path)`.

    Raises:
        LayerNotFoundError: no such layer.
        TypeError: a model that does not return a floating tensor.
        ValueError: bad arguments, active dropout, an output that is not one row for
            each sequence, or one that needs a `target`.

    Warns:
        ConvergenceWarning: when no search found a fixed point.
        AttributionWarning: when a method of `compare` goes wrong on such a layer; see
            `captum_dynamics.attr.check_method`.

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
    dynamics = adapt(model, found, direction=direction)
    _checks.check_count("explained", explained)
    _checks.check_count("starts", starts)
    check_methods(compare)
    if words is not None:
        _checks.check_matrix(
            "words.inputs", words.inputs, dynamics.input_dim, dynamics.device
        )
    run = _Run(show_progress)
    with run.stage("recording"):
        explaining, call = choose_explained(
            model,
            found,
            adapt_whole(found, model).with_output,
            inputs,
            target,
            explained,
        )
        given = check_lengths(lengths, tokens, call)
        runs = record(model, found, inputs, lengths=given, dynamics=dynamics)
        constant = _reference(reference, runs, dynamics)
        readout = readout_direction(explaining, dynamics)
        visits = measure_visits(
            found, runs, readout, constant, seed, direction=direction
        )
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
        documents = explain(explaining, runs, constant, compare, tokens, seed)
    kind = " ".join(filter(None, (direction, layer_type(found).__name__)))
    setting = _setting(model, explaining, dynamics, kind, runs, seed, search)
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
    return trace_slow_manifold(
        dynamics,
        visited,
        reference,
        task_step=task_step(runs),
        run_length=float(runs.lengths.double().median()),
    )


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
    inputs = words.inputs.detach().to(dynamics.dtype)
    scores = words.scores
    if scores is None:
        scores = torch.full((len(inputs),), torch.nan, dtype=torch.float64)
    return measure_words(
        linearization,
        readout,
        visits,
        tuple(words.names),
        inputs,
        scores.detach().double(),
    )


def _setting(
    model: nn.Module,
    explained: Explained,
    dynamics: RecurrentAdapter,
    kind: str,
    runs: Trajectories,
    seed: int,
    search: str,
) -> Callable[[dict[str, float]], Setting]:
    layer = explained.layer
    paths = [path for path, module in model.named_modules() if module is layer]
    return lambda seconds: Setting(
        model=type(model).__name__,
        layer=kind,
        path=paths[0] if paths else "",
        blocks=dynamics.layout.names,
        state_dim=dynamics.state_dim,
        input_dim=dynamics.input_dim,
        sequences=len(runs.states),
        steps=int(runs.lengths.sum()),
        target=str(explained),
        seed=seed,
        search=search,
        versions=versions(),
        seconds=seconds,
    )
