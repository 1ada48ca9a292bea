"""Modules that hold a whole model, and paths that lead through them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

# By name, as importing them takes seconds or needs another package.
_INNER: dict[str, Callable[..., nn.Module]] = {
    "torch._dynamo.eval_frame.OptimizedModule": lambda m: m._orig_mod,
    "peft.utils.other.ModulesToSaveWrapper": lambda m: m.modules_to_save[
        m.active_adapter
    ],
    "peft.peft_model.PeftModel": lambda m: m.get_base_model(),
}
_HOLDERS = DataParallel | DistributedDataParallel | AveragedModel


def unwrapped(module: nn.Module) -> nn.Module:
    """The module in `torch.compile`, DataParallel or a wrapper of peft, at any depth.

    Any other module is itself.
    """
    while (inner := _inner(module)) is not None:
        module = inner
    return module


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
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _INNER:
            return _INNER[name](module)
    return None
