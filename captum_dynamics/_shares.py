"""Shares of trials, and how well a number of them is known."""

from __future__ import annotations

import math

Z_95 = 1.959964  # of a normal distribution, for an interval of 95 %


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share that hits have among trials.

    References:
        Wilson (1927), J. American Statistical Association 22.

    Example:
        >>> tuple(round(bound, 4) for bound in wilson_interval(5, 10))
        (0.2366, 0.7634)
    """
    share, spread = hits / trials, Z_95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    reach = Z_95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    reach /= 1 + spread
    return max(0.0, middle - reach), min(1.0, middle + reach)
