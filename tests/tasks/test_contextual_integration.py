"""Context-dependent integration: the cued stream counts, and no other."""

from __future__ import annotations

import pytest
import torch

from captum_dynamics.tasks.contextual_integration import ContextualIntegration


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("streams", [2, 3])
def test_targets_are_sums_of_the_cued_stream(streams: int) -> None:
    task = ContextualIntegration(streams, steps=16)
    data = task.sample(60, generator=generator())
    assert data.inputs.shape == (60, 16, 2 * streams) == (60, 16, task.input_size)
    seen = set()
    for read, targets in zip(data.inputs, data.targets[..., 0], strict=True):
        cue = read[0, streams:].tolist().index(1.0)
        assert (read[:, streams:] == read[0, streams:]).all()
        assert read[0, streams:].sum() == 1
        total = 0.0
        for step in range(16):
            total += float(read[step, cue])
            assert float(targets[step]) == pytest.approx(total / 4, abs=1e-5)
        seen.add(cue)
    assert seen == set(range(streams))


def test_streams_are_white_noise_around_means_of_their_own() -> None:
    task = ContextualIntegration(steps=400, drift=0.5)
    streams = task.sample(500, generator=generator()).inputs[..., :2]
    means = streams.mean(1)
    noise = streams - means[:, None]
    # 1,000 means and 400,000 draws: five standard errors each.
    assert float(means.var()) == pytest.approx(0.25 + 1 / 400, abs=0.06)
    assert float(noise.var()) == pytest.approx(1.0, abs=0.015)
    assert abs(float((noise[:, 1:] * noise[:, :-1]).mean())) < 0.012
    assert abs(float((means[:, 0] * means[:, 1]).mean())) < 0.06
    still = ContextualIntegration(steps=400, drift=0.0)
    resting = still.sample(500, generator=generator()).inputs[..., :2].mean(1)
    assert float(resting.var()) == pytest.approx(1 / 400, rel=0.25)


def test_the_same_generator_gives_the_same_data_and_spares_the_global_one() -> None:
    task, before = ContextualIntegration(steps=3), torch.get_rng_state()
    first, again, other = (task.sample(9, generator=generator(s)) for s in (1, 1, 2))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_score_is_the_share_of_variance() -> None:
    task = ContextualIntegration()
    data = task.sample(50, generator=generator())
    assert task.score(data.targets, data) == 1.0
    mean = data.targets.mean().expand_as(data.targets)
    assert abs(task.score(mean, data)) < 1e-6
    halved = mean + (data.targets - mean) / 2
    assert task.score(halved, data) == pytest.approx(0.75, abs=1e-5)
    assert float(task.loss(data.targets + 0.1, data)) == pytest.approx(0.01, rel=1e-4)


def test_settings_that_make_no_sequences_are_refused() -> None:
    for settings in ({"streams": 1}, {"steps": 0}, {"drift": -1.0}):
        (name,) = settings
        with pytest.raises(ValueError, match=f"`{name}`"):
            ContextualIntegration(**settings)
