"""Similarities of representations agree with their definitions and invariances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

import captum_dynamics as cd
from captum_dynamics.matching import (
    embed_distances,
    linear_cka,
    representation_distances,
    svcca,
)
from captum_dynamics.tasks.flipflop import load_flipflop, sample_flipflop

DATA = Path(__file__).parents[1] / "data"


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def related(rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of states of different widths that share two of their dimensions."""
    shared = draw(rows, 2)
    first = torch.cat([shared, draw(rows, 2, seed=1)], 1) @ draw(4, 4, seed=2)
    second = torch.cat([shared, draw(rows, 1, seed=3)], 1) @ draw(3, 3, seed=4)
    return first, second


def test_cka_is_the_alignment_of_centred_gram_matrices() -> None:
    first, second = related()
    centring = np.eye(60) - 1 / 60
    k, m = (centring @ (x @ x.T).numpy() @ centring for x in (first, second))
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert linear_cka(first, second) == pytest.approx(expected, rel=1e-12)
    assert 0.05 < expected < 0.95


def test_svcca_is_the_mean_of_scikit_learns_canonical_correlations() -> None:
    first, second = related()
    parts = [PCA(0.9, svd_solver="full").fit_transform(x) for x in (first, second)]
    count = min(part.shape[1] for part in parts)
    assert [part.shape[1] for part in parts] != [4, 3]
    variates = CCA(count, max_iter=20_000, tol=1e-14).fit_transform(*parts)
    expected = [
        np.corrcoef(a, b)[0, 1]
        for a, b in zip(*np.transpose(variates, (0, 2, 1)), strict=True)
    ]
    assert svcca(first, second, variance=0.9) == pytest.approx(
        np.mean(expected), abs=1e-6
    )


@pytest.mark.parametrize("similarity", [linear_cka, svcca], ids=["cka", "svcca"])
def test_turning_shifting_and_scaling_change_nothing(similarity) -> None:
    first, second = related()
    turn = torch.linalg.qr(draw(4, 4, seed=5)).Q
    before = similarity(first, second)
    assert similarity(7 * first @ turn + 1, second) == pytest.approx(before, rel=1e-10)
    assert similarity(second, first) == pytest.approx(before, rel=1e-10)
    assert similarity(first, 7 * first @ turn + 1) == pytest.approx(1, abs=1e-12)


def test_a_shear_changes_cka_but_not_the_canonical_correlations() -> None:
    first, second = related()
    sheared = first @ draw(4, 4, seed=6)
    assert abs(linear_cka(sheared, second) - linear_cka(first, second)) > 0.01
    assert svcca(sheared, second, variance=1.0) == pytest.approx(
        svcca(first, second, variance=1.0), rel=1e-8
    )


def test_states_without_a_common_direction_have_no_similarity() -> None:
    rows = torch.linalg.qr(draw(40, 9) - draw(40, 9).mean(0)).Q
    first, second = rows[:, :4], rows[:, 4:]
    assert linear_cka(first, second) < 1e-25
    assert svcca(first, second) < 1e-12


def test_a_net_has_no_distance_to_itself_and_some_to_another_architecture() -> None:
    inputs = sample_flipflop(16, 32, generator=torch.Generator().manual_seed(0)).inputs
    visited = []
    for cell in ("gru", "gru", "tanh"):
        runs = cd.record(
            load_flipflop(DATA / f"flipflop_{cell}.safetensors"), "rnn", inputs
        )
        visited.append(runs.states[runs.valid])
    for similarity in (linear_cka, svcca):
        distances = representation_distances(visited, similarity=similarity)
        assert torch.equal(distances, distances.T)
        assert abs(float(distances[0, 1])) < 1e-12
        assert 0.01 < float(distances[0, 2]) < 0.5


def test_points_of_a_plane_are_placed_as_far_apart_as_they_are() -> None:
    points = draw(9, 2).numpy()
    distances = squareform(pdist(points))
    places = embed_distances(torch.from_numpy(distances)).numpy()
    assert squareform(pdist(places)) == pytest.approx(distances, abs=1e-10)
    assert np.abs(places.mean(0)).max() < 1e-12
    assert places[:, 0].var() > places[:, 1].var()


def test_things_without_distances_are_in_one_place() -> None:
    assert not embed_distances(torch.zeros(4, 4)).any()
    assert embed_distances(torch.zeros(1, 1), dims=3).shape == (1, 3)


@pytest.mark.parametrize(
    ("distances", "match"),
    [
        (torch.zeros(2, 3), "`distances` to be a square matrix"),
        (torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "`distances` to be symmetric"),
        (torch.eye(2), "zero on the diagonal"),
        (torch.full((2, 2), torch.nan), "`distances`"),
    ],
    ids=["wide", "lopsided", "diagonal", "nan"],
)
@pytest.mark.misuse
def test_what_are_no_distances_is_refused(distances: torch.Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        embed_distances(distances)


def test_no_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="`states` of at least one network"):
        representation_distances([])
