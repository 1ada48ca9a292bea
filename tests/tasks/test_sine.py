"""Frequency-cued sine: each cue has its wave."""

from __future__ import annotations

import math

import pytest
import torch

from captum_dynamics.tasks.sine import FrequencyCuedSine


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_cue_asks_for_its_wave() -> None:
    task = FrequencyCuedSine(levels=5, steps=40, lowest=0.2, highest=0.6)
    data = task.sample(100, generator=generator())
    seen = set()
    for cue, wave in zip(data.inputs[..., 0], data.targets[..., 0], strict=True):
        assert len(cue.unique()) == 1
        level = round((float(cue[0]) - 0.25) * 5)
        seen.add(level)
        frequency = 0.2 + 0.1 * level
        wanted = [math.sin(frequency * step) for step in range(1, 41)]
        torch.testing.assert_close(wave, torch.tensor(wanted))
    assert seen == set(range(5))
    assert data.lengths.tolist() == [40] * 100


def test_levels_are_equally_likely() -> None:
    cues = FrequencyCuedSine(levels=10, steps=1).sample(5000, generator=generator())
    counts = torch.bincount(((cues.inputs.flatten() - 0.25) * 10).round().long())
    # Five standard errors of 500.
    assert len(counts) == 10
    assert (counts - 500).abs().max() < 5 * math.sqrt(450)


def test_the_same_generator_gives_the_same_data_and_spares_the_global_one() -> None:
    task, before = FrequencyCuedSine(steps=3), torch.get_rng_state()
    first, again, other = (task.sample(9, generator=generator(s)) for s in (1, 1, 2))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_score_is_the_share_of_variance() -> None:
    task = FrequencyCuedSine()
    data = task.sample(50, generator=generator())
    assert task.score(data.targets, data) == 1.0
    assert abs(task.score(data.targets.mean().expand_as(data.targets), data)) < 1e-6
    # Half the wave leaves a quarter of its power.
    assert task.score(data.targets / 2, data) == pytest.approx(0.75, abs=0.01)
    assert float(task.loss(data.targets + 0.1, data)) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"levels": 1}, "`levels`"),
        ({"steps": 0}, "`steps`"),
        ({"lowest": 0.7}, "`lowest` and `highest`"),
        ({"highest": 4.0}, "`lowest` and `highest`"),
    ],
    ids=["levels", "steps", "lowest", "highest"],
)
def test_settings_that_make_no_waves_are_refused(
    settings: dict[str, float], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        FrequencyCuedSine(**settings)
