"""A copy of what a module's outputs depend on beside θ, so that they can be computed again later."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._budget import available_bytes

SMALL = 0.01  # Share of the free memory that copies of buffers and fixed parameters may take.


@dataclass(frozen=True)
class ModuleSnapshot:
    """Modes, buffers and parameters outside θ of a module, which can be restored temporarily.

    Attributes:
        model: the module.
        modes: of each of its modules.
        tensors: buffers and fixed parameters by name, copied; empty where they are not small.
        kinds: dtype and device of every parameter and buffer, by name.
    """

    model: nn.Module
    modes: dict[str, bool]
    tensors: dict[str, Tensor]
    kinds: dict[str, tuple[torch.dtype, torch.device]]

    @classmethod
    def of(cls, model: nn.Module, inside: set[str], device: torch.device) -> "ModuleSnapshot":
        """The snapshot of the module as it is now.

        Args:
            inside: names of the parameters that make up θ.
        """
        modes = {name: module.training for name, module in model.named_modules()}
        outside = {n: t for n, t in _tensors(model).items() if n not in inside}
        small = sum(t.numel() * t.element_size() for t in outside.values()) <= SMALL * available_bytes(device)
        return cls(model, modes, {n: t.detach().clone() for n, t in outside.items()} if small else {}, _kinds(model))

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Restores the snapshot inside the block; afterwards the module is as it was before the block."""
        now = ModuleSnapshot(
            self.model,
            {name: module.training for name, module in self.model.named_modules()},
            {n: t.detach().clone() for n, t in _tensors(self.model).items() if n in self.tensors},
            _kinds(self.model),
        )
        try:
            self._put_back()
            yield
        finally:
            now._put_back()

    def _put_back(self) -> None:
        for name, module in self.model.named_modules():
            module.training = self.modes.get(name, module.training)
        with torch.no_grad():
            for name, tensor in _tensors(self.model).items():
                now = tensor.dtype, tensor.device
                dtype, device = self.kinds.get(name, now)
                if now != (dtype, device):  # the module was converted by module.to: convert it back in the same way
                    tensor.data = tensor.data.to(device, dtype)
                if name in self.tensors and self.tensors[name].shape == tensor.shape:
                    tensor.copy_(self.tensors[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _kinds(model: nn.Module) -> dict[str, tuple[torch.dtype, torch.device]]:
    return {name: (tensor.dtype, tensor.device) for name, tensor in _tensors(model).items()}
