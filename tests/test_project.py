"""What the project promises about itself: commands, versions, cells, manners."""

from __future__ import annotations

import ast
import configparser
import itertools
import os
import re
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest

import captum_dynamics

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "captum_dynamics"
DEMO = "pip install -c constraints.txt -e . && captum-dynamics demo"
TESTS = 'pip install -c constraints.txt -e ".[test]" && pytest'
MOST_LINES = 400


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def expand(line: str) -> list[str]:
    """Names that a generative line of tox stands for: `py{310,311}` is two."""
    choices = [part.split(",") for part in re.split(r"[{}]", line)]
    return ["".join(parts) for parts in itertools.product(*choices)]


def tox_cells() -> set[str]:
    """Return every cell that tox.ini lists or has a section for."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read_string(read("tox.ini"))
    listed = [name for line in tox["tox"]["env_list"].split() for name in expand(line)]
    sections = [name.partition(":")[2] for name in tox.sections() if ":" in name]
    return {*listed, *sections}


def bad_manners(tree: ast.AST) -> Iterator[str]:
    """Say what a module of the package may not do, and where it does it."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert():
                yield f"{node.lineno}: assert"
            case ast.ExceptHandler(type=None):
                yield f"{node.lineno}: bare except"
            case ast.Call(func=ast.Name(id="print")):
                yield f"{node.lineno}: print"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save")
            ):
                yield f"{node.lineno}: torch.{node.func.attr}"
            case ast.Import():
                for alias in node.names:
                    if alias.name.split(".")[0] in {"pickle", "cloudpickle", "dill"}:
                        yield f"{node.lineno}: pickle"
            case ast.ImportFrom(module="pickle" | "cloudpickle" | "dill"):
                yield f"{node.lineno}: pickle"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield f"{node.value.lineno}: allow_pickle"


@pytest.mark.parametrize("command", [DEMO, TESTS])
def test_readme_states_the_command_on_a_line_of_its_own(command: str) -> None:
    assert command in read("README.md").splitlines()


@pytest.mark.parametrize("command", [DEMO, TESTS])
def test_ci_runs_the_command_of_the_readme_word_for_word(command: str) -> None:
    lines = [line.strip() for line in read(".ci/run").splitlines()]
    assert any(line.startswith(command) for line in lines)


def test_ci_runs_every_kind_of_check() -> None:
    script = read(".ci/run")
    for check in ("ruff check .", "mypy --strict", "CAPTUM_DYNAMICS_SHAPES=1 pytest"):
        assert check in script


def test_ci_is_executable() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & stat.S_IXUSR


def test_ci_names_only_cells_that_tox_knows() -> None:
    named = set(re.findall(r"\bpy3\d+-[\w-]+", read(".ci/run")))
    assert len(named) == 2
    assert named <= tox_cells()


def test_ci_gives_its_cells_only_paths_that_exist() -> None:
    (paths,) = re.findall(r'tox run .*"\$cell" -- (.+)', read(".ci/run"))
    assert [path for path in paths.split() if not (ROOT / path).exists()] == []


def test_tox_has_a_cell_for_every_pair_that_resolves() -> None:
    cells = tox_cells()
    assert {"lint", "type", "shapes", "docs", "lowest"} <= cells
    pairs = itertools.product(
        ("py310", "py311", "py312", "py313"),
        ("captum07", "captum08", "captum09"),
        ("transformers4", "transformers5"),
    )
    # Captum 0.8 needs numpy < 2, which has no wheel for Python 3.13.
    resolving = {p for p in pairs if p[:2] != ("py313", "captum08")}
    assert {"-".join(pair) for pair in resolving} <= cells


def test_a_generative_line_is_expanded() -> None:
    assert expand("py{310,311}-captum{07,09}") == [
        "py310-captum07",
        "py310-captum09",
        "py311-captum07",
        "py311-captum09",
    ]


def test_torch_is_pinned_where_the_project_is_tried_and_nowhere_else() -> None:
    assert "torch==2.13.0" in read("constraints.txt").splitlines()
    bounds = [name.partition(";")[0] for name in requires("captum-dynamics") or []]
    assert any(bound.startswith("torch>=") for bound in bounds)
    assert [bound for bound in bounds if re.search("[<!]|==|~=", bound)] == []


def test_pyproject_holds_no_metadata() -> None:
    tables = re.findall(r"^\[+([\w.-]+)", read("pyproject.toml"), re.MULTILINE)
    assert {name.split(".")[0] for name in tables} == {"build-system", "tool"}


def test_version_is_the_same_everywhere() -> None:
    stated = captum_dynamics.__version__
    assert version("captum-dynamics") == stated
    assert f"\nversion: {stated}\n" in read("CITATION.cff")
    assert f"\n## [{stated}]" in read("CHANGELOG.md")


def test_command_line_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="captum-dynamics")
    assert script.value == "captum_dynamics.cli:main"


def test_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_package_keeps_its_manners() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths
    found = [
        f"{path.relative_to(PACKAGE)}:{sentence}"
        for path in paths
        for sentence in bad_manners(ast.parse(path.read_text(encoding="utf-8")))
    ]
    # Work is sent to the processes of a pool by pickle, never to or from a file.
    assert [re.sub(r":\d+", "", line) for line in found] == ["_parcels.py: pickle"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("assert x", "1: assert"),
        ("try:\n    f()\nexcept:\n    pass", "3: bare except"),
        ("print(x)", "1: print"),
        ("import pickle", "1: pickle"),
        ("from pickle import loads", "1: pickle"),
        ("torch.load(path)", "1: torch.load"),
        ("numpy.load(path, allow_pickle=True)", "1: allow_pickle"),
    ],
)
def test_bad_manners_are_reported(source: str, sentence: str) -> None:
    assert list(bad_manners(ast.parse(source))) == [sentence]


def test_no_file_of_the_package_is_two_things() -> None:
    lines = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in PACKAGE.rglob("*.py")
    }
    assert {path: n for path, n in lines.items() if n > MOST_LINES} == {}


def test_shapes_are_checked_exactly_when_asked_for() -> None:
    asked = os.environ.get("CAPTUM_DYNAMICS_SHAPES") == "1"
    # Packages themselves are left out: they only re-export, and pytest loads some of
    # them past the import hook.
    hooked = {
        name: type(module.__loader__).__module__.startswith("jaxtyping")
        for name, module in sys.modules.items()
        if name.startswith("captum_dynamics.") and not hasattr(module, "__path__")
    }
    assert hooked
    assert {name for name, is_hooked in hooked.items() if is_hooked != asked} == set()
