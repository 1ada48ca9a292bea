"""Releases of the packages that numbers depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "captum-dynamics",
    "torch",
    "captum",
    "numpy",
    "networkx",
    "scikit-learn",
    "gudhi",
)


def versions() -> dict[str, str]:
    """Release of each package, or that it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
