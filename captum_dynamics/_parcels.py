"""What travels to another process: work as bytes, by plain pickle.

Left to itself, a `ProcessPoolExecutor` sends tensors as handles of shared memory: the
caller's own tensors are moved there, each costs an open file, and a container grants
64 MB of it. Nothing here touches a file.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch
from torch import Tensor

# In a forked process this is the parent's.
IMPORTED_IN = os.getpid()


def owned(unit: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy tensors: a view would travel with the whole of what it looks into."""
    return tuple(item.clone() if isinstance(item, Tensor) else item for item in unit)


def pack(work: Any) -> bytes:
    """Turn a task, its arguments or its result into bytes."""
    try:
        return pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(_refusal(error)) from error


def unpack(parcel: bytes) -> Any:
    """Read what `pack` wrote."""
    try:
        return pickle.loads(parcel)
    except (pickle.UnpicklingError, AttributeError, ImportError) as error:
        raise TypeError(_refusal(error)) from error


def call(task: bytes, unit: bytes) -> bytes:
    """Do a unit of work: this is what a process of a pool runs."""
    threads = torch.get_num_threads()
    if os.getpid() != IMPORTED_IN and threads > 1:
        raise RuntimeError(
            f"Expected `executor` to spawn its processes, got forked ones with "
            f"{threads} torch threads, where torch hangs: give the pool "
            f'`mp_context=multiprocessing.get_context("spawn")`.'
        )
    return pack(unpack(task)(*unpack(unit)))


def _refusal(error: Exception) -> str:
    return (
        f"Expected work that the processes of `executor` can be sent, got {error}: "
        f"define functions, such as the step of a map, at module level of a file that "
        f"they can import, or use threads or dask."
    )
