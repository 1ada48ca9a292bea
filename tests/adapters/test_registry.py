"""Layers are found by path or identity; what cannot be read is refused with advice."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics.adapters import (
    RecurrentAdapter,
    _registry,
    describe_adapters,
    inspect_layers,
)
from captum_dynamics.testing import check_adapter


class Host(nn.Module):
    """A model with two recurrent layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(4, 3)})
        self.decoder = nn.GRU(3, 2)
        self.head = nn.Linear(2, 1)


@pytest.fixture
def _registry_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_ADAPTERS", dict(_registry._ADAPTERS))


def test_a_layer_is_found_by_path_by_identity_or_as_the_only_one() -> None:
    host = Host()
    by_path, by_identity = cd.adapt(host, "decoder"), cd.adapt(host, host.decoder)
    assert by_path.state_dim == by_identity.state_dim == 2
    assert cd.adapt(host, "encoder.lstm").state_dim == 6
    assert cd.adapt(host.encoder).state_dim == 6
    assert cd.adapt(host.decoder).state_dim == 2


def test_every_torch_recurrent_layer_has_an_adapter() -> None:
    names = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
    wanted = {f"torch.nn.modules.rnn.{name}" for name in names}
    assert wanted <= set(cd.list_adapters())


def test_a_path_that_does_not_exist_lists_the_recurrent_layers() -> None:
    listing = r"no layer at 'rnn'.*'encoder.lstm' \(LSTM\), 'decoder' \(GRU\)"
    with pytest.raises(cd.LayerNotFoundError, match=listing):
        cd.adapt(Host(), "rnn")


@pytest.mark.misuse
def test_what_is_neither_path_nor_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`layer` to be a path or a module, got int"):
        cd.adapt(Host(), 3)  # type: ignore[arg-type]


def test_several_layers_need_a_choice() -> None:
    with pytest.raises(cd.LayerNotFoundError, match=r"Say which `layer`.*'decoder'"):
        cd.adapt(Host())


def test_a_layer_of_another_model_is_not_found() -> None:
    with pytest.raises(cd.LayerNotFoundError, match="GRU is not part of `model`"):
        cd.adapt(Host(), nn.GRU(3, 2))


def test_a_model_without_recurrent_layers_says_so() -> None:
    with pytest.raises(cd.LayerNotFoundError, match="holds no recurrent layer"):
        cd.adapt(nn.Sequential(nn.Linear(2, 2)), "1")


def test_a_layer_without_adapter_teaches_to_register_one() -> None:
    advice = r"No adapter reads Linear.*register_adapter\(Linear\).*FunctionAdapter"
    with pytest.raises(cd.AdapterNotFoundError, match=advice):
        cd.adapt(Host(), "head")


@pytest.mark.misuse
def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` to be a torch.nn.Module, got str"):
        cd.adapt("model")  # type: ignore[arg-type]


@pytest.mark.usefixtures("_registry_restored")
def test_a_registered_adapter_reads_its_layer_and_subclasses() -> None:
    class Leaky(nn.Module):
        pass

    class Leakier(Leaky):
        pass

    @cd.register_adapter(Leaky)
    class LeakyAdapter(RecurrentAdapter):
        layout, input_dim = cd.StateLayout((cd.Block("h", 1),)), 1

        def __init__(self, layer: nn.Module) -> None:
            self.layer = layer

        def step(self, states: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
            return 0.9 * states + inputs

    assert isinstance(cd.adapt(Leakier()), LeakyAdapter)
    with pytest.raises(ValueError, match="Expected no `layer_index` for Leaky"):
        cd.adapt(Leaky(), layer_index=0)
    assert cd.register_adapter(Leaky)(LeakyAdapter) is LeakyAdapter
    with pytest.raises(ValueError, match="Leaky to have no adapter yet, but Leaky"):
        cd.register_adapter(Leaky)(type("Other", (LeakyAdapter,), {}))


@pytest.mark.usefixtures("_registry_restored")
def test_an_adapter_that_is_defined_again_takes_the_place_of_the_former() -> None:
    class Leaky(nn.Module):
        pass

    def define() -> type[HalfAdapter]:
        @cd.register_adapter(Leaky)
        class CellOfANotebook(HalfAdapter):
            pass

        return CellOfANotebook

    first, second = define(), define()
    assert first is not second
    assert type(cd.adapt(Leaky())) is second


@pytest.mark.usefixtures("_registry_restored")
def test_an_adapter_that_says_nothing_of_calls_is_called_as_a_cell_of_torch() -> None:
    class Leak(nn.Module):
        def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> Any:
            return x if h is None else 0.5 * h + x

    @cd.register_adapter(Leak)
    class LeakAdapter(HalfAdapter):
        pass

    inputs = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    assert check_adapter(cd.adapt(Leak()), Leak(), inputs).failed == ()


class Reader(nn.Module):
    """A model that `torch.jit` can read."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0][:, -1]


def traced() -> nn.Module:
    """Trace a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(Reader(), torch.zeros(2, 5, 3))


@pytest.mark.parametrize("layer", ["rnn", None])
def test_layers_of_a_traced_model_are_refused(layer: str | None) -> None:
    model, x = traced(), torch.zeros(2, 5, 3)
    twin = cd.adapt(Reader(), "rnn")
    calls = (
        lambda: cd.adapt(model, layer),
        lambda: cd.record(model, layer, x),
        lambda: cd.record(model, layer, x, dynamics=twin),
        lambda: cd.adapt(nn.ModuleDict({"inner": model}), "inner.rnn"),
    )
    for call in calls:
        with pytest.raises(cd.UnsupportedLayerError, match="hooks do not fire; use"):
            call()


def test_a_dynamically_quantised_layer_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LSTM(3, 2))
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    with pytest.raises(cd.UnsupportedLayerError, match="quantised"):
        cd.adapt(quantised, "0")


def test_active_dropout_between_layers_is_refused_and_idle_dropout_is_not() -> None:
    layer = nn.GRU(3, 2, num_layers=2, dropout=0.5)
    with pytest.raises(cd.UnsupportedLayerError, match=r"dropout=0.5.*model.eval\(\)"):
        cd.adapt(layer)
    assert cd.adapt(layer.eval()).state_dim == 4
    assert not layer.training


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0"])
def test_weights_that_are_not_finite_are_refused(name: str) -> None:
    layer = nn.GRU(3, 2)
    with torch.no_grad():
        getattr(layer, name).flatten()[0] = torch.nan
    with pytest.raises(ValueError, match="`weights` to be finite, got 1 NaN"):
        cd.adapt(layer)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_layer_index_outside_the_stack_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="`layer_index` between 0 and 1"):
        cd.adapt(nn.GRU(3, 2, num_layers=2), layer_index=index)


def test_adapting_leaves_the_layer_as_it_was() -> None:
    layer = nn.GRU(3, 2).train()
    layer.weight_hh_l0.requires_grad_(False)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    cd.adapt(layer)
    assert layer.training
    assert not layer.weight_hh_l0.requires_grad
    assert layer.weight_ih_l0.requires_grad
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


NAMED = """
from torch import nn

class Decay(nn.Module): ...
class Faster(Decay): ...
"""


class HalfAdapter(RecurrentAdapter):
    """What reads a class of another package, which it does not import."""

    supported = "named_package>=2"
    layout, input_dim = cd.StateLayout((cd.Block("h", 2),)), 2

    def __init__(self, layer: nn.Module) -> None: ...

    def step(self, states: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return 0.5 * states + inputs


@pytest.mark.usefixtures("_registry_restored")
def test_a_layer_is_registered_by_name_before_its_package_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cd.register_adapter("named_package.Decay")(HalfAdapter)
    assert cd.list_adapters()["named_package.Decay"] == "HalfAdapter"
    info = {info.layer: info for info in describe_adapters()}["named_package.Decay"]
    assert (info.package, info.installed) == ("named_package", "")
    assert info.supported == "named_package>=2"
    assert "named_package" not in sys.modules
    (tmp_path / "named_package.py").write_text(NAMED)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = importlib.import_module("named_package")
    monkeypatch.delitem(sys.modules, "named_package")
    model = nn.ModuleDict({"inner": package.Faster()})
    assert isinstance(cd.adapt(model, "inner"), HalfAdapter)
    assert [reading.adapter for reading in inspect_layers(model)] == ["HalfAdapter"]


@pytest.mark.usefixtures("_registry_restored")
def test_an_adapter_of_the_class_itself_goes_before_one_of_its_name() -> None:
    own = type("OwnAdapter", (HalfAdapter,), {})
    cd.register_adapter(f"{Host.__module__}.Host")(HalfAdapter)
    cd.register_adapter(Host)(own)
    assert type(cd.adapt(Host())) is own
    assert cd.list_adapters()[f"{Host.__module__}.Host"] == "OwnAdapter"
    with pytest.raises(ValueError, match="Host to have no adapter yet, but HalfAdap"):
        cd.register_adapter(f"{Host.__module__}.Host")(own)


@pytest.mark.misuse
@pytest.mark.parametrize("name", ["GRU", "", "package.", "my package.Cell"])
def test_a_name_without_its_module_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="`layer_types` to be classes or dotted names"):
        cd.register_adapter(name)
