"""Metadata of the distribution; tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read(path: str) -> str:
    """Return the text of a file of this repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def version() -> str:
    """Read the version as text: importing the package would need its dependencies."""
    found = re.search(
        r'^__version__ = "([^"]+)"', read("captum_dynamics/__init__.py"), re.MULTILINE
    )
    if found is None:
        raise RuntimeError("captum_dynamics/__init__.py states no `__version__`.")
    return found[1]


# Lower bounds only: an upper bound here would bind every user. `tox -e lowest` runs
# the default tests at exactly these versions.
REQUIRED = [
    "captum>=0.7",
    "jaxtyping>=0.2.34",
    "jinja2>=3.1",
    "matplotlib>=3.7.3",
    "networkx>=3.2",
    "numpy>=1.26",
    "safetensors>=0.4",
    "scikit-learn>=1.3",
    "scipy>=1.11.2",
    "torch>=2.2",
    "tqdm>=4.65",
]

EXTRAS = {
    "data": ["datasets>=2.14"],
    "distributed": ["dask[distributed]>=2024.1"],
    "docs": [
        "furo>=2024.1",
        "g2p-en>=2.1",  # weights that a tutorial reads; its code is not imported
        "ipykernel>=6.29",
        "jupytext>=1.16",
        "myst-nb>=1.1",
        "sphinx-mathjax-offline>=0.0.2",
        "sphinx>=7",
    ],
    "hf": ["transformers>=4.57"],
    "test": [
        "beartype>=0.18",
        "dask[distributed]>=2024.1",
        "gudhi>=3.9",
        "hypothesis>=6.100",
        "pytest>=8",
        "pytest-xdist>=3.5",
    ],
    "topology": ["gudhi>=3.9"],
}
EXTRAS["all"] = sorted({name for names in EXTRAS.values() for name in names})

setup(
    name="captum-dynamics",
    version=version(),
    description="Reverse engineering of recurrent networks: a Captum plugin",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="The captum_dynamics developers",
    license="BSD-3-Clause",
    packages=find_packages(include=["captum_dynamics", "captum_dynamics.*"]),
    package_data={
        "captum_dynamics": ["py.typed", "models/weights/*", "report/templates/*"]
    },
    python_requires=">=3.10",
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["captum-dynamics = captum_dynamics.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
