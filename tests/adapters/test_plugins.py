"""Other packages register their adapters by entry points; a broken one is skipped."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
from torch import nn

import captum_dynamics as cd
from captum_dynamics.adapters import _plugins, _registry

GOOD = """
import torch
import captum_dynamics as cd

class Decay(torch.nn.Module):
    def forward(self, x, h):
        return 0.5 * h + x

@cd.register_adapter(Decay)
class DecayAdapter(cd.RecurrentAdapter):
    supported = "good-plugin>=1"
    layout, input_dim = cd.StateLayout((cd.Block("h", 2),)), 2
    def __init__(self, layer): ...
    def step(self, states, inputs):
        return 0.5 * states + inputs
"""
BROKEN = """
import torch
import captum_dynamics as cd

class Half(torch.nn.Module): ...

@cd.register_adapter(Half)
class HalfAdapter(cd.RecurrentAdapter): ...

raise RuntimeError("built for another torch")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that nothing has looked into yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(_registry, "_ADAPTERS", dict(_registry._ADAPTERS))
    monkeypatch.setattr(_plugins, "_pending", [True])
    for name in ("good_plugin", "broken_plugin", "absent_plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def install(site: Path, name: str, source: str | None) -> None:
    """Lay down what pip would: a module, and metadata with its entry point."""
    if source is not None:
        (site / f"{name}_plugin.py").write_text(source)
    info = site / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        f"[captum_dynamics.adapters]\n{name} = {name}_plugin\n"
    )


def test_an_installed_package_registers_its_adapters_at_the_first_look(
    site: Path,
) -> None:
    install(site, "good", GOOD)
    assert "good_plugin" not in sys.modules
    cd.adapt(nn.GRU(2, 2))
    layer = sys.modules["good_plugin"].Decay()
    assert type(cd.adapt(layer)).__name__ == "DecayAdapter"
    assert cd.list_adapters()["good_plugin.Decay"] == "DecayAdapter"


def test_a_broken_package_is_warned_of_once_and_leaves_nothing_behind(
    site: Path,
) -> None:
    install(site, "broken", BROKEN)
    install(site, "good", GOOD)
    said = r"Skipped the adapters of broken-plugin.*RuntimeError: built for another"
    with pytest.warns(cd.AdapterWarning, match=said) as caught:
        found = cd.list_adapters()
    assert len(caught) == 1
    assert "good_plugin.Decay" in found
    assert not any("Half" in layer for layer in found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cd.adapt(nn.LSTM(2, 2))


def test_an_entry_point_to_no_module_is_skipped_too(site: Path) -> None:
    install(site, "absent", None)
    with pytest.warns(cd.AdapterWarning, match="absent_plugin.*ModuleNotFoundError"):
        assert cd.adapt(nn.GRU(2, 3)).state_dim == 3
