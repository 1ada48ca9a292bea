"""Fixed points of a greedy loop: those of the layer at a token that it emits there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import Counts, Mask, PerPoint, States
from captum_dynamics.adapters import ClosedLoop, TokenFeedback
from captum_dynamics.fixed_points import FixedPoints, find_fixed_points
from captum_dynamics.solvers import Solver

Asked = Int[Tensor, " m"]


@dataclass(frozen=True, eq=False)
class TokenPoints:
    """Points of a layer that reads one token again and again, and what it emits there.

    Attributes:
        points: the layer's points, each with the embedding of its token as input.
        tokens: the token (n,) that is read at each.
        emitted: the token (n,) with the largest logit at each.
        margins: logit (n,) of the token that is read, less the largest other one: how
            far emission is from changing; negative where another is emitted.
    """

    points: FixedPoints
    tokens: Counts
    emitted: Counts
    margins: PerPoint

    def __len__(self) -> int:
        """Number of points, consistent or not."""
        return len(self.points)

    @property
    def consistent(self) -> Mask:
        """Points where the layer emits what it reads: fixed points of the loop."""
        return self.emitted == self.tokens


@torch.no_grad()
def find_token_points(
    loop: ClosedLoop,
    initial_states: States,
    tokens: Asked | None = None,
    *,
    solver: Solver | None = None,
    show_progress: bool = False,
) -> TokenPoints:
    """Find where the layer of a greedy loop rests at a constant token, token by token.

    The greedy loop jumps between tokens, and its derivative says nothing of the jumps.
    It rests exactly where its layer, reading one token for ever, rests and emits this
    token: a smooth search for each token, then a check. A finite search proves nothing
    about points it did not meet.

    Args:
        loop: a loop whose feedback reads tokens, by `greedy_feedback`; of one by
            `soft_feedback`, points of its limit of low temperature.
        initial_states: starts (n, h) of the layer alone, for each token.
        tokens: which tokens (m,); all of them by default.
        solver: how to search; see `find_fixed_points`.
        show_progress: show a progress bar over all searches.

    Returns:
        The distinct points of every kind, with what is read and emitted at each.

    Raises:
        TypeError: the loop's feedback reads no tokens.
        ValueError: no start, or tokens that the embedding does not have.

    Example:
        >>> import torch, captum_dynamics as cd
        >>> layer = cd.FunctionAdapter(lambda h, x: 0.5 * h + x, 2, 2)
        >>> loop = cd.ClosedLoop(layer, cd.greedy_feedback(torch.eye(2), torch.eye(2)))
        >>> found = cd.find_token_points(loop, torch.zeros(1, 2))
        >>> found.points.states.tolist(), found.consistent.tolist()
        ([[2.0, 0.0], [0.0, 2.0]], [True, True])
    """
    feedback, layer = loop.feedback, loop.dynamics
    if not isinstance(feedback, TokenFeedback):
        raise TypeError(
            f"Expected `loop` with a feedback that reads tokens, by "
            f"`greedy_feedback` or `soft_feedback`, got {type(feedback).__name__}."
        )
    _checks.check_matrix("initial_states", initial_states, layer.state_dim)
    _checks.check_rows("initial_states", initial_states)
    chosen = _chosen(tokens, feedback)
    table = feedback.embedding[chosen].to(layer.dtype)
    found = find_fixed_points(
        layer,
        initial_states.repeat(len(chosen), 1),
        table.repeat_interleave(len(initial_states), 0),
        solver=solver,
        show_progress=show_progress,
    ).unique()
    # Inputs are rows of the table, unchanged.
    equal = (found.inputs[:, None] == table).all(-1)
    read = chosen[equal.to(torch.int8).argmax(1)]
    logits = feedback.logits(layer.advance(found.states, found.inputs)[1])
    own = logits.gather(1, read[:, None])
    others = logits.scatter(1, read[:, None], -torch.inf)
    margins = own[:, 0] - others.amax(1)
    return TokenPoints(found, read, logits.argmax(1), margins.to(layer.dtype))


def _chosen(tokens: Asked | None, feedback: TokenFeedback) -> Counts:
    count, device = feedback.inner_dim, feedback.embedding.device
    if tokens is None:
        return torch.arange(count, device=device)
    chosen = torch.as_tensor(tokens, device=device)
    if chosen.ndim != 1 or chosen.is_floating_point() or len(chosen) == 0:
        raise ValueError(
            f"Expected `tokens` to be a vector of whole numbers, got shape "
            f"{tuple(chosen.shape)} of {chosen.dtype}."
        )
    if int(chosen.min()) < 0 or int(chosen.max()) >= count:
        raise ValueError(
            f"Expected `tokens` from 0 to {count - 1}, got values from "
            f"{int(chosen.min())} to {int(chosen.max())}."
        )
    return torch.tensor(sorted(set(chosen.tolist())), device=device)
