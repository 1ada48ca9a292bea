"""Adapters that other installed packages bring, by entry points."""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

from captum_dynamics.exceptions import AdapterWarning

GROUP = "captum_dynamics.adapters"

_pending = [True]  # emptied by the first look-up


def load_plugins(registry: dict[Any, Any]) -> None:
    """Import what the entry points name, once; a broken one leaves no trace but a word.

    Importing is enough: the module registers its adapters with `register_adapter`.
    """
    if not _pending:
        return
    # First, since a module that is being imported may look up layers itself.
    _pending.clear()
    for entry in metadata.entry_points(group=GROUP):
        before = dict(registry)
        try:
            entry.load()
        except Exception as error:  # another package's fault, whatever it is
            registry.clear()
            registry.update(before)
            owner = entry.dist.name if entry.dist is not None else "a package"
            warnings.warn(
                f"Skipped the adapters of {owner}: its entry point {entry.name!r} "
                f"({entry.value}) fails with {type(error).__name__}: {error}.",
                AdapterWarning,
                stacklevel=4,
            )
