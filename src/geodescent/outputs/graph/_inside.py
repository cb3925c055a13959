"""Functions that take derivatives of a network by its inputs themselves, and what to say about them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

SYSTEM_WAY = "pde.System(net, [pde.Term('heat', lambda u: u.t - u.xx, points)], coordinates=('t', 'x'))"
THAN_PRODUCTS = "three to five times faster"
THAN_COLUMNS = "about a hundred times faster"
"""The time of a linearisation by rules against those by products and by columns (docs/decisions.md)."""
NO_GRAPH = "does not require grad"


def takes_derivatives(call: Callable[[], object]) -> bool:
    """Whether a call differentiates inside, by `torch.autograd.grad` or by `torch.func`."""
    mode: Any = _DerivativeWatch
    with mode() as watch:
        call()
    return bool(watch.seen)


def has_memory(tensor: Tensor) -> bool:
    """False for what `torch.func` hands to a function in the place of a tensor."""
    try:
        tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def faster_by_system(what: str, *, by_products: bool) -> str:
    """The sentence for a closure or a model whose derivatives are right, and slow."""
    return (
        f"{what} takes derivatives of the network by its inputs itself: pde.System takes the same by rules, "
        f"{THAN_PRODUCTS if by_products else THAN_COLUMNS}, {SYSTEM_WAY}."
    )


def without_a_graph(error: Exception) -> str | None:
    """The sentence for a model that differentiates where no graph is recorded; None for another error."""
    if NO_GRAPH not in str(error):
        return None
    return (
        "the model takes derivatives by its inputs in its forward pass, and there is no graph where outputs alone are "
        f"computed. Write the equation for the network alone, {SYSTEM_WAY}; or take the derivatives inside of "
        "`with torch.enable_grad():`, by inputs that require grad."
    )


class _DerivativeWatch(TorchFunctionMode):
    """Notices derivatives that are taken inside, in this thread alone."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in args if isinstance(value, Tensor)]
        self.seen |= func is torch.autograd.grad or not all(map(has_memory, tensors))
        return func(*args, **(kwargs or {}))
