"""Imports point one way: the rank table of the package, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

NAME = "captum_dynamics"
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / NAME

# From low to high. A module imports only from rows above its own; modules of one row
# ignore each other, except inside one folder.
RANKS = (
    ("exceptions",),
    ("_typing", "_versions"),
    ("_checks", "_parcels", "_shares"),
    ("_linalg", "_execution", "_intervals", "_schur"),
    (
        "merging",
        "spreading",
        "layout",
        "tangent",
        "activation_form",
        "unitwise",
        "subspaces",
    ),
    ("dynamics",),
    ("adapters", "solvers", "symmetry"),
    ("calling",),
    ("recording", "fixed_points"),
    (
        "linearization",
        "leading",
        "continuation",
        "matching",
        "cycles",
        "long_runs",
        "lyapunov",
        "token_points",
    ),
    ("completeness", "certificates", "enumeration", "regimes", "flow"),
    ("survey", "topology"),
    ("attr",),
    ("findings",),
    ("plots", "export"),
    ("report",),
    ("analysis",),
    ("models", "testing"),
    ("tasks",),
    ("experiments",),
    ("",),  # the facade, `captum_dynamics` itself
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, row in enumerate(RANKS) for part in row}

# Third parties that one part alone may import, at any depth of nesting.
ONLY_IN = {"captum": "attr", "matplotlib": "plots"}


class Import(NamedTuple):
    """One import statement's target, as seen from one module of the package."""

    module: str
    line: int
    target: str


def modules(package: Path) -> dict[str, Path]:
    """Dotted name of every module of the package, without the package's own."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports(package: Path) -> Iterator[Import]:
    """Every import of every module, deferred ones and those for types included."""
    known = modules(package)
    for name, path in known.items():
        own = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(name, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = own[: len(own) - node.level + 1]
                    base = ".".join([NAME, *above, *([base] if base else [])])
                for alias in node.names:
                    deeper = f"{base}.{alias.name}"
                    is_module = deeper.removeprefix(f"{NAME}.") in known
                    yield Import(name, node.lineno, deeper if is_module else base)


def violations(package: Path) -> list[str]:
    """Sentences about the arrows that point the wrong way; none if all is well."""
    found = [
        f"{name} has no rank: add it to the table"
        for name in modules(package)
        if name.split(".")[0] not in RANK
    ]
    for module, line, target in imports(package):
        where = f"{module}:{line} imports {target}"
        outer, _, inner = target.partition(".")
        part = module.split(".")[0]
        if outer != NAME:
            if outer in ONLY_IN and part != ONLY_IN[outer]:
                found.append(f"{where}: only {ONLY_IN[outer]} may")
            continue
        other = inner.split(".")[0]
        if other not in RANK:
            found.append(f"{where}: no such part")
        elif part in RANK and other != part and RANK[other] >= RANK[part]:
            found.append(f"{where}: not a lower rank")
    return found


def cycle(package: Path) -> list[str]:
    """Modules of one folder that import each other in a circle, if there are any."""
    within: dict[str, set[str]] = {}
    for module, _, target in imports(package):
        inner = target.removeprefix(f"{NAME}.")
        if inner.split(".")[0] == module.split(".")[0]:
            within.setdefault(module, set()).add(inner)
    try:
        TopologicalSorter(within).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def write_package(folder: Path, sources: dict[str, str]) -> Path:
    """Write a package of the given sources, for a check to be seen failing."""
    package = folder / NAME
    for name, text in sources.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_every_import_of_the_package_points_to_a_lower_rank() -> None:
    assert "dynamics" in modules(PACKAGE)
    assert violations(PACKAGE) == []


def test_modules_of_a_folder_do_not_import_in_circles() -> None:
    assert cycle(PACKAGE) == []


@pytest.mark.parametrize(
    ("module", "statement", "complaint"),
    [
        ("dynamics.py", "from captum_dynamics import adapters", "not a lower rank"),
        ("dynamics.py", "from . import adapters", "not a lower rank"),
        ("solvers/newton.py", "from ..adapters.gru import Gru", "not a lower rank"),
        ("solvers/newton.py", "import captum_dynamics.adapters", "not a lower rank"),
        ("report/html.py", "def f():\n    from .. import cli", "not a lower rank"),
        ("dynamics.py", "from captum_dynamics import adapt", "not a lower rank"),
        ("dynamics.py", "import captum_dynamics.utils", "no such part"),
        ("utils.py", "", "has no rank"),
        ("dynamics.py", "from captum.attr import Saliency", "only attr may"),
        ("report/html.py", "import matplotlib.pyplot as plt", "only plots may"),
    ],
)
def test_a_wrong_arrow_is_reported(
    tmp_path: Path, module: str, statement: str, complaint: str
) -> None:
    sources = dict.fromkeys(("adapters/__init__.py", "cli.py", "dynamics.py"), "")
    package = write_package(tmp_path, {**sources, module: statement})
    (found,) = violations(package)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("adapters/gru.py", "from captum_dynamics.adapters._base import Adapter"),
        ("adapters/gru.py", "from . import _base\nfrom .. import dynamics"),
        ("attr/path.py", "import captum.attr\nfrom captum_dynamics import dynamics"),
        ("cli.py", "import captum_dynamics as cd"),
    ],
)
def test_a_right_arrow_is_not_reported(
    tmp_path: Path, module: str, statement: str
) -> None:
    sources = dict.fromkeys(("adapters/_base.py", "dynamics.py"), "")
    package = write_package(tmp_path, {**sources, module: statement})
    assert violations(package) == []
    assert cycle(package) == []


def test_a_circle_inside_a_folder_is_reported(tmp_path: Path) -> None:
    package = write_package(
        tmp_path,
        {
            "adapters/_base.py": "from captum_dynamics.adapters.gru import Gru",
            "adapters/gru.py": "from captum_dynamics.adapters._base import Adapter",
        },
    )
    assert {"adapters._base", "adapters.gru"} <= set(cycle(package))


def test_importing_the_package_stays_light() -> None:
    heavy = {"captum", "gudhi", "matplotlib", "plotly", "sklearn", "transformers"}
    # Adapters of these are registered by name.
    heavy |= {"ncps", "torchdiffeq", "xlstm"}
    listing = subprocess.run(
        [sys.executable, "-c", f"import {NAME}, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
    )
    loaded = set(listing.stdout.split())
    assert f"{NAME}.dynamics" in loaded
    assert heavy & loaded == set()
