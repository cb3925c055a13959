"""Questions that no door may answer: each is refused with a sentence that names what is wrong, and nothing changes."""

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import torch
from fuzz.cases import Case
from fuzz.checks import OURS, Found, Wrong, flat, require, require_sentence
from torch import Tensor, nn

import geodescent as gd


def _first(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The inputs with the first tensor of floating numbers, or the first one, changed."""
    if isinstance(inputs, dict):
        name = next(iter(inputs))
        return {**inputs, name: change(inputs[name])}
    return (change(inputs[0]), *inputs[1:]) if isinstance(inputs, tuple) else change(inputs)


class _Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out - out.mean(0)


def _mixes(case: Case) -> tuple[nn.Module, Any, Any]:
    n = case.draw.randint(2, 20)
    return case.draw.there((_Centred(), case.draw.normal(n, 2).float(), torch.zeros(n, 3)))


def _random(case: Case) -> tuple[nn.Module, Any, Any]:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1)).train()
    return case.draw.there((model, case.draw.normal(5, 2).float(), torch.zeros(5, 1)))


WRONG: dict[str, tuple[str, Callable[[Case], tuple[nn.Module, Any, Any]]]] = {
    "NaN in X": ("NaN or infinite", lambda c: (c.model, _first(c.X, lambda x: _with_nan(x, c.y.dtype)), c.y)),
    "NaN in y": ("NaN or infinite", lambda c: (c.model, c.X, _with_nan(c.y))),
    "infinite y": ("NaN or infinite", lambda c: (c.model, c.X, c.y * math.inf)),
    "another dtype": ("dtype|is torch.float|computes in", lambda c: (c.model, c.X, c.y.half())),
    "too many targets": ("shape|samples", lambda c: (c.model, c.X, torch.cat([c.y, c.y]))),
    "another shape": ("shape", lambda c: (c.model, c.X, c.y.reshape(len(c.y), -1).repeat(1, 3))),
    "no targets": ("y", lambda c: (c.model, c.X, None)),
    "frozen": ("requires grad", lambda c: (_frozen(c.model), c.X, c.y)),
    "mixes samples": ("mixes samples|another sample joins", _mixes),
    "dropout": ("is active: its outputs are random", _random),
}


def _with_nan(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    x = x.to(dtype or x.dtype, copy=True)
    x.reshape(-1)[0] = math.nan
    return x


def _frozen(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).requires_grad_(False)


def refused(case: Case) -> str:
    """One of them at one of the doors."""
    name = case.draw.choice(list(WRONG))
    pattern, make = WRONG[name]
    model, X, y = make(case)
    doors: dict[str, Callable[[], object]] = {
        "fit": lambda: gd.fit(model, X, y, max_steps=1),
        "certify": lambda: gd.certify(model, X, y),
        "initialise": lambda: gd.initialise(model, X, y),
        "flow": lambda: gd.flow(model, X, y, until=0.1, max_seconds=0.1),
        "optimizer": lambda: gd.GeoDescent(model).step(X, y),
    }
    door = case.draw.choice(list(doors))
    found, before = Found(model, case.draw.device), torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    try:
        doors[door]()
    except OURS as error:
        require_sentence(error)
        also = any(re.search(r.pattern, str(error)) and r.is_true() for r in case.refusals)  # true of the case itself
        right = also or re.search(pattern, str(error)) is not None
        require(right, f"{name} at {door} is refused for another reason: {error}")
    else:
        raise Wrong(f"{name} at {door} is not refused")
    found.require_left()
    require(torch.equal(before, torch.cat([p.detach().reshape(-1) for p in model.parameters()])), "θ has changed")
    require(len(flat(case.model)) > 0, "the case's own model is frozen")
    return f"{door} refuses"
