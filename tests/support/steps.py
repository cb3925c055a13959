"""Steps of the optimizer, called in every way, and the path of `fit` beside them."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import Control, CostLevels, Damping, Linearised, Trial, Walk, planned_stages

F64 = torch.float64
STEPS = 10
EXACT = 1e-12


def problem(n: int = 60, hidden: int = 16, dtype: torch.dtype = F64) -> tuple[nn.Module, Tensor, Tensor]:
    """Diabetes, K > m: full rank and well conditioned, so that twelve digits of an iterate mean something."""
    torch.manual_seed(0)
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])[:, None]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 1)).to(dtype), x.to(dtype), y.to(dtype)


def deep() -> tuple[nn.Sequential, Tensor, Tensor]:
    """Two hidden layers on the same data."""
    _, x, y = problem()
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return model, x, y


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """C by another path than the library's."""
    return 0.5 * float((model(x).detach() - y).square().sum()) / len(x)


@dataclass(frozen=True)
class Watched(Control[Any]):
    """A control that notes where its steps lead: the path of `fit`, which keeps the best point only."""

    inner: Control[Any]
    trials: list[Tensor] = field(default_factory=list)

    @property
    def state_type(self) -> type[Any]:
        return self.inner.state_type

    def begin(self, here: Linearised, damping: Damping | None = None) -> Any:
        return self.inner.begin(here, damping)

    def step(self, here: Linearised, walk: Walk, state: Any, levels: CostLevels) -> tuple[Trial, Any] | None:
        taken = self.inner.step(here, walk, state, levels)
        self.trials.extend([] if taken is None else [taken[0].theta])
        return taken

    def restart(self, here: Linearised, count: int) -> Any:
        return self.inner.restart(here, count)


def path_of_fit(model: nn.Module, x: Tensor, y: Tensor, step_size: float = 1.0, steps: int = STEPS) -> list[Tensor]:
    """θ after each of the first steps of `fit` with its own plan; their costs are those of `fit` alone."""
    whole, trials, path = gd.Problem.of(copy.deepcopy(model), x, y), list[Tensor](), list[Tensor]()
    stages = tuple(
        replace(stage, control=Watched(stage.control, trials), walk=stage.walk.sized(step_size))
        for stage in planned_stages(whole)
    )
    watched = gd.fit(whole, max_steps=steps, method=stages, callback=lambda record: path.append(trials[-1]))
    assert len(path) == watched.steps > 1
    if step_size == 1.0:
        plain = gd.fit(copy.deepcopy(model), x, y, max_steps=steps)
        assert plain.history["cost"].tolist() == watched.history["cost"].tolist()
    return path


def assert_on_path(models: Iterator[nn.Module], path: list[Tensor]) -> None:
    for model, theta in zip(models, path, strict=True):
        assert float((theta_of(model) - theta).abs().max()) <= EXACT


Step = Callable[[gd.GeoDescent, nn.Module, Tensor, Tensor], float]
STEP: dict[str, Step] = {
    "X, y": lambda optimizer, model, x, y: optimizer.step(x, y),
    "outputs, targets": lambda optimizer, model, x, y: optimizer.step(lambda: (model(x), y)),
    "residuals": lambda optimizer, model, x, y: optimizer.step(lambda: model(x) - y),
    "keyword": lambda optimizer, model, x, y: optimizer.step(closure=lambda: [model(x), y]),
}
