"""A model as it stands, to see that nothing of it has changed."""

import copy
from typing import Any

import torch
from torch import nn


class Snapshot:
    """Everything of a model that must not change."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.state = copy.deepcopy(model.state_dict())
        self.now = self.look()

    def look(self) -> dict[str, Any]:
        parameters = dict(self.model.named_parameters())
        return {
            "mode": [m.training for m in self.model.modules()],
            "identity": [(name, id(p), p.data_ptr(), p.requires_grad) for name, p in parameters.items()],
            "grad": [None if p.grad is None else p.grad.clone().tolist() for p in parameters.values()],
            "buffers": [(name, id(b)) for name, b in self.model.named_buffers()],
            "hooks": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in self.model.modules()
            ],
            "random": torch.get_rng_state().tolist(),
            "dtype": torch.get_default_dtype(),
            "grad mode": torch.is_grad_enabled(),
        }

    def assert_unchanged(self) -> None:
        now = self.look()
        for what, before in self.now.items():
            assert now[what] == before, what
        for name, value in self.model.state_dict().items():
            assert torch.equal(value, self.state[name]), name
