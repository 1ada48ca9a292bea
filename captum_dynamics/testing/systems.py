"""Dynamical systems whose fixed points are known exactly.

Points and multipliers below come from algebra, not from a search: most systems are
built so that a coordinate obeys m = tanh(g m), whose slope there is g (1 - m^2).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from captum_dynamics._typing import States
from captum_dynamics.activation_form import ActivationForm
from captum_dynamics.adapters import FunctionAdapter
from captum_dynamics.dynamics import Traits
from captum_dynamics.testing._known import KnownSystem, multipliers, points

__all__ = [
    "KnownSystem",
    "all_systems",
    "bistable",
    "coupled_switches",
    "flip",
    "focus",
    "henon",
    "hopfield",
    "line_attractor",
    "logistic",
    "perturbed_ring",
    "pitchfork",
    "ring",
    "spiral",
    "threshold_linear",
    "uncoupled_switches",
]


def all_systems() -> tuple[KnownSystem, ...]:
    """Every system below, with its default settings.

    Example:
        >>> [system.name for system in all_systems()][:2]
        ['bistable', 'uncoupled_switches']
    """
    return (
        bistable(),
        uncoupled_switches(2),
        spiral(),
        flip(),
        logistic(),
        henon(),
        focus(),
        line_attractor(),
        hopfield(),
        ring(),
        perturbed_ring(),
        threshold_linear(),
        pitchfork(),
        coupled_switches(),
    )


def bistable(gain: float = 2.0) -> KnownSystem:
    """h' = tanh(gain h + x): a saddle at 0 between two attractors, for gain > 1."""
    m = _tanh_root(gain)
    dynamics = FunctionAdapter(
        lambda h, x: torch.tanh(gain * h + x), 1, 1, box=_unit_box(1)
    )
    slope = gain * (1 - m**2)
    return KnownSystem(
        "bistable",
        dynamics,
        points([[0.0], [-m], [m]]),
        multipliers([[gain], [slope], [slope]]),
        edges=((0, 1), (0, 2)),
    )


def uncoupled_switches(n: int = 2, gain: float = 2.0) -> KnownSystem:
    """n bistable units side by side: 3^n points, connected like the faces of a cube."""
    m = _tanh_root(gain)
    corners = list(itertools.product((-m, 0.0, m), repeat=n))
    slopes = [[gain * (1 - h**2) for h in corner] for corner in corners]
    rows = {corner: row for row, corner in enumerate(corners)}
    edges = tuple(
        (rows[corner], rows[(*corner[:unit], end, *corner[unit + 1 :])])
        for corner in corners
        for unit in range(n)
        if corner[unit] == 0
        for end in (-m, m)
    )
    return KnownSystem(
        "uncoupled_switches",
        _tanh_map(gain * torch.eye(n, dtype=torch.float64)),
        points(corners),
        multipliers(slopes),
        edges=edges,
    )


def spiral() -> KnownSystem:
    """tanh(1.5 R h), R a turn by 45 degrees: 0 repels towards a cycle of period 8."""
    gain = 1.5 / math.sqrt(2.0)
    weights = gain * points([[1.0, -1.0], [1.0, 1.0]])
    # On the cycle (a, 0) -> (b, b) -> (0, a) -> (-b, b) -> ...
    a = 1.0
    for _ in range(200):
        b = math.tanh(gain * a)
        a = math.tanh(2 * gain * b)
    half = [[a, 0.0], [b, b], [0.0, a], [-b, b]]
    return KnownSystem(
        "spiral",
        _tanh_map(weights),
        points([[0.0, 0.0]]),
        multipliers([[complex(gain, gain), complex(gain, -gain)]]),
        cycles=(points([*half, *[[-x, -y] for x, y in half]]),),
    )


def flip() -> KnownSystem:
    """h' = tanh(-2 h): 0 has slope -2, and states alternate between two values."""
    m = _tanh_root(2.0)
    return KnownSystem(
        "flip",
        _tanh_map(points([[-2.0]])),
        points([[0.0]]),
        multipliers([[-2.0]]),
        cycles=(points([[m], [-m]]),),
    )


def logistic(r: float = 3.2) -> KnownSystem:
    """h' = r h (1 - h): a flip at 1 - 1/r; no interval goes into its interior."""
    # The 2-cycle solves r^2 h^2 - r (r + 1) h + (r + 1) = 0.
    root = math.sqrt((r - 3) * (r + 1))
    pair = [[(r + 1 + root) / (2 * r)], [(r + 1 - root) / (2 * r)]]
    return KnownSystem(
        "logistic",
        FunctionAdapter(lambda h, x: r * h * (1 - h), 1, 0),
        points([[0.0], [1 - 1 / r]]),
        multipliers([[r], [2 - r]]),
        index_rule=False,
        cycles=(points(pair),),
        region=(-0.2, 1.2),
    )


def henon(a: float = 1.4, b: float = 0.3) -> KnownSystem:
    """(x, y) -> (1 - a x^2 + y, b x): two saddles, one of them in a chaotic set."""
    root = math.sqrt((1 - b) ** 2 + 4 * a)
    xs = [(b - 1 + root) / (2 * a), (b - 1 - root) / (2 * a)]
    roots = [(math.sqrt((a * x) ** 2 + b), a * x) for x in xs]
    # The multipliers solve z^2 + 2 a x z - b = 0.
    pairs = [sorted((-ax - s, -ax + s), key=abs, reverse=True) for s, ax in roots]
    # So the 2-cycle: a^2 x^2 - a (1 - b) x + (1 - b)^2 - a = 0.
    spread = math.sqrt(4 * a - 3 * (1 - b) ** 2)
    high, low = (1 - b + spread) / (2 * a), (1 - b - spread) / (2 * a)
    return KnownSystem(
        "henon",
        FunctionAdapter(
            lambda h, x: torch.stack(
                [1 - a * h[:, 0] ** 2 + h[:, 1], b * h[:, 0]], dim=1
            ),
            2,
            0,
        ),
        points([[x, b * x] for x in xs]),
        multipliers(pairs),
        index_rule=False,
        cycles=(points([[high, b * low], [low, b * high]]),),
        region=(-1.5, 1.5),
    )


def focus() -> KnownSystem:
    """h' = p + Q (h - p) / 2, Q a quarter turn, p = (1, 2): affine, drawn towards p."""
    point = points([[1.0, 2.0]])
    turn = points([[0.0, -0.5], [0.5, 0.0]])
    return KnownSystem(
        "focus",
        FunctionAdapter(
            lambda h, x: point.to(h) + (h - point.to(h)) @ turn.to(h).mT,
            2,
            0,
            traits=Traits(affine_in_state=True),
        ),
        point,
        multipliers([[0.5j, -0.5j]]),
        region=(-1.0, 3.0),
    )


def line_attractor() -> KnownSystem:
    """h' = (u v^T + (I - u v^T) / 2) h with v^T u = 1: every point of span(u) rests.

    The memory is read by v, not by u: they are the left and right modes of the
    multiplier 1.
    """
    u = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64) / 3
    v = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64) * 3 / 8
    weights = 0.5 * (torch.outer(u, v) + torch.eye(3, dtype=torch.float64))
    return KnownSystem(
        "line_attractor",
        FunctionAdapter(
            lambda h, x: h @ weights.to(h).mT,
            3,
            0,
            traits=Traits(affine_in_state=True),
        ),
        points([[0.0, 0.0, 0.0]]),
        multipliers([[1.0, 0.5, 0.5]]),
        index_rule=False,
        nearest=lambda h: torch.outer(h @ u, u),
    )


def hopfield() -> KnownSystem:
    """tanh(W h), W = 2/8 X^T X of two orthogonal patterns: memories, mixtures and 0."""
    patterns = points([[1.0] * 8, [1.0, -1.0] * 4])
    m = _tanh_root(2.0)
    slope = 2 * (1 - m**2)
    # A mixture is m where the patterns agree, and 0 elsewhere: overlaps m / 2.
    overlaps = [[m, 0.0], [-m, 0.0], [0.0, m], [0.0, -m]]
    overlaps += [[i * m / 2, j * m / 2] for i in (1, -1) for j in (1, -1)]
    overlaps += [[0.0, 0.0]]
    leading = [[slope, slope]] * 4 + [[2.0, slope]] * 4 + [[2.0, 2.0]]
    towards = [(4, 0), (4, 2), (5, 0), (5, 3), (6, 1), (6, 2), (7, 1), (7, 3)]
    return KnownSystem(
        "hopfield",
        _tanh_map(patterns.mT @ patterns / 4),
        points(overlaps) @ patterns,
        multipliers([[*pair, *[0.0] * 6] for pair in leading]),
        edges=(*((8, saddle) for saddle in range(4, 8)), *towards),
    )


def ring() -> KnownSystem:
    """h' = h (1 + (1 - |h|^2) / 2) in the plane: the unit circle rests, 0 repels."""
    return KnownSystem(
        "ring",
        FunctionAdapter(lambda h, x: _towards_ring(h), 2, 0),
        points([[0.0, 0.0], [1.0, 0.0]]),
        multipliers([[1.5, 1.5], [1.0, 0.0]]),
        index_rule=False,
        nearest=lambda h: h / h.norm(dim=1, keepdim=True).clamp_min(1e-300),
        region=(-1.2, 1.2),
    )


def perturbed_ring(perturbation: float = 0.02) -> KnownSystem:
    """The ring with its x-axis favoured: two attractors, two saddles, 0 repels."""
    e = perturbation
    stretch = torch.tensor([e, -e], dtype=torch.float64)
    x, y = math.sqrt(1 + 2 * e), math.sqrt(1 - 2 * e)
    on_x = sorted([-2 * e, 1 - 2 * e], key=abs, reverse=True)
    on_y = sorted([2 * e, 1 + 2 * e], key=abs, reverse=True)
    return KnownSystem(
        "perturbed_ring",
        FunctionAdapter(
            lambda h, x: _towards_ring(h) + stretch.to(h) * h,
            2,
            0,
        ),
        points([[0.0, 0.0], [0.0, y], [0.0, -y], [x, 0.0], [-x, 0.0]]),
        multipliers([[1.5 + e, 1.5 - e], on_y, on_y, on_x, on_x]),
        edges=((0, 1), (0, 2), (1, 3), (1, 4), (2, 3), (2, 4)),
        region=(-1.2, 1.2),
    )


def threshold_linear() -> KnownSystem:
    """z' = z / 2 - 1.6 relu(z swapped) + 1: two attractors, a repeller, a 2-cycle.

    The region where both units are off has its zero outside itself, at (2, 2).
    """
    eye = torch.eye(2, dtype=torch.float64)
    swapped = -1.6 * eye.flip(1)
    form = ActivationForm(0.5 * eye, swapped, eye, 0 * eye[0], eye.sum(0))
    z = 1 / 2.1
    # In turn both on and both off: high = low / 2 + 1 and low = 1 - 1.1 high.
    high, low = 1.5 / 1.55, 1 - 1.1 * 1.5 / 1.55
    return KnownSystem(
        "threshold_linear",
        FunctionAdapter(
            lambda h, x: 0.5 * h - 1.6 * torch.relu(h.flip(1)) + 1,
            2,
            0,
            traits=Traits(piecewise_linear=True),
            activation_form=lambda _: form,
        ),
        points([[2.0, -4.4], [-4.4, 2.0], [z, z]]),
        multipliers([[0.5, 0.5], [0.5, 0.5], [2.1, -1.1]]),
        cycles=(points([[high, high], [low, low]]),),
        region=(-5.0, 3.0),
    )


def pitchfork() -> KnownSystem:
    """tanh(W h), W = [[1.5, -.5], [-.5, 1.5]]: 0 has a multiplier of exactly 1.

    There the residual grows with the cube of the distance, so that no search can
    locate the point better than to about 1e-4.
    """
    m = _tanh_root(2.0)
    slope = 1 - m**2
    return KnownSystem(
        "pitchfork",
        _tanh_map(points([[1.5, -0.5], [-0.5, 1.5]])),
        points([[0.0, 0.0], [m, -m], [-m, m]]),
        multipliers([[2.0, 1.0], *[[2 * slope, slope]] * 2]),
        index_rule=False,
    )


def coupled_switches() -> KnownSystem:
    """tanh(W h), W = [[1.6, -.3], [-.3, 1.6]]: past the pitchfork, nine points."""
    weights = points([[1.6, -0.3], [-0.3, 1.6]])
    along, across = _tanh_root(1.3), _tanh_root(1.9)
    x, y = _asymmetric_saddle()
    attractors = [[along] * 2, [-along] * 2, [across, -across], [-across, across]]
    saddles = [[x, y], [y, x], [-x, -y], [-y, -x]]
    spectra = [[1.9 * (1 - m**2), 1.3 * (1 - m**2)] for m in (along, across)]
    # Each saddle lies between the two attractors it is closest to.
    edges = [(5, 1), (5, 3), (6, 1), (6, 4), (7, 2), (7, 4), (8, 2), (8, 3)]
    return KnownSystem(
        "coupled_switches",
        _tanh_map(weights),
        points([[0.0, 0.0], *attractors, *saddles]),
        multipliers(
            [
                [1.9, 1.3],
                *[spectra[0]] * 2,
                *[spectra[1]] * 2,
                *[_spectrum(weights, x, y)] * 4,
            ]
        ),
        edges=(*((0, saddle) for saddle in range(5, 9)), *edges),
    )


def _asymmetric_saddle() -> tuple[float, float]:
    """Solve x = tanh(1.6 x - .3 y), y = tanh(1.6 y - .3 x) off both diagonals.

    With y = (1.6 x - artanh x) / .3 one equation is left; bisect it.
    """
    low, high = 0.8, 0.85
    for _ in range(100):
        x = 0.5 * (low + high)
        y = (1.6 * x - math.atanh(x)) / 0.3
        below = math.tanh(1.6 * y - 0.3 * x) > y
        low, high = (x, high) if below else (low, x)
    return x, y


def _spectrum(weights: Tensor, x: float, y: float) -> list[float]:
    """Eigenvalues of diag(1 - h^2) W, a matrix of two rows."""
    (a, b), (c, d) = (weights * (1 - points([[x], [y]]) ** 2)).tolist()
    middle, radius = (a + d) / 2, math.sqrt((a - d) ** 2 / 4 + b * c)
    return [middle + radius, middle - radius]


def _tanh_root(gain: float) -> float:
    """The positive m with m = tanh(gain m), by iteration, which contracts there."""
    m = 1.0
    for _ in range(500):
        m = math.tanh(gain * m)
    return m


def _tanh_map(weights: Tensor) -> FunctionAdapter:
    return FunctionAdapter(
        lambda h, x: torch.tanh(h @ weights.to(h).mT),
        len(weights),
        0,
        box=_unit_box(len(weights)),
    )


def _towards_ring(states: States) -> States:
    return states * (1.5 - 0.5 * states.square().sum(1, keepdim=True))


def _unit_box(width: int) -> tuple[Tensor, Tensor]:
    ones = torch.ones(width, dtype=torch.float64)
    return -ones, ones
