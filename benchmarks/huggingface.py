"""How exact the adapters of Hugging Face models are, found by running them.

    python benchmarks/huggingface.py
    python benchmarks/huggingface.py --families mamba bamba --layers-only

Prints a table in Markdown for the installed version of transformers: of each family of
`captum_dynamics.testing.TINY_MODELS` its recurrent layer, and the whole model.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import vmap

import captum_dynamics as cd
from captum_dynamics.adapters import RecurrentAdapter
from captum_dynamics.calling import call_model
from captum_dynamics.testing import TINY_MODELS, CheckReport, TinyModel, verify

WINDOWS = ("conv", "shift", "begun")  # in names of blocks that hold last inputs
HEAD = (
    "family",
    "layer",
    "step, float32",
    "step, float64",
    "leak",
    "J",
    "rows",
    "vmap",
    "jvp, vjp",
    "bend",
)
LEGEND = """\
- **step**: largest relative error of one step, and of a sequence of 7, against the
  layer's own output, for a layer in float32 and in float64. Of a layer in float64
  hard-coded casts to float32 are lifted. A model that attends (*) is compared in one
  step after a context of 8 tokens, by its own cache.
- **leak**: what a step changes of the tensors it is given, the model, and its cache.
- **J**, **jvp, vjp**: against central differences in float64, whose own error is 1e-10
  to 1e-8.
- **rows**: a row alone against the same among others, one of which is NaN.
- **vmap**: rows of `torch.func.vmap` of a step against rows of a batch.
- **bend**: second difference of a step along a line in the recurrent blocks, relative;
  0 to rounding where the map is affine in them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--families", nargs="*", default=sorted(TINY_MODELS))
    parser.add_argument("--layers-only", action="store_true")
    given = parser.parse_args()
    import transformers

    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(f"{versions}\n")
    print(_line(HEAD))
    print(_line(["---"] * len(HEAD)))
    for name in given.families:
        for cells in rows(TINY_MODELS[name], transformers.__version__):
            if not (given.layers_only and cells[1].startswith("model")):
                print(_line(cells), flush=True)
    print(f"\n{LEGEND}")


def rows(family: TinyModel, version: str) -> Iterator[tuple[str, ...]]:
    """The lines of one family, of a layer and of the model."""
    if family.missing is not None:
        yield _told(family.name, "layer", f"not in {version}")
        return
    yield _row(family, "layer", lambda _: family.layer)
    if not family.mixer.startswith("torch."):
        yield _row(family, "model", _body)


def _body(model: nn.Module) -> nn.Module:
    """The model without its heads."""
    while (inner := model.base_model) is not model:
        model = inner
    return model


@dataclass(frozen=True)
class _Proof:
    """An adapter and what `verify` says of it, or why there is none."""

    adapter: RecurrentAdapter | None
    report: CheckReport | None
    failure: str = ""


def _row(
    family: TinyModel, what: str, find: Callable[[nn.Module], str | nn.Module]
) -> tuple[str, ...]:
    single, double = (
        _prove(family, dtype, find) for dtype in (torch.float32, torch.float64)
    )
    if single.adapter is None:
        return _told(family.name, what, single.failure)
    # All but the first two numbers are those of the same map in float64.
    report, adapter = double.report or single.report, single.adapter
    if report is None:
        return _told(family.name, what, single.failure)
    outputs = ("the model's run", "1 ")
    return (
        family.name,
        what + ("" if adapter.calls.begins_empty else " *"),
        _worst(single.report, outputs) if single.report else single.failure,
        _worst(double.report, outputs) if double.report else double.failure,
        _worst(report, ("2 ", "6 ")),
        _worst(report, ("3 ",), "jacobians"),
        _worst(report, ("4 ",), "row"),
        _guarded(lambda: _under_vmap(adapter)),
        _worst(report, ("3 ",), "jvp", "vjp"),
        _guarded(lambda: _bend(adapter)),
    )


def _prove(
    family: TinyModel,
    dtype: torch.dtype,
    find: Callable[[nn.Module], str | nn.Module],
) -> _Proof:
    adapter = None
    try:
        model = _built(family, dtype)
        adapter = cd.adapt(model, find(model))
        given = _given(family, dtype)
        return _Proof(adapter, verify(adapter, model, given, layer=find(model)))
    except cd.UnsupportedLayerError as error:
        return _Proof(adapter, None, f"refused: {_sentence(error)}")
    except Exception as error:  # it is what the table has to say
        return _Proof(adapter, None, f"fails: {_sentence(error)}")


def _built(family: TinyModel, dtype: torch.dtype) -> nn.Module:
    model = family.build().to(dtype)
    if hasattr(model, "set_experts_implementation"):
        # The default has no float64.
        model.set_experts_implementation("batched_mm")
    with torch.no_grad():
        if isinstance(embedding := _embedding(model), nn.Embedding):
            # Those of rwkv are so small that its norms bend within a difference.
            embedding.weight.mul_(max(1.0, 0.25 / float(embedding.weight.std())))
        # Rwkv scales its weights when it first runs.
        call_model(model, _given(family, dtype))
    return model


def _embedding(model: nn.Module) -> nn.Module | None:
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _given(family: TinyModel, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in family.inputs(3, 7).items()
    }


def _worst(report: CheckReport, checks: tuple[str, ...], *names: str) -> str:
    """Largest number of some claims; the error of one that raised."""
    found = [row for row in report.rows if row.check.startswith(checks)]
    raised = [row.note for row in found if row.value != row.value and row.note]
    if raised:
        return f"fails: {raised[0][:60]}"
    chosen = [r for r in found if not names or any(n in r.name for n in names)]
    return f"{max(row.value for row in chosen):.0e}"


def _under_vmap(adapter: RecurrentAdapter) -> float:
    states, inputs = _draw(4, adapter.state_dim), _draw(4, adapter.input_dim)

    def one(state: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        return adapter.step(state[None], read[None])[0]

    with torch.no_grad():
        wanted = adapter.step(states, inputs)
        return float((vmap(one)(states, inputs) - wanted).abs().max())


def _bend(adapter: RecurrentAdapter) -> float:
    """Second difference along a line in all blocks that are no window."""
    states, inputs = _draw(4, adapter.state_dim), _draw(4, adapter.input_dim)
    blocks = adapter.layout.split(0.5 * _draw(4, adapter.state_dim, seed=1))
    still = [name for name in blocks if any(word in name for word in WINDOWS)]
    if len(still) < len(blocks):
        blocks.update({name: torch.zeros_like(blocks[name]) for name in still})
    line = adapter.layout.join(blocks)
    with torch.no_grad():
        ahead, at, behind = (
            adapter.step(states + s * line, inputs) for s in (1, 0, -1)
        )
    return float((ahead - 2 * at + behind).abs().max() / (ahead - at).abs().max())


def _guarded(measure: Callable[[], float]) -> str:
    try:
        return f"{measure():.0e}"
    except Exception as error:
        return f"fails: {_sentence(error)[:60]}"


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _told(family: str, layer: str, reason: str) -> tuple[str, ...]:
    word = reason.partition(":")[0]
    return (family, layer, reason, *[word] * (len(HEAD) - 3))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:150].replace("|", "/")


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
