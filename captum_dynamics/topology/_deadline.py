"""A time limit: long loops look at it, and stop where it is passed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


class OutOfTimeError(Exception):
    """The time limit is passed; who set it catches this, and keeps what there is."""


@dataclass(frozen=True)
class Deadline:
    """The moment after which no work is begun, by the monotonic clock."""

    moment: float = math.inf

    @staticmethod
    def within(seconds: float) -> Deadline:
        """The moment some seconds from now."""
        return Deadline(time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() > self.moment

    def check(self) -> None:
        """Raise where it is too late."""
        if self.passed:
            raise OutOfTimeError
