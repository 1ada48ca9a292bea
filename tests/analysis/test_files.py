"""Saved analyses come back as they were; damaged and foreign ones are refused."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

import captum_dynamics as cd
from tests.analyses import small_analysis

CONTENT = "content.json"
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_analysis().save(tmp_path_factory.mktemp("saved") / "run")


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def tree_of(arrays: Arrays) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(arrays[CONTENT].tobytes())
    return tree


def with_tree(arrays: Arrays, tree: object) -> Arrays:
    return {**arrays, CONTENT: np.frombuffer(json.dumps(tree).encode(), np.uint8)}


def load_changed(arrays: Arrays, folder: Path) -> cd.Analysis:
    np.savez(folder / "changed.npz", **arrays)
    return cd.load(folder / "changed.npz")


def test_what_is_loaded_is_what_was_saved(saved: Path) -> None:
    given, loaded = small_analysis(), cd.load(saved)
    assert loaded.summary() == given.summary()
    assert nx.utils.graphs_equal(loaded.graph.graph, given.graph.graph)
    for mine, theirs in (
        (given.readout, loaded.readout),
        (given.visits.plane, loaded.visits.plane),
        (given.manifold.theta, loaded.manifold.theta),
        (given.linearization.eigenvalues, loaded.linearization.eigenvalues),
        (given.words.projections, loaded.words.projections),
    ):
        assert torch.equal(mine, theirs)


def test_every_array_that_is_dropped_is_missed(saved: Path, tmp_path: Path) -> None:
    arrays = arrays_of(saved)
    for name in arrays:
        less = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(cd.FileFormatError):
            load_changed(less, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:-1],
        lambda a: np.concatenate([a, a]),
        lambda a: a[..., None],
        lambda a: a.astype(str),
    ],
    ids=["shorter", "longer", "deeper", "text"],
)
def test_every_array_of_another_shape_or_type_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    arrays = arrays_of(saved)
    for name, value in arrays.items():
        # What stands alone in its object has no shape that others fix.
        alone = name.endswith(
            ("variance", "untrained_variance", "variance_ratios", "loops", "corners")
        )
        changed = change(value)
        same = changed.dtype == value.dtype
        # A cut through what is empty changes nothing.
        free = same and (alone or not value.size) and changed.ndim == value.ndim
        if name == CONTENT or free:
            continue
        with pytest.raises(cd.FileFormatError):
            load_changed({**arrays, name: change(value)}, tmp_path)


def test_arrays_in_each_others_place_are_refused_where_shapes_tell(
    saved: Path, tmp_path: Path
) -> None:
    arrays = arrays_of(saved)
    names = sorted(arrays)
    generator = random.Random(0)
    refused = 0
    for _ in range(60):
        one, other = generator.sample(names, 2)
        swapped = {**arrays, one: arrays[other], other: arrays[one]}
        try:
            load_changed(swapped, tmp_path)
        except cd.FileFormatError:
            refused += 1
        else:
            assert arrays[one].shape == arrays[other].shape
            assert arrays[one].dtype.kind == arrays[other].dtype.kind
    assert refused > 40


def test_flipped_bytes_are_refused_or_change_nothing(
    saved: Path, tmp_path: Path
) -> None:
    content, expected = saved.read_bytes(), small_analysis().summary()
    generator = random.Random(1)
    path = tmp_path / "flipped.npz"
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 1, 20])):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = cd.load(path)
        except cd.FileFormatError:
            continue
        assert loaded.summary() == expected


def test_flipped_bytes_of_the_directory_are_refused_or_change_nothing(
    saved: Path, tmp_path: Path
) -> None:
    """Names, sizes, methods and flags stand outside the checksums of a zip."""
    content, expected = saved.read_bytes(), small_analysis().summary()
    start = content.index(b"PK\x01\x02")
    path = tmp_path / "flipped.npz"
    generator = random.Random(2)
    for _ in range(80):
        damaged = bytearray(content)
        place = generator.randrange(start, len(damaged))
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = cd.load(path)
        except cd.FileFormatError:
            continue
        assert loaded.summary() == expected


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_files_are_refused(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(cd.FileFormatError, match=r"cut\.npz"):
        cd.load(tmp_path / "cut.npz")


def paths(tree: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a tree of dicts and lists."""
    found = [path]
    if isinstance(tree, dict):
        items: Any = tree.items()
    else:
        items = enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += paths(value, (*path, key))
    return found


def replaced(tree: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("value", [None, 3, -1.5, "x", [], {}, {"tuple": [None]}])
def test_texts_that_say_something_else_are_refused(
    saved: Path, tmp_path: Path, value: object
) -> None:
    """Whatever comes in the place of a part: FileFormatError, or a sound result."""
    arrays = arrays_of(saved)
    tree = tree_of(arrays)
    generator = random.Random(3)
    places = paths(tree)
    for path in generator.sample(places, min(25, len(places))):
        changed = with_tree(arrays, replaced(tree, path, value))
        try:
            loaded = load_changed(changed, tmp_path)
        except cd.FileFormatError:
            continue
        assert loaded.summary()


def test_a_width_that_only_one_part_has_is_refused(saved: Path, tmp_path: Path) -> None:
    arrays = arrays_of(saved)
    wider = np.zeros(len(arrays["result.readout"]) + 1)
    with pytest.raises(cd.FileFormatError, match="state_dim"):
        load_changed({**arrays, "result.readout": wider}, tmp_path)


def test_jacobians_without_a_spectrum_are_refused(saved: Path, tmp_path: Path) -> None:
    arrays = arrays_of(saved)
    name = "result.manifold.linearization.jacobians"
    with pytest.raises(cd.FileFormatError):
        load_changed({**arrays, name: arrays[name] * np.nan}, tmp_path)


def test_a_file_that_unpacks_to_more_than_allowed_is_refused_unread(
    saved: Path, tmp_path: Path
) -> None:
    arrays = arrays_of(saved)
    np.savez_compressed(tmp_path / "bomb.npz", **arrays, zeros=np.zeros(2**21))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**20
    with pytest.raises(cd.FileFormatError, match="`max_bytes`"):
        cd.load(tmp_path / "bomb.npz", max_bytes=2**24)


def test_an_array_that_claims_to_be_huge_is_refused(
    saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(saved) as given, zipfile.ZipFile(path, "w") as changed:
        for name in given.namelist():
            content = given.read(name)
            if name == "result.readout.npy":
                content = content.replace(b"(6,), ", b"(10000000000000,), ", 1)
            changed.writestr(name, content)
    with pytest.raises(cd.FileFormatError):
        cd.load(path)
