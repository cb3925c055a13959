"""Stand-ins for what PINA and DeepXDE hand over: the attributes and calls that are read of them, and nothing else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

# --- PINA -----------------------------------------------------------------------------------------------------------


class Labelled(Tensor):
    """A tensor with a name for each column."""

    labels: list[str]

    def extract(self, names: list[str]) -> "Labelled":
        return labelled(self.as_subclass(Tensor)[:, [self.labels.index(name) for name in names]], names)


def labelled(tensor: Tensor, names: list[str]) -> Labelled:
    found = tensor.as_subclass(Labelled)
    found.labels = list(names)
    return found


def grad(output: Labelled, points: Labelled, d: list[str]) -> Labelled:
    """∂output/∂d, of one column."""
    (found,) = torch.autograd.grad(output, points, torch.ones_like(output), create_graph=True)
    columns = [points.labels.index(name) for name in d]
    return labelled(found.as_subclass(Tensor)[:, columns], [f"d{output.labels[0]}d{name}" for name in d])


def laplacian(output: Labelled, points: Labelled, d: list[str]) -> Tensor:
    """Σ ∂²output/∂d²."""
    parts = [grad(grad(output, points, [name]), points, [name]).as_subclass(Tensor) for name in d]
    return torch.stack(parts).sum(0)


class CartesianDomain:
    """A product of intervals and numbers, as PINA's keeps it."""

    def __init__(self, ranges: dict[str, Any]) -> None:
        self._range = {name: value for name, value in ranges.items() if isinstance(value, list)}
        self._fixed = {name: value for name, value in ranges.items() if not isinstance(value, list)}

    def sample(self, n: int, mode: str = "random") -> Labelled:
        names = sorted({**self._range, **self._fixed})
        columns = [
            self._range[name][0] + (self._range[name][1] - self._range[name][0]) * torch.rand(n)
            if name in self._range
            else torch.full((n,), float(self._fixed[name]))
            for name in names
        ]
        return labelled(torch.stack(columns, 1), names)


class Disk:
    """A domain of another kind: x² + y² < 1."""

    def sample(self, n: int, mode: str = "random") -> Labelled:
        radius, angle = torch.rand(n).sqrt(), 2.0 * torch.pi * torch.rand(n)
        return labelled(torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1), ["x", "y"])


class Union:
    """Several domains."""

    def __init__(self, geometries: list[Any]) -> None:
        self.geometries = geometries

    def sample(self, n: int, mode: str = "random") -> Labelled:
        return self.geometries[0].sample(n, mode)


class Residual:
    """An equation: its residual takes unknowns where the function has an argument for them."""

    def __init__(self, function: Callable[..., Tensor], n_arguments: int = 2) -> None:
        self._function, self._n_arguments = function, n_arguments

    def residual(self, points: Labelled, fields: Labelled, unknowns: Any = None) -> Tensor:
        given = (points, fields, unknowns)[: self._n_arguments]
        return self._function(*given)


def pina_problem(conditions: dict[str, Any], domains: dict[str, Any], **more: Any) -> Any:
    """A problem in x and t, or as said, of the field u."""
    return SimpleNamespace(
        **{
            "input_variables": ["x", "t"],
            "output_variables": ["u"],
            "conditions": conditions,
            "domains": domains,
            **more,
        }
    )


# --- DeepXDE --------------------------------------------------------------------------------------------------------


class Remembered:
    """DeepXDE's gradients, which are kept for every pair of tensors until they are cleared."""

    def __init__(self) -> None:
        self.kept = dict[Any, Tensor]()
        self.cleared = 0

    def jacobian(self, y: Tensor, x: Tensor, i: int = 0, j: int | None = None) -> Tensor:
        key = (y, x, i)
        if key not in self.kept:
            column = y[:, i : i + 1]
            self.kept[key] = torch.autograd.grad(column, x, torch.ones_like(column), create_graph=True)[0]
        return self.kept[key] if j is None else self.kept[key][:, j : j + 1]

    def hessian(self, y: Tensor, x: Tensor, i: int = 0, j: int = 0, component: int = 0) -> Tensor:
        return self.jacobian(self.jacobian(y, x, component), x, i, j)

    def clear(self) -> None:
        self.kept.clear()
        self.cleared += 1


gradients = Remembered()


class Condition:
    """A condition on values: u = func; the values are kept by the id of the array, as DeepXDE keeps them."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func, self.kept = func, dict[int, Tensor]()

    def error(self, X: Any, x: Tensor, y: Tensor, begin: int, end: int, aux: Any = None) -> Tensor:
        if id(X) not in self.kept:
            self.kept[id(X)] = torch.as_tensor(self.func(X[begin:end]))
        return y[begin:end, :1] - self.kept[id(X)]


class SlopesAlike:
    """∂u/∂x of the first half of the points is that of the second."""

    def error(self, X: Any, x: Tensor, y: Tensor, begin: int, end: int, aux: Any = None) -> Tensor:
        slopes, middle = gradients.jacobian(y, x, 0, 0), begin + (end - begin) // 2
        return slopes[begin:middle] - slopes[middle:end]


class Measured:
    """Values of a component at points."""

    def __init__(self, points: Any, values: Any, component: int = 0) -> None:
        self.points, self.values, self.component = points, torch.as_tensor(values), component


class Data:
    """Points of an equation, and of conditions one after the other."""

    def __init__(self, pde: Any, conditions: list[tuple[Any, Any]], inside: Any) -> None:
        self.pde, self.bcs = pde, [condition for condition, _ in conditions]
        self.train_x_all, self.num_bcs = inside, [len(points) for _, points in conditions]
        self.train_x_bc = np.concatenate([points for _, points in conditions]) if conditions else inside[:0]
        self.geom = SimpleNamespace(
            geometry=SimpleNamespace(dim=1), timedomain=None, random_points=lambda n: np.random.rand(n, 2)
        )
