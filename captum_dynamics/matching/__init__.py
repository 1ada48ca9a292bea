"""Which point is which: across inputs, checkpoints and models."""

from __future__ import annotations

from captum_dynamics.matching._alignment import (
    Alignment,
    align_canonical,
    align_procrustes,
)
from captum_dynamics.matching._base import Matcher, Matching, match_points
from captum_dynamics.matching._matchers import (
    Features,
    Nearest,
    Responses,
    SameRow,
    SameSpectrum,
    SharedFeatures,
)
from captum_dynamics.matching._representations import (
    embed_distances,
    linear_cka,
    representation_distances,
    svcca,
)
from captum_dynamics.matching._tracks import Tracks, link_matchings

__all__ = [
    "match_points",
    "Matching",
    "Matcher",
    "Features",
    "SameRow",
    "Nearest",
    "SharedFeatures",
    "SameSpectrum",
    "Responses",
    "Alignment",
    "align_procrustes",
    "align_canonical",
    "linear_cka",
    "svcca",
    "representation_distances",
    "embed_distances",
    "link_matchings",
    "Tracks",
]
