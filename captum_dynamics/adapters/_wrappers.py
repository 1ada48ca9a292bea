"""Modules that hold a whole model, and paths that lead through them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from captum_dynamics.adapters._base import refuse

# By name, as importing them takes seconds or needs another package.
_INNER: dict[str, Callable[..., nn.Module]] = {
    "torch._dynamo.eval_frame.OptimizedModule": lambda m: m._orig_mod,
    "peft.utils.other.ModulesToSaveWrapper": lambda m: m.modules_to_save[
        m.active_adapter
    ],
    "peft.peft_model.PeftModel": lambda m: m.get_base_model(),
}
_ADAPTED_PARAMETERS = "peft.tuners.lora.layer.ParamWrapper"
_HOLDERS = (DataParallel, DistributedDataParallel, AveragedModel)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module in `torch.compile`, DataParallel or a wrapper of peft, at any depth.

    Any other module is itself.
    """
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def check_wrappers(model: nn.Module, layer: nn.Module) -> None:
    """Refuse wrappers under which a layer runs elsewhere, or with other weights."""
    for module in model.modules():
        if isinstance(module, DataParallel) and len(module.device_ids) > 1:
            raise refuse(
                module,
                f"it splits each batch over {len(module.device_ids)} devices; give "
                f"the model in it, `model.module`.",
            )
        kind = dotted_name(type(module))
        if kind == _ADAPTED_PARAMETERS and layer in module.modules():
            raise refuse(
                layer,
                "peft changes its weights only while it runs; call "
                "`model.merge_and_unload()` first.",
            )


def follow(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path, which may leave out the wrappers on its way."""
    module: nn.Module | None = model
    for name in path.split(".") if path else ():
        module = None if module is None else _child(module, name)
    return module


def _child(module: nn.Module, name: str) -> nn.Module | None:
    while name not in module._modules:
        inner = _inner(module)
        if inner is None:
            return None
        module = inner
    return module._modules[name]


def _inner(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _HOLDERS):
        held: nn.Module = module.module
        return held
    for base in type(module).__mro__:
        if dotted_name(base) in _INNER:
            return _INNER[dotted_name(base)](module)
    return None


def dotted_name(kind: type) -> str:
    """Name of a class with that of the module that defines it."""
    return f"{kind.__module__}.{kind.__qualname__}"
