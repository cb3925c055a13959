"""A closure that is called many times for one batch: its outputs and targets, or residuals, checked at every call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.outputs._standing import differentiable_kernels

Closure = Callable[[], Any]

PARTS = (
    "Return (outputs, targets), or the residuals with the samples first, before they are squared and averaged. "
    "In Lightning that is manual optimisation: self.automatic_optimization = False."
)
DETACHED = (
    "the closure's outputs depend on none of the optimizer's parameters that require grad: they are detached, computed "
    f"under no_grad, or belong to another model. {PARTS}"
)


class BatchClosure:
    """`() → (x, y)` of a closure, y = 0 for residuals; every call must use the same batch.

    Args:
        closure: returns (outputs, targets), or residuals; the samples first.
        model: that the closure calls.
        dtype, device: of its parameters.
    """

    def __init__(self, closure: Closure, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self._closure, self._model, self._dtype, self._device = closure, model, dtype, device
        self._differentiates = False
        self._first: tuple[torch.Size, Tensor | None] | None = None

    def attached(self) -> tuple[Tensor, Tensor]:
        """x and y with x's graph."""
        with torch.enable_grad():
            outputs, target = self._called()
        if not outputs.requires_grad:
            raise InputError(DETACHED)
        return outputs, torch.zeros_like(outputs) if target is None else target.detach()

    def value(self) -> Tensor:
        """x alone, without a graph, (N, Q)."""
        try:
            with torch.set_grad_enabled(self._differentiates):
                return rows_of(self._called()[0].detach())
        except RuntimeError as error:
            if self._differentiates or "does not require grad" not in str(error):
                raise
        self._differentiates = True  # the closure itself differentiates by its inputs
        return self.value()

    def _called(self) -> tuple[Tensor, Tensor | None]:
        with differentiable_kernels(self._model.modules()):
            outputs, target = _parts(self._closure())
        self._require_real(outputs)
        if target is not None and target.device != self._device:
            raise InputError(
                f"the closure returned targets on {target.device} and the parameters are on {self._device}: move them "
                "to one device."
            )
        if self._first is None:
            self._first = outputs.shape, target
        shape, before = self._first
        same = target is None if before is None else target is not None and torch.equal(target, before)
        if outputs.shape != shape or not same:
            raise InputError(
                f"the closure returned outputs of shape {tuple(shape)} at its first call and {tuple(outputs.shape)}, "
                "or other targets, at a later one: every call of one step must see the same batch. Draw the batch "
                "before the step, outside of the closure."
            )
        return outputs, target

    def _require_real(self, outputs: Tensor) -> None:
        if outputs.dim() == 0:
            raise InputError(
                f"the closure returned a single number, a loss: least squares needs the outputs themselves. {PARTS}"
            )
        if len(outputs) == 0:
            raise InputError(f"the closure returned shape {tuple(outputs.shape)}, no samples: at least one is needed.")
        if outputs.dtype != self._dtype or outputs.device != self._device:
            raise InputError(
                f"the closure returned {outputs.dtype} on {outputs.device} and the parameters are {self._dtype} on "
                f"{self._device}: model and data need one dtype and one device."
            )


def rows_of(outputs: Tensor) -> Tensor:
    """`(N, …) → (N, Q)`."""
    return outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]


def _parts(returned: Any) -> tuple[Tensor, Tensor | None]:
    if isinstance(returned, Tensor):
        return returned, None
    if isinstance(returned, (tuple, list)) and len(returned) == 2 and all(isinstance(t, Tensor) for t in returned):
        return returned[0], returned[1]
    what = f"{type(returned).__name__} of {len(returned)}" if isinstance(returned, (tuple, list)) else None
    raise InputError(f"the closure returned a {what or type(returned).__name__}, not tensors. {PARTS}")
