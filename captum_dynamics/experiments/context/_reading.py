"""What the net of the toy language does at its slow points, before and after words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captum_dynamics._typing import PerPoint, States
from captum_dynamics.adapters import adapt
from captum_dynamics.attr import ModifierEffects, measure_modifiers
from captum_dynamics.fixed_points import Kind, find_slow_points
from captum_dynamics.linearization import Linearization, linearize
from captum_dynamics.recording import record
from captum_dynamics.solvers import LevenbergMarquardt
from captum_dynamics.tasks.context import (
    NOISE,
    VALUES,
    ContextNet,
    encode_words,
    evaluate_context,
    sample_context,
)

MODIFIERS = ("not", "very")
SPEED = 3e-3  # |g|, as for q below 5e-6: slower than a tenth of a word in a sentence
SENTENCES, STEPS = 64, 50  # read to find states


@dataclass(frozen=True, eq=False)
class Nearest:
    """The left mode, or the plane of a pair, that a deflection is nearest to.

    Attributes:
        angles: degrees (n,) between them.
        pairs: whether (n,) it is a pair.
        times: (n,) its time constant, in words.
    """

    angles: PerPoint
    pairs: Bool[Tensor, " n"]
    times: PerPoint


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read off a net of the toy language.

    Attributes:
        net: in double precision.
        loss: mean squared error of its answers on fresh sentences.
        linearization: slow points under the mean noise word.
        effects: of "not" and "very" there, on the words with a value.
        nearest: for each modifier, the left mode nearest to its deflection.
        chance: median angle of random deflections to their nearest left mode.
    """

    net: ContextNet
    loss: float
    linearization: Linearization
    effects: ModifierEffects
    nearest: tuple[Nearest, ...]
    chance: float

    @property
    def sums(self) -> PerPoint:
        """What the net answers (n,) at the slow points."""
        states = self.linearization.points.states
        answers: Tensor = self.net.readout(states).detach()[:, 0]
        return answers


def neutral_input() -> Float[Tensor, "1 12"]:
    """The mean noise word: of one-hot words, zero is none of the language."""
    return encode_words(" ".join(NOISE))[0].double().mean(0, keepdim=True)


def read_net(net: ContextNet, starts: int, *, generator: torch.Generator) -> Reading:
    """Find slow points of a net, and read both modifiers there.

    Args:
        net: a trained net, which is left as it is.
        starts: visited states from which slow points are searched.
        generator: source of randomness.
    """
    own = ContextNet(net.rnn.hidden_size)
    own.load_state_dict(net.state_dict())
    own = own.double().eval()
    dynamics = adapt(own, "rnn")
    data = sample_context(SENTENCES, STEPS, generator=generator)
    visited = record(own, "rnn", data.inputs.double())
    points = find_slow_points(
        dynamics,
        visited.sample_states(starts, generator=generator),
        neutral_input(),
        solver=LevenbergMarquardt(atol=SPEED),
    )
    linear = linearize(dynamics, points[points.kind <= Kind.SLOW])
    read = encode_words(" ".join(MODIFIERS))[0].double()
    valued = encode_words(" ".join(VALUES))[0].double()
    readout = own.readout.weight.detach()[0]
    effects = measure_modifiers(dynamics, linear, readout, read, valued)
    states = linear.points.states
    moved = [dynamics.step(states, x.expand(len(states), -1)) - states for x in read]
    random = torch.randn(states.shape, generator=generator, dtype=states.dtype)
    return Reading(
        own,
        evaluate_context(net),
        linear,
        effects,
        tuple(nearest_left_mode(linear, step) for step in moved),
        float(nearest_left_mode(linear, random).angles.median()),
    )


def nearest_left_mode(linear: Linearization, deflections: States) -> Nearest:
    """Find for each point the left mode with the smallest angle to a deflection.

    A real mode is a line, a conjugate pair the plane of its real and imaginary part.

    Args:
        linear: points and their modes.
        deflections: (n, d), one for each point.
    """
    left = linear.left_eigenvectors
    first = left.real / left.real.norm(dim=2, keepdim=True)
    along = (left.imag * first).sum(2, keepdim=True)
    second = left.imag - along * first
    size = second.norm(dim=2, keepdim=True)
    is_pair = linear.eigenvalues.imag != 0
    second = torch.where(is_pair[..., None], second / size, 0.0)
    parts = torch.stack([first, second], dim=2) @ deflections[:, None, :, None]
    cosines = parts.norm(dim=(2, 3)) / deflections.norm(dim=1, keepdim=True)
    best = cosines.argmax(1, keepdim=True)

    def at_best(values: Tensor) -> Tensor:
        return values.gather(1, best)[:, 0]

    return Nearest(
        torch.rad2deg(at_best(cosines).clamp(max=1).acos()),
        at_best(is_pair),
        at_best(linear.time_scales),
    )
