"""Context-dependent integration: a line attractor for each context, and a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_dynamics.adapters import adapt
from captum_dynamics.experiments._bench import Bench
from captum_dynamics.experiments._claims import (
    Claim,
    at_least,
    at_most,
    reported,
    within,
)
from captum_dynamics.experiments.universality._geometry import (
    compare_geometry,
    visited_units,
)
from captum_dynamics.experiments.universality._nets import trained_net
from captum_dynamics.experiments.universality._plan import NAMES, Plan
from captum_dynamics.linearization import Linearization
from captum_dynamics.models import ARCHITECTURES, SequenceNet
from captum_dynamics.recording import record
from captum_dynamics.tasks.contextual_integration import ContextualIntegration
from captum_dynamics.tasks.sequence_task import evaluate_task
from captum_dynamics.topology import SlowManifold, trace_slow_manifold

# Set before the run: a net that has learned; the effect of one unit of the stream that
# the context names, where 1 is perfect; and that of the other stream, where it is 0.
SCORE = 0.9
TRAINED = 0.98  # what all gated nets reach: less has been trained too short
NAMED_EFFECT = (0.8, 1.2)
OTHER_EFFECT = 0.2
LATER = 10  # steps after the input, when fast modes have died out
STATES = 512  # visited states that are relaxed


@dataclass(frozen=True, eq=False)
class Integrator:
    """A trained network and its slow points in each of two contexts.

    Attributes:
        name: architecture and seed.
        score: share of the sums' variance that it explains.
        manifolds: slow points in each context.
        effects: for each context (2, 2), what one unit of each stream adds to the
            answer some steps later, as a share of what it should add when named.
        one_mode: the same through the leading mode alone.
        held: for each context, the share of the answers' variance that is left after as
            many steps without streams as the task has; 1 where no answer moves.
        moving: for each context, the median step of the state after these, as a share
            of that in use.
    """

    name: str
    score: float
    manifolds: tuple[SlowManifold, ...]
    effects: Tensor
    one_mode: Tensor
    held: Tensor
    moving: Tensor

    @property
    def named(self) -> Tensor:
        """Effects (2,) of the streams that the contexts name."""
        return self.effects.diagonal()

    @property
    def other(self) -> Tensor:
        """Effects (2,) of those that they do not."""
        return self.effects.flip(1).diagonal()


def run(bench: Bench, plan: Plan) -> None:
    """Train networks, trace their slow points in each context, and compare them."""
    # The paper's streams are white noise, without a drift.
    task = ContextualIntegration(drift=0.0)
    nets = [_net(bench, plan, task, arch, seed) for arch, seed in plan.nets]
    found = []
    for (arch, seed), net in zip(plan.nets, nets, strict=True):
        name = f"{NAMES[arch]}, seed {seed}"
        bench.say(f"integration, {name}: slow points in each context")
        found.append(analyze_integrator(name, net, task, bench.generator()))
    bench.section(
        "Context-dependent integration: a line for each context",
        f"{len(nets)} networks of {plan.sine_size} units, {plan.integration_updates} "
        f"updates each, add up one of two streams of white noise over {task.steps} "
        "steps; a constant one-hot input says which. With the streams at zero, visited "
        "states are relaxed to slow points. Linearized there, an input of one should "
        f"move the answer by 1/sqrt({task.steps}) for ever if its stream is named, and "
        f"not at all if it is not; effects are medians over slow points, {LATER} steps "
        "later, divided by that.",
    )
    for arch in ARCHITECTURES:
        own = [
            net for (one, _), net in zip(plan.nets, found, strict=True) if one == arch
        ]
        claim_lines(bench, plan, NAMES[arch], own, task)
    _record(bench, "integration", found)
    data = task.sample(64, generator=bench.generator())
    bench.section(
        "Context-dependent integration: geometry by architecture",
        "The states of all networks on the same 64 sequences, as for the flip-flop.",
    )
    compare_geometry(bench, plan, [visited_units(net, data.inputs) for net in nets])
    if plan.longer_updates:
        _train_longer(bench, plan, task)


def _train_longer(bench: Bench, plan: Plan, task: ContextualIntegration) -> None:
    """See whether the vanilla networks were only trained too short."""
    longer = replace(plan, integration_updates=plan.longer_updates)
    own = [
        analyze_integrator(
            f"vanilla, seed {seed}",
            _net(bench, longer, task, "tanh", seed),
            task,
            bench.generator(),
        )
        for seed in range(plan.seeds)
    ]
    bench.section(
        "Context-dependent integration: vanilla networks once more",
        f"After {plan.integration_updates} updates the vanilla networks explain less "
        "than the others. They are trained again, from the same initial weights, with "
        f"{plan.longer_updates} updates. This was decided after a first run, in which "
        "they had failed.",
    )
    claim_lines(bench, longer, "vanilla, longer", own, task)
    _record(bench, "integration, longer", own)


def _net(
    bench: Bench, plan: Plan, task: ContextualIntegration, arch: str, seed: int
) -> SequenceNet:
    updates = plan.integration_updates
    name = f"integration_{arch}_{seed}_{updates}"
    size = plan.sine_size
    return trained_net(bench, name, task, arch, seed, size=size, updates=updates)


@torch.no_grad()
def analyze_integrator(
    name: str,
    net: SequenceNet,
    task: ContextualIntegration,
    generator: torch.Generator,
) -> Integrator:
    """Trace the slow points of each context, and what inputs do there."""
    dynamics = adapt(net, "rnn")
    data = task.sample(64, generator=generator)
    runs = record(net, "rnn", data.inputs, dynamics=dynamics)
    readout = torch.zeros(dynamics.state_dim, dtype=torch.float64)
    readout[dynamics.layout.slice("h")] = net.readout.weight[0].double()
    manifolds, effects, one_mode, rest = [], [], [], []
    for context in range(task.streams):
        cue = torch.zeros(1, task.input_size, dtype=torch.float64)
        cue[0, task.streams + context] = 1
        told = data.inputs[:, 0, task.streams + context] == 1
        visited = runs.states[told]
        places = torch.randperm(visited.shape[:2].numel(), generator=generator)[:STATES]
        task_step = float(visited.diff(dim=1).norm(dim=-1).median())
        slow = trace_slow_manifold(
            dynamics,
            visited.flatten(0, 1)[places],
            cue,
            task_step=task_step,
            run_length=float(task.steps),
        )
        ways = dynamics.rollout(
            visited[:, -1], cue.expand(len(visited), task.steps, -1)
        )
        rest.append(hold(visited[:, -1], ways, readout, task_step))
        manifolds.append(slow)
        whole, leading = stream_effects(slow.linearization, readout, task)
        effects.append(whole)
        one_mode.append(leading)
    return Integrator(
        name,
        evaluate_task(task, net),
        tuple(manifolds),
        torch.stack(effects),
        torch.stack(one_mode),
        *torch.tensor(rest).double().T,
    )


def hold(
    states: Tensor, ways: Tensor, readout: Tensor, task_step: float
) -> tuple[float, float]:
    """What is left of answers after some steps, and how fast states then move.

    Args:
        states: (n, d) before the steps.
        ways: (n, t, d) after each of them.
        readout: weights of the answer on the state (d,).
        task_step: median step in use.

    Returns:
        The share of the answers' variance that is left, and the median last step as a
        share of `task_step`.
    """
    before, after = states @ readout, ways[:, -1] @ readout
    lost = (after - before).square().sum() / (before - before.mean()).square().sum()
    last = (ways[:, -1] - ways[:, -2]).norm(dim=-1).median()
    return float(1 - lost), float(last / task_step)


def stream_effects(
    linear: Linearization, readout: Tensor, task: ContextualIntegration
) -> tuple[Tensor, Tensor]:
    """What a unit of each stream adds to the answer later: w J^k B, medians.

    Args:
        linear: slow points in one context.
        readout: weights w of the answer on the state (d,).
        task: the task; a named unit should add 1/sqrt(steps).

    Returns:
        Effects (streams,) by all modes, and by the leading one alone.
    """
    pushes = linear.input_jacobians[:, :, : task.streams]
    powers = torch.linalg.matrix_power(linear.jacobians, LATER)
    later = math.sqrt(task.steps) * readout @ powers
    whole = (later[:, None] @ pushes)[:, 0]
    size = linear.eigenvalues[:, :1] ** LATER
    read = (readout + 0j) @ linear.right_eigenvectors[:, :, 0].T
    written = linear.left_eigenvectors[:, :1] @ (pushes + 0j)
    leading = math.sqrt(task.steps) * (size * read[:, None] * written[:, 0])
    return whole.median(0).values, leading.real.median(0).values


def claim_lines(
    bench: Bench,
    plan: Plan,
    name: str,
    own: Sequence[Integrator],
    task: ContextualIntegration,
) -> None:
    """Claim lines as slow as the task is long, and a choice by context.

    Args:
        bench: where claims go.
        plan: how the networks were trained.
        name: of the networks.
        own: networks of one architecture.
        task: what they do.
    """
    bench.claim(
        *_memory_claims(plan, name, own, task),
        *_effect_claims(name, own),
        *_holding_claims(name, own, task),
    )


def _memory_claims(
    plan: Plan, name: str, own: Sequence[Integrator], task: ContextualIntegration
) -> list[Claim]:
    """How good the networks are, and how long their lines last."""
    slow = [manifold for net in own for manifold in net.manifolds]
    lines = sum(manifold.shape.value == "line" for manifold in slow)
    memory = float(torch.tensor([one.memory for one in slow]).nanmedian())
    share = sum(manifold.slow_share for manifold in slow) / len(slow)
    score = min(net.score for net in own)
    return [
        at_least(f"{name}: lowest share of variance", score, SCORE, form=".4f"),
        at_least(
            f"{name}: median time constant of the leading mode, steps",
            memory,
            task.steps,
            paper="approximate line attractors",
            note="" if memory >= task.steps else _reason(plan, score, share),
        ),
        reported(
            f"{name}: share of slow points whose leading mode grows",
            sum(manifold.growing_share for manifold in slow) / len(slow),
            form=".0%",
            note="Time constants are those of the others.",
        ),
        reported(
            f"{name}: contexts whose slow points form a line",
            f"{lines} of {len(slow)}",
            note="The verdict of `trace_slow_manifold`; why it is another for some is "
            "in result.json.",
        ),
    ]


def _effect_claims(name: str, own: Sequence[Integrator]) -> list[Claim]:
    """What the networks keep of the stream that is named, and of the other."""
    named = torch.cat([net.named for net in own])
    other = torch.cat([net.other for net in own]).abs()
    alone = torch.cat([net.one_mode.diagonal() for net in own])
    return [
        within(
            f"{name}: effect of the named stream",
            float(named.median()),
            *NAMED_EFFECT,
            paper="integrated",
        ),
        at_most(
            f"{name}: largest effect of the other stream",
            float(other.max()),
            OTHER_EFFECT,
            paper="ignored",
        ),
        reported(
            f"{name}: effect of the named stream through one mode",
            float(alone.median()),
            paper="all in the vanilla net, a part in gated ones",
        ),
    ]


def _holding_claims(
    name: str, own: Sequence[Integrator], task: ContextualIntegration
) -> list[Claim]:
    """What is left of answers, and whether states rest."""
    held = torch.cat([net.held for net in own])
    moving = torch.cat([net.moving for net in own])
    return [
        reported(
            f"{name}: answers left after {task.steps} steps without streams",
            f"{float(held.min()):.2f} to {float(held.max()):.2f}",
            note="Share of the variance, over networks and contexts.",
        ),
        reported(
            f"{name}: length of the state's steps then, share of that in use",
            f"{float(moving.min()):.2g} to {float(moving.max()):.2g}",
        ),
    ]


def _reason(plan: Plan, score: float, share: float) -> str:
    if score < TRAINED:
        return (
            f"After {plan.integration_updates} updates the nets explain "
            f"{score:.1%} of the variance: they may be trained too short."
        )
    return (
        f"Well trained, but only {share:.0%} of the relaxed states are slow: the last "
        "two rows tell how the answers are held all the same."
    )


def _record(bench: Bench, name: str, found: Sequence[Integrator]) -> None:
    bench.numbers[name] = {
        net.name: {
            "score": net.score,
            "shapes": [manifold.shape.value for manifold in net.manifolds],
            "reasons": [manifold.evidence.reason for manifold in net.manifolds],
            "memory": [manifold.memory for manifold in net.manifolds],
            "gap": [manifold.gap for manifold in net.manifolds],
            "slow share": [manifold.slow_share for manifold in net.manifolds],
            "effects": net.effects.tolist(),
            "effects of one mode": net.one_mode.tolist(),
            "answers left": net.held.tolist(),
            "steps without streams": net.moving.tolist(),
        }
        for net in found
    }
