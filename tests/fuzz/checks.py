"""What must hold of every case, by ways of its own: autograd row by row, and the cost by hand."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from support.laws import called, naive_jacobian
from torch import Tensor, nn

import geodescent as gd

OURS = (gd.InputError, gd.JacobianError, gd.MemoryPlanError)
DIGITS = {torch.float32: 2e-4, torch.float64: 1e-7}
"""Share of the norm of D, or of a row, by which two ways to compute it may differ."""
SMALL_ROW = 1e-3  # Share of the norm of D: of a shorter row only its size is known, where cancellation leaves it.


class Wrong(AssertionError):
    """Something that must hold does not."""


def require(holds: bool, sentence: str) -> None:
    if not holds:
        raise Wrong(sentence)


# --- the model ------------------------------------------------------------------------------------------------------


class Found:
    """A model as it was found, but for the numbers of its parameters."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model, device
        self.before = self._look(model)

    def require_left(self) -> None:
        now = self._look(self.model)
        for what, value in self.before.items():
            require(now[what] == value, f"{what} of the model is not as it was found")

    def _of_device(self) -> Tensor:
        on_cuda = self.device.type == "cuda"
        return torch.cuda.get_rng_state(self.device) if on_cuda else torch.get_rng_state()

    def _look(self, model: nn.Module) -> dict[str, object]:
        parameters = dict(model.named_parameters())
        frozen = [p for p in parameters.values() if not p.requires_grad]
        return {
            "the mode": [m.training for m in model.modules()],
            "which parameters there are": [
                (name, id(p), p.data_ptr(), p.requires_grad) for name, p in parameters.items()
            ],
            "a frozen parameter": [p.tolist() for p in frozen],
            "a gradient": [None if p.grad is None else p.grad.to_dense().tolist() for p in parameters.values()],
            "a buffer": [(name, id(b), b.tolist()) for name, b in model.named_buffers()],
            "a hook": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()
            ],
            "torch's random state": torch.get_rng_state().tolist(),
            "the device's random state": self._of_device().tolist(),
            "cuDNN's use": torch.backends.cudnn.enabled,
            "NumPy's random state": np.random.get_state()[1].tolist(),  # type: ignore[index]
            "the default dtype": torch.get_default_dtype(),
            "the grad mode": torch.is_grad_enabled(),
        }


def flat(model: nn.Module) -> Tensor:
    """θ of a module."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])


def call(model: nn.Module, inputs: Any) -> Tensor:
    """What the model returns, with all digits of its dtype."""
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def cost_by_hand(outputs: Tensor, y: Tensor, weights: Tensor | None) -> float:
    """`Σ w ‖x − y‖²/(2 Σ w)`."""
    squares = (outputs.reshape(len(y), -1) - y.reshape(len(y), -1)).double().square().sum(1)
    w = torch.ones_like(squares) if weights is None else weights.double()
    return float((w * squares).sum() / (2.0 * w.sum()))


def require_cost(
    said: float,
    outputs: Tensor,
    y: Tensor,
    weights: Tensor | None,
    what: str,
    nudged: Callable[[], Tensor] | None = None,
) -> None:
    """A cost is that of the module's outputs, to the rounding errors of these.

    Args:
        nudged: outputs with other rounding errors, asked for where the cost is off.
    """
    true = cost_by_hand(outputs, y, weights)
    if not math.isfinite(true):
        require(not math.isfinite(said), f"{what} is {said} and the module's is {true}")
        return
    size = float(outputs.double().square().sum().sqrt() + y.double().square().sum().sqrt()) / len(y) ** 0.5
    rounding = 1e3 * torch.finfo(outputs.dtype).eps * size
    allowed = 1e-9 * true + rounding * math.sqrt(2.0 * true) + rounding**2
    if abs(said - true) > allowed and nudged is not None:  # outputs much smaller than what they are made of
        allowed += 10.0 * abs(cost_by_hand(nudged(), y, weights) - true)
    require(abs(said - true) <= allowed, f"{what} is {said!r} and the module's is {true!r}")


def nudged(model: nn.Module, inputs: Any) -> Tensor:
    """What the model returns where each parameter is changed by rounding."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for k, p in enumerate(moved.parameters()):
            p.mul_(1.0 + (1 + k % 3) * torch.finfo(p.dtype).eps)
    return call(moved, inputs)


# --- D --------------------------------------------------------------------------------------------------------------


def require_close(ours: Tensor, theirs: Tensor, size: float, digits: float, what: str) -> None:
    require(ours.shape == theirs.shape, f"{what} has shape {tuple(ours.shape)}, not {tuple(theirs.shape)}")
    off = float((ours.double() - theirs.double()).norm())
    require(off <= digits * size, f"{what} is off by {off:.3g} of {size:.3g}")


def require_jacobian(jacobian: gd.Jacobian, dense: Tensor, digits: float, draw_normal: Callable[..., Tensor]) -> None:
    """Rows, products, Gram and normal matrices are those of D."""
    whole = float(dense.double().norm())
    m, k = dense.shape
    u, v = draw_normal(m).to(dense), draw_normal(k).to(dense)
    ours = jacobian.dense()
    require_close(ours, dense, whole, digits, "D")
    for i, (row, theirs) in enumerate(zip(ours, dense, strict=True)):
        size = float(theirs.double().norm()) + SMALL_ROW * whole
        require_close(row, theirs, size, 10.0 * digits, f"row {i} of D")
    size_u, size_v = float(u.norm()), float(v.norm())
    require_close(jacobian.mv(v), dense @ v, whole * size_v, digits, "D v")
    require_close(jacobian.rmv(u), dense.T @ u, whole * size_u, digits, "Dᵀu")
    # products in float64, as lifts form them: those over positions cancel; a product of two is off by twice as much
    jacobian, dense, twice = jacobian.to(torch.float64), dense.double(), 2.0 * digits
    require_close(jacobian.gram(), dense @ dense.T, whole**2, twice, "G")
    require_close(jacobian.normal(), dense.T @ dense, whole**2, twice, "DᵀD")
    require_close(jacobian.row_squares(), dense.square().sum(1), whole**2, twice, "the diagonal of G")


def by_autograd(model: nn.Module, inputs: Any) -> Tensor:
    """D of a copy, one gradient a row."""
    copied = copy.deepcopy(model)
    with torch.backends.cudnn.flags(
        enabled=False, allow_tf32=False
    ):  # whose recurrent layers go backwards in training alone
        outputs = called(copied, inputs)
        if not outputs.requires_grad:
            return outputs.new_zeros(outputs.numel(), len(flat(model)))
        return naive_jacobian(copied, inputs).detach()


def digits_of(model: nn.Module, inputs: Any, dense: Tensor) -> float:
    """How far two ways to compute D may be apart: in float32 three times as far as autograd is from float64."""
    if dense.dtype == torch.float64:
        return DIGITS[dense.dtype]
    exact = by_autograd(copy.deepcopy(model).double(), in_double(inputs))
    off = float((exact - dense.double()).norm()) / (float(exact.norm()) + 1e-300)
    return max(DIGITS[dense.dtype], 3.0 * off) if math.isfinite(off) else math.inf


def in_double(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: in_double(x) for name, x in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(in_double(x) for x in inputs)
    return inputs.double() if inputs.is_floating_point() else inputs


# --- refusals -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A sentence that a case may be refused with, and whether what it says is true of the case."""

    pattern: str
    is_true: Callable[[], bool]


def require_sentence(error: Exception) -> None:
    """What is said is a sentence: several words, and a full stop."""
    text = str(error)
    require(len(text.split()) > 5 and text.rstrip().endswith((".", ")")), f"no sentence: {text!r}")
