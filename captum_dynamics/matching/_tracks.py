"""Points followed over a sequence of sets, by the matchings between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from captum_dynamics.matching._base import Matching


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points over a sequence of sets: one row a track, one column a set.

    Attributes:
        rows: row (t, s) of each track's point in each set; -1 where it is not there.
            Ordered by first appearance, then by row.
    """

    rows: Int[Tensor, "t s"]

    def __len__(self) -> int:
        """Number of tracks."""
        return len(self.rows)

    @property
    def lengths(self) -> Int[Tensor, " t"]:
        """In how many sets each track is."""
        return (self.rows >= 0).sum(1)

    @property
    def whole(self) -> Bool[Tensor, " t"]:
        """Whether each track goes from the first set to the last."""
        return (self.rows >= 0).all(1)

    def summary(self) -> str:
        """Count tracks, and say how many last, appear and disappear."""
        there = self.rows >= 0
        whole = int(self.whole.sum())
        late, early = int((~there[:, 0]).sum()), int((~there[:, -1]).sum())
        return (
            f"{len(self)} tracks over {self.rows.shape[1]} sets: {whole} from first to "
            f"last, {late} appear later, {early} end before"
        )


def link_matchings(matchings: Sequence[Matching]) -> Tracks:
    """Join matchings of neighbours in a sequence into tracks.

    A track ends where its point has no partner; a point without one in the set before
    begins a track. Two tracks are never joined over a gap.

    Args:
        matchings: of the first set with the second, the second with the third, ...:
            over the tokens of a text, the values of an input, or checkpoints.

    Returns:
        One track for each point of the first set, then those that begin later.

    Raises:
        ValueError: when there is none, or neighbours disagree on a set's size.

    Example:
        >>> import torch
        >>> from captum_dynamics.matching import Matching
        >>> swap = Matching(torch.tensor([[0, 1], [1, 0]]), torch.zeros(2), 2, 2)
        >>> lost = Matching(torch.tensor([[1, 0]]), torch.zeros(1), 2, 2)
        >>> link_matchings([swap, lost]).rows.tolist()
        [[0, 1, 0], [1, 0, -1], [-1, -1, 1]]
    """
    if not matchings:
        raise ValueError("Expected `matchings` to hold at least one, got none.")
    for place, (before, after) in enumerate(pairwise(matchings)):
        if before.second_size != after.first_size:
            raise ValueError(
                f"Expected `matchings` of neighbours to share a set, but number "
                f"{place} leads to {before.second_size} points and the next starts "
                f"from {after.first_size}."
            )
    tracks = [[row] for row in range(matchings[0].first_size)]
    for place, matching in enumerate(matchings, start=1):
        partners = matching.partners.tolist()
        for track in tracks:
            track.append(partners[track[-1]] if track[-1] >= 0 else -1)
        tracks += [[-1] * place + [row] for row in matching.unmatched_second.tolist()]
    rows = torch.tensor(tracks, dtype=torch.long)
    return Tracks(rows.reshape(len(tracks), len(matchings) + 1))
