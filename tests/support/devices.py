"""The same call on the CPU and on a device: data and models that are made on the CPU and moved."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

F32, F64 = torch.float32, torch.float64
CLOSE = {F32: 2e-2, F64: 1e-6}
"""Share of a cost, after few steps, by which sums in another order may change it."""


def with_cpu(device: torch.device) -> list[torch.device]:
    """The device and the CPU, or the CPU once: the first and the last are compared."""
    return [device] if device.type == "cpu" else [device, torch.device("cpu")]


def moved(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """A copy of a module, a tensor, or a tuple, list or dict of tensors on the device; integers keep their type."""
    if isinstance(values, nn.Module):
        return copy.deepcopy(values).to(device, dtype)
    if isinstance(values, Tensor):
        return values.to(device, dtype if values.is_floating_point() else None)
    if isinstance(values, dict):
        return {name: moved(value, device, dtype) for name, value in values.items()}
    return type(values)(moved(value, device, dtype) for value in values)


def assert_same_number(found: float, expected: float, share: float, floor: float = 0.0) -> None:
    """Within this share of the larger, or both below the floor."""
    assert math.isfinite(found) and math.isfinite(expected)
    assert abs(found - expected) <= share * max(abs(found), abs(expected)) + floor, (found, expected)


def assert_on(tensor: Tensor, device: torch.device) -> None:
    """Where a tensor is, whatever number its device has."""
    assert tensor.device.type == device.type, (tensor.device, device)


def random_states() -> list[Tensor]:
    """Of the CPU's generator, and of each CUDA device."""
    states = [torch.get_rng_state()]
    return states + torch.cuda.get_rng_state_all() if torch.cuda.is_available() else states
