"""ContextEffects: what each token changes in the effects of the tokens after it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captum_dynamics import _checks

NEGLIGIBLE = 0.1
"""Of a token's largest effect: what is below counts as gone."""

WORTH_NAMING = 0.25
"""Of what the strongest token adds: a token that changes another by it modifies."""

PerToken = Float[Tensor, "n t"]


@dataclass(frozen=True, eq=False)
class ContextEffects:
    """How tokens change what later tokens add to the output.

    With y_s the output when tokens 1 to s are read as they are and all later ones as in
    the baseline run, and z_s the same with token t replaced by the baseline's,

    direct_t = y_t - y_(t-1),
    effects_ts = (y_s - y_(s-1)) - (z_s - z_(s-1)),
    direct_t + sum_s effects_ts = F(x) - F(x with t replaced),

    for every model. An effect can only show on tokens that add something, or would if t
    were another: a modifier before words without value has none.

    Attributes:
        effects: (n, t, t) in float64, a row for each modifying token t, a column for
            each modified token s; zero unless s > t.
        direct: what each token adds to those before it, (n, t).
    """

    effects: Float[Tensor, "n t t"]
    direct: PerToken

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.effects)

    @property
    def contributions(self) -> PerToken:
        """What each token adds through later ones: the sum of its effects."""
        return self.effects.sum(-1)

    @property
    def totals(self) -> PerToken:
        """F(x) - F(x with the token replaced): direct, and through later tokens."""
        return self.direct + self.contributions

    @property
    def strengths(self) -> PerToken:
        """Largest change that each token makes to the effect of one later token."""
        return self.effects.abs().amax(-1)

    @property
    def by_lag(self) -> Float[Tensor, "n t l"]:
        """Effects on the token 1, 2, ... steps later; NaN past the last token."""
        steps = self.effects.shape[1]
        lags = torch.arange(1, steps, device=self.effects.device)
        later = torch.arange(steps, device=lags.device)[:, None] + lags
        index = later.clamp(max=steps - 1).expand(len(self), -1, -1)
        found = self.effects.gather(2, index)
        return torch.where(later < steps, found, torch.nan)

    @property
    def decay(self) -> Float[Tensor, "n l"]:
        """Mean size of the effects on the token 1, 2, ... steps later."""
        return self.by_lag.abs().nanmean(1)

    def gone_after(self, *, share: float = NEGLIGIBLE) -> Int[Tensor, "n t"]:
        """Steps after which a token changes no other token any more.

        Args:
            share: Of the token's strength; all later effects are below it.

        Returns:
            The largest lag with an effect of at least this share; 0 where a token
            changes nothing. The last tokens of an example have no time to show more.

        Raises:
            ValueError: If `share` is not positive.

        Example:
            >>> effects = torch.tensor([[[0, 2.0, -2, 0.1], *([[0.0] * 4] * 3)]])
            >>> ContextEffects(effects, torch.ones(1, 4)).gone_after()
            tensor([[2, 0, 0, 0]])
        """
        _checks.check_positive("share", share)
        sizes = self.by_lag.abs()
        lasting = (sizes >= share * self.strengths[..., None]) & (sizes > 0)
        lags = torch.arange(1, sizes.shape[2] + 1, device=sizes.device)
        none = lags.new_zeros(*sizes.shape[:2], 1)
        return torch.cat([none, lasting * lags], dim=2).amax(2)

    def modifiers(self, *, share: float = WORTH_NAMING) -> Bool[Tensor, "n t"]:
        """Tokens that change a later token much, beside what tokens add here.

        Args:
            share: Of the largest direct effect in the example.

        Returns:
            True where a token's strength is positive and at least this share.

        Raises:
            ValueError: If `share` is not positive.
        """
        _checks.check_positive("share", share)
        least = share * self.direct.abs().amax(1, keepdim=True)
        return (self.strengths >= least) & (self.strengths > 0)
