"""Captum's own attribution classes, by name."""

from __future__ import annotations

from typing import Any

import captum.attr


def captum_method(name: str) -> type[Any]:
    """Find one of Captum's attribution classes.

    Args:
        name: Name of the class, such as "IntegratedGradients".

    Returns:
        The class.

    Raises:
        ValueError: If the installed Captum has no attribution of this name.

    Example:
        >>> captum_method("Saliency").__name__
        'Saliency'
    """
    found = getattr(captum.attr, name, None)
    if isinstance(found, type) and issubclass(found, captum.attr.Attribution):
        return found
    raise ValueError(f"Expected the name of an attribution of Captum, got {name!r}.")
