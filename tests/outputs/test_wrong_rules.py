"""Rules of layers that are wrong in one thing are refused, also where D changes quickly with θ or the inputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from support.models import normal
from torch import Tensor, nn

import geodescent as gd
from geodescent.outputs import RULES, Rule

Apply = Callable[[Any, Tensor, Tensor, dict[str, Tensor], str], list[Any]]
APPLY = {layer: rule.apply for layer, rule in RULES.items()}
SEEDS = 2  # Starts: a difference may change by chance.


@dataclass(frozen=True)
class Wrong:
    """What is wrong in the rule of a layer.

    Attributes:
        cotangents: what the rule takes for its cotangents.
        index: what it takes for the places of the parameters.
    """

    cotangents: Callable[[Tensor], Tensor] = lambda g: g
    index: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda index: index

    def of(self, layer: type[nn.Module]) -> Rule:
        """The rule of this layer made wrong."""

        def apply(module: Any, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Any]:
            return APPLY[layer](module, a, self.cotangents(g), self.index(index), label)

        return replace(RULES[layer], apply=apply)


def turned(index: dict[str, Tensor]) -> dict[str, Tensor]:
    """The places of the parameters, those of the last axis of the weight in another order."""
    return {**index, "weight": index["weight"].flip(-1)}


WRONG = {
    "a factor": Wrong(cotangents=lambda g: 1.05 * g),
    "a factor of one sample": Wrong(cotangents=lambda g: torch.cat([g[:-1], 0.8 * g[-1:]])),
    "a sign": Wrong(cotangents=torch.neg),
    "no bias": Wrong(index=lambda index: {name: index[name] for name in index if name != "bias"}),
    "another order of the bias": Wrong(index=lambda index: {**index, "bias": index["bias"].roll(1)}),
    "another order of the weight": Wrong(index=turned),
}


class Waves(nn.Module):
    """`sin(frequency · z)`."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, z: Tensor) -> Tensor:
        return torch.sin(self.frequency * z)


def waves(frequency: float) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(3, 8), Waves(frequency), nn.Linear(8, 1))


def filters() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.Tanh(), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 1)
    )


MODELS: dict[str, tuple[type[nn.Module], Callable[[], nn.Module], float]] = {
    "smooth": (nn.Linear, waves(1.0), 0.0),
    "waves": (nn.Linear, waves(30.0), 0.0),
    "quick waves": (nn.Linear, waves(1000.0), 0.0),
    "columns far from zero": (nn.Linear, waves(1.0), 2000.0),
    "a norm of columns far from zero": (
        nn.LayerNorm,
        lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)),
        2000.0,
    ),
    "filters": (nn.Conv1d, filters, 0.0),
    "a norm": (nn.LayerNorm, filters, 0.0),
}


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    """The registry, put back afterwards."""
    before = dict(RULES)
    yield
    RULES.update(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_is_refused(wrong: str, name: str, dtype: torch.dtype) -> None:
    layer, make, offset = MODELS[name]
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model, x = make().to(dtype), (offset + normal(6, 3) * max(1.0, 0.01 * offset)).to(dtype)
        RULES[layer] = replace(RULES[layer], apply=APPLY[layer])
        gd.SampleMap(model, x)
        RULES[layer] = WRONG[wrong].of(layer)
        with pytest.raises(gd.JacobianError, match="by layers differs from autograd's by"):
            gd.SampleMap(model, x)
