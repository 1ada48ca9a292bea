"""The verdict on slow points: their shape, if the dynamics around them agree."""

from __future__ import annotations

from dataclasses import dataclass, replace

from captum_dynamics.topology._slow_modes import LEAST_GAP, SlowModes
from captum_dynamics.topology.shapes import Shape, ShapeEvidence

LEAST_SHARE = 0.2  # of the relaxed states that are slow
LEAST_EXTENT = 0.1  # of the range that is visited: less of it stores next to nothing
LINE_FILLED = 0.6  # more than half of a line, and less than few places would fill
PLACES_FILLED = 0.3
LARGEST_ANGLE = 15.0  # degrees


@dataclass(frozen=True)
class Circumstances:
    """What is known of slow points beyond where they are.

    Attributes:
        modes: slow modes at the points, and the gap behind them.
        angle: degrees between these modes and the points' tangents.
        slow_share: share of the relaxed states that are slow.
        extent: width of the slow points as a share of that of the visited states.
        filled: share of the tenths of their main axis that hold a slow point.
    """

    modes: SlowModes
    angle: float
    slow_share: float
    extent: float
    filled: float


def judge(cloud: ShapeEvidence, known: Circumstances) -> ShapeEvidence:
    """Confirm the shape of slow points, or say why it is undecided or no shape."""
    found = replace(
        cloud, gap=known.modes.gap, slow_modes=known.modes.count, angle=known.angle
    )
    if cloud.shape is Shape.NONE:
        return found
    if known.extent < LEAST_EXTENT:
        reason = f"they cover {known.extent:.1%} of the range that is visited"
        return replace(found, shape=Shape.PLACES, reason=reason)
    if cloud.shape is Shape.PLACES:
        return found
    if known.filled <= PLACES_FILLED:
        reason = f"they fill {known.filled:.0%} of their own range"
        return replace(found, shape=Shape.PLACES, reason=reason)
    objection = _objection(cloud, known)
    if objection:
        return replace(found, shape=Shape.UNDECIDED, reason=objection)
    if cloud.shape is Shape.UNDECIDED:
        return found
    return replace(found, reason=f"{cloud.reason}; {_slow_modes(known)}")


def _objection(cloud: ShapeEvidence, known: Circumstances) -> str:
    """Why a shape may not be claimed; empty where it may."""
    modes, dim = known.modes, cloud.dimension
    if known.slow_share < LEAST_SHARE:
        return f"only {known.slow_share:.0%} of the visited states stay slow"
    if cloud.shape is Shape.UNDECIDED:
        return ""
    if cloud.shape is Shape.LINE and known.filled < LINE_FILLED:
        return f"they fill only {known.filled:.0%} of the line"
    if modes.count == 0:
        return (
            f"no gap separates slow modes from fast ones (a ratio of {modes.gap:.1f}, "
            f"{LEAST_GAP:g} is needed)"
        )
    agreed = modes.count == dim or (cloud.shape is Shape.CLOUD and modes.count > 2)
    if not agreed:
        return (
            f"the points have {dim or cloud.participation:.3g} dimensions, but "
            f"{modes.count} modes are slow"
        )
    # Written so that an angle that is not defined is no agreement.
    if not known.angle <= LARGEST_ANGLE:
        return f"the slow modes leave the points by {known.angle:.0f} degrees"
    return ""


def _slow_modes(known: Circumstances) -> str:
    """The sentence's second half: what the spectrum says."""
    count, angle = known.modes.count, known.angle
    modes = "one mode is" if count == 1 else f"{count} modes are"
    return (
        f"{modes} slow, {known.modes.gap:.3g} times slower than the next, and "
        f"{'follows' if count == 1 else 'follow'} it to {angle:.1f} degrees"
    )
