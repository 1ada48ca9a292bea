"""Interval arithmetic holds the exact results of everything inside its arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from captum_dynamics import _intervals
from captum_dynamics._intervals import Ball, Interval

# Drives of a gate: small, ordinary, saturated, and where exp overflows.
DRIVES = st.one_of(st.floats(-1e-3, 1e-3), st.floats(-30, 30), st.floats(-800, 800))
WIDTHS = st.sampled_from([0.0, 1e-15, 1e-8, 1e-2, 1.0, 10.0])
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32 - 1)


@contextmanager
def digits(count: int) -> Iterator[None]:
    with localcontext() as context:
        context.prec = count
        yield


def interval(low: float, width: float) -> Interval:
    ends = torch.tensor([[low], [low + width]], dtype=torch.float64)
    return _intervals.box(ends[:1], ends[1:])


def inside(low: float, width: float, share: float) -> float:
    return min(max(low + share * width, low), low + width)


def sigmoid(q: float) -> Decimal:
    return 1 / (1 + (-Decimal(q)).exp())


def tanh(q: float) -> Decimal:
    return 1 - 2 / (1 + (2 * Decimal(q)).exp())


FUNCTIONS = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "sigmoid_slope": lambda q: sigmoid(q) * sigmoid(-q),
    "tanh_slope": lambda q: (1 - tanh(q)) * (1 + tanh(q)),
    "relu": lambda q: Decimal(max(q, 0.0)),
    "relu_slope": lambda q: Decimal(int(q > 0)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(low=DRIVES, width=WIDTHS, share=SHARES)
def test_functions_hold_their_exact_values(
    name: str, low: float, width: float, share: float
) -> None:
    found = getattr(interval(low, width), name)()
    # 60 digits, and 700 more for what 1 - tanh(800) cancels.
    with digits(760):
        exact = FUNCTIONS[name](inside(low, width, share))
        assert Decimal(float(found.low)) <= exact <= Decimal(float(found.high))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_a_point_are_the_functions(name: str) -> None:
    for q in (-20.0, -3.0, -0.5, 1e-9, 0.7, 15.0):
        found = getattr(interval(q, 0.0), name)()
        with digits(60):
            exact = float(FUNCTIONS[name](q))
        assert float(found.high - found.low) < 1e-14
        assert float(found.middle) == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "sigmoid_slope", "tanh_slope"])
@given(low=st.floats(-4, 4), share=SHARES, other=SHARES)
def test_functions_vary_no_faster_than_they_say(
    name: str, low: float, share: float, other: float
) -> None:
    rate = float(getattr(interval(low, 1.0), name)().lipschitz)
    a, b = inside(low, 1.0, share), inside(low, 1.0, other)
    with digits(60):
        change = abs(FUNCTIONS[name](a) - FUNCTIONS[name](b))
        assert change <= Decimal(rate) * abs(Decimal(a) - Decimal(b))


def random_interval(*shape: int) -> tuple[Interval, Tensor]:
    """An interval of magnitudes from 1e-8 to 1e8, and a member of it."""
    scale = 10 ** (16 * torch.rand(shape, dtype=torch.float64) - 8)
    low = scale * torch.randn(shape, dtype=torch.float64)
    width = scale * 10 ** (-16 * torch.rand(shape, dtype=torch.float64))
    high = low + width * torch.randint(2, shape)
    member = (low + torch.rand_like(low) * (high - low)).clamp(low, high)
    return _intervals.box(low, high), member


def exact(values: Tensor) -> list[list[Fraction]]:
    return [[Fraction(float(value)) for value in row] for row in values]


def holds(low: Tensor, high: Tensor, values: list[list[Fraction]]) -> bool:
    pairs = zip(exact(low), values, exact(high), strict=True)
    return all(a <= v <= b for rows in pairs for a, v, b in zip(*rows, strict=True))


def product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    columns = list(zip(*b, strict=True))
    return [
        [sum((x * y for x, y in zip(r, c, strict=True)), Fraction(0)) for c in columns]
        for r in a
    ]


@given(SEEDS)
def test_sums_differences_and_products_hold_their_exact_values(seed: int) -> None:
    torch.manual_seed(seed)
    (a, x), (b, y) = random_interval(1, 20), random_interval(1, 20)
    (p,), (q,) = exact(x), exact(y)
    pairs = list(zip(p, q, strict=True))
    for found, wanted in (
        (a + b, [u + v for u, v in pairs]),
        (a - b, [u - v for u, v in pairs]),
        (a * b, [u * v for u, v in pairs]),
        (-a, [-u for u in p]),
    ):
        assert holds(found.low, found.high, [wanted])


@given(SEEDS)
def test_an_affine_map_holds_its_exact_values_though_terms_cancel(seed: int) -> None:
    torch.manual_seed(seed)
    q, member = random_interval(1, 6)
    matrix, bias = random_interval(3, 6)[1], random_interval(1, 3)[1][0]
    # The last column cancels the sum of the others but for rounding.
    last = -(member[:, :-1] @ matrix[:, :-1].mT + bias)[0] / member[0, -1]
    matrix = torch.cat([matrix[:, :-1], last[:, None]], dim=1)
    found = q.affine(matrix, bias)
    (values,) = product(exact(member), exact(matrix.mT))
    (offsets,) = exact(bias[None])
    wanted = [[v + b for v, b in zip(values, offsets, strict=True)]]
    assert holds(found.low, found.high, wanted)


@given(SEEDS)
def test_sums_and_products_of_matrices_hold_their_exact_values(seed: int) -> None:
    torch.manual_seed(seed)
    (f, x), (g, y) = random_interval(1, 3), random_interval(1, 3)
    m, n = (random_interval(3, 4)[1] for _ in range(2))
    summed = _intervals.scaled_sum((f, m), (g, n))
    factors = zip(*exact(x), *exact(y), exact(m), exact(n), strict=True)
    wanted = [
        [u * p + v * q for p, q in zip(row, other, strict=True)]
        for u, v, row, other in factors
    ]
    low, high = summed.bounds
    assert holds(low[0], high[0], wanted)
    other, member = random_interval(4, 2)
    ball = summed @ Ball.between(other.low[None], other.high[None])
    low, high = ball.bounds
    assert holds(low[0], high[0], product(wanted, exact(member)))
    moved, shift = random_interval(3, 4)
    low, high = (summed + Ball.between(moved.low[None], moved.high[None])).bounds
    pairs = zip(wanted, exact(shift), strict=True)
    assert holds(
        low[0],
        high[0],
        [[v + w for v, w in zip(*rows, strict=True)] for rows in pairs],
    )


@given(SEEDS)
def test_matrices_hold_their_exact_values_though_terms_cancel(seed: int) -> None:
    torch.manual_seed(seed)
    # Both results are nearly zero: what is left is how their terms were rounded.
    x, m = random_interval(1, 3)[1], random_interval(3, 4)[1]
    f = _intervals.constant(x)
    low, high = _intervals.scaled_sum((f, m), (f, 1.1 * m), (f, -2.1 * m)).bounds
    terms = zip(*exact(x), exact(m), exact(1.1 * m), exact(-2.1 * m), strict=True)
    wanted = [
        [u * sum(three) for three in zip(*rows, strict=True)] for u, *rows in terms
    ]
    assert holds(low[0], high[0], wanted)
    left = torch.cat([m, -(m @ m.mT)], dim=1)
    right = torch.cat([m.mT, torch.eye(3, dtype=torch.float64)])
    balls = [Ball.between(part[None], part[None]) for part in (left, right)]
    low, high = (balls[0] @ balls[1]).bounds
    assert holds(low[0], high[0], product(exact(left), exact(right)))


def test_the_slope_of_a_kink_is_everything_between_its_sides() -> None:
    slopes = [interval(low, 1.0).relu_slope() for low in (-2.0, -0.5, 0.5)]
    assert [(float(s.low), float(s.high)) for s in slopes] == [(0, 0), (0, 1), (1, 1)]
    assert [float(s.lipschitz) for s in slopes] == [0, float("inf"), 0]


def test_products_remember_how_fast_their_factors_vary() -> None:
    h = interval(1.0, 1.0)
    # h^2 changes by at most 4 |a - b| in [1, 2], and a constant not at all.
    assert float((h * h).lipschitz) == pytest.approx(4.0)
    three = _intervals.constant(torch.full((1, 1), 3.0, dtype=torch.float64))
    assert float((three * h + three).lipschitz) == pytest.approx(3.0)


def test_bounds_shrink_with_their_arguments() -> None:
    widths = []
    for width in (1e-2, 1e-4, 1e-6):
        h = interval(0.3, width)
        found = (h.sigmoid() * h.tanh_slope() - h).affine(
            torch.eye(1).double(), torch.zeros(1).double()
        )
        widths.append(float(found.high - found.low))
    assert widths[1] == pytest.approx(1e-2 * widths[0], rel=0.05)
    assert widths[2] == pytest.approx(1e-4 * widths[0], rel=0.05)
