"""Layers are found and run through torch.compile, DataParallel and peft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import captum_dynamics as cd
from captum_dynamics.adapters import find_layer
from captum_dynamics.attr import DynamicsAttribution


class Host(nn.Module):
    """A cell in a loop below a layer of sequences, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.GRU(3, 4, batch_first=True)})
        self.cell, self.head = nn.RNNCell(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden, state = self.encoder["rnn"](x)[0], torch.zeros(len(x), 4).to(x)
        for step in range(x.shape[1]):
            state = self.cell(hidden[:, step], state)
        return self.head(state)


def host() -> Host:
    torch.manual_seed(0)
    return Host().double().eval()


def vectors(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda model: nn.DataParallel(compiled(model)),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("path", ["encoder.rnn", "cell"])
def test_a_path_may_leave_out_wrappers(path: str, wrap: str) -> None:
    plain, inputs = host(), vectors(3, 5, 3)
    model = WRAPS[wrap](plain)
    wanted = cd.record(plain, path, inputs)
    assert torch.equal(cd.record(model, path, inputs).states, wanted.states)
    whole = next(name for name, _ in model.named_modules() if name.endswith(path))
    assert find_layer(model, whole) is find_layer(model, path)
    with pytest.raises(cd.LayerNotFoundError, match=rf"no layer at 'x'.*{whole}'"):
        cd.adapt(model, "x")


@pytest.mark.parametrize("path", ["encoder.rnn", "cell"])
def test_a_model_that_is_compiled_already_shows_its_calls(path: str) -> None:
    plain, inputs = host(), vectors(3, 5, 3)
    model = compiled(plain)
    with torch.no_grad():
        model(inputs)
    model(inputs)
    runs = cd.record(model, path, inputs)
    layer = plain.get_submodule(path)
    methods = (DynamicsAttribution(m, layer) for m in (model, plain))
    ours, theirs = (m.attribute(inputs, baselines=0.0, target=0) for m in methods)
    assert torch.equal(ours, theirs)
    assert torch.equal(runs.states, cd.record(plain, path, inputs).states)


class Steps(nn.Module):
    """A layer that dynamo compiles, called as a GRU is."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4).double()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.linear(x),)


def test_no_compiled_code_runs_while_hooks_stand() -> None:
    ran: list[str] = []

    def counting(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            ran.append("compiled")
            return graph.forward(*inputs)

        return run

    plain, inputs = host(), vectors(3, 5, 3)
    plain.encoder = nn.ModuleDict({"rnn": Steps()})  # dynamo runs nn.GRU as it is
    model = torch.compile(plain, backend=counting)
    model(inputs)
    assert ran
    ran.clear()
    cd.record(model, "cell", inputs)
    DynamicsAttribution(model, plain.cell).attribute(inputs, baselines=0.0, target=0)
    assert not ran
    model(inputs)
    assert ran


def test_a_compiled_layer_in_a_model_is_the_layer_in_it() -> None:
    plain, inputs = host(), vectors(3, 5, 3)
    rnn = plain.encoder["rnn"]
    plain.encoder["rnn"] = compiled(rnn)
    assert find_layer(plain, "encoder.rnn") is rnn
    assert find_layer(plain, plain.encoder["rnn"]) is rnn
    assert cd.adapt(compiled(rnn)).state_dim == 4
    runs = cd.record(plain, "encoder.rnn", inputs)
    assert torch.allclose(runs.states, rnn(inputs)[0], atol=1e-12)
    assert list(cd.adapt_all(plain)) == ["encoder.rnn._orig_mod", "cell"]


def test_data_parallel_over_several_devices_is_refused() -> None:
    model = nn.DataParallel(host())
    model.device_ids = [0, 1]
    with pytest.raises(cd.UnsupportedLayerError, match=r"over 2 devices.*model.module"):
        cd.adapt(model, "cell")


def test_layers_of_a_peft_model_are_found_by_their_own_paths() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["head"], r=2)
    plain, inputs = host(), vectors(3, 5, 3)
    wanted = cd.record(plain, "encoder.rnn", inputs).states
    model = peft.get_peft_model(plain, config).eval()
    assert torch.equal(cd.record(model, "encoder.rnn", inputs).states, wanted)
    assert "base_model.model.cell" in cd.adapt_all(model)


def test_a_layer_that_peft_saves_is_the_active_copy() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["head"], modules_to_save=["cell"], r=2)
    model = peft.get_peft_model(host(), config).eval()
    cell = find_layer(model, "cell")
    assert cell is model.base_model.model.cell.modules_to_save["default"]
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    inputs = vectors(3, 5, 3)
    runs = cd.record(model, "cell", inputs)
    read = model.base_model.model.encoder["rnn"](inputs)[0]
    state = torch.zeros(3, 4).double()
    for step in range(5):
        state = cell(read[:, step], state)
    assert torch.allclose(runs.states[:, -1], state, atol=1e-12)


def test_weights_that_peft_changes_while_it_runs_are_refused() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_parameters=["cell.weight_hh"], r=2)
    model = peft.get_peft_model(host(), config).eval()
    with pytest.raises(cd.UnsupportedLayerError, match="merge_and_unload"):
        cd.adapt(model, "base_model.model.cell.base_layer")
