"""Problems of DeepXDE as systems, read by the names of their attributes: DeepXDE is not imported."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from geodescent._errors import InputError
from geodescent.pde._boxes import Points
from geodescent.pde._hints import own_cause
from geodescent.pde._mlp import mlp
from geodescent.pde._system import System
from geodescent.pde._terms import Term
from geodescent.pde.bridges._foreign import NETWORK, ForeignEquation, failing

logger = logging.getLogger("geodescent")
SPACE = ("x", "y", "z")
FLOAT32 = (
    "DeepXDE computes boundary and initial values in float32, which limits the solution to seven digits: call "
    "dde.config.set_default_float('float64') before the data are made."
)


def from_deepxde(
    data: Any,
    net: nn.Module | Mapping[str, nn.Module] | None = None,
    *,
    fields: Sequence[str] = ("u",),
    coordinates: Sequence[str] | None = None,
    unknowns: Mapping[str, Tensor] | None = None,
    weights: Mapping[str, float] | None = None,
    transform: Callable[..., Any] | None = None,
) -> System:
    """The system of `dde.data.PDE` or `dde.data.TimePDE`, with the backend PyTorch.

        system = pde.from_deepxde(data)
        solution = gd.fit(system, max_seconds=30)

    Equation and conditions stay as they are; `dde.grad.jacobian` and `hessian` find the derivatives that the system
    computes. Points are those of the data. Terms are called `equation`, and `condition 1`, … in the order of the data.

    Args:
        data: has `pde`, `bcs`, `geom` and the points of training.
        net: as of a System; None for three layers of twenty tanh.
        fields: names of the outputs, as DeepXDE has none.
        coordinates: names of the inputs; None for x, y, z, then t where there is time.
        unknowns: name → `dde.Variable` that the equation reads.
        weights: name of a term → weight.
        transform: as of a System.

    Raises: InputError, for what is no such problem, in the words of the term.
    """
    for name in ("pde", "bcs", "geom", "train_x_all", "num_bcs", "train_x_bc"):
        if not hasattr(data, name):
            raise InputError(
                f"data is a {type(data).__name__} without {name}: pass a dde.data.PDE or dde.data.TimePDE."
            )
    if getattr(data, "auxiliary_var_fn", None) is not None:
        raise InputError("the data have auxiliary variables, which a System does not know: write the equation for pde.")
    if np.asarray(data.train_x_all).dtype == np.float32:
        logger.warning(FLOAT32)
    names = tuple(coordinates) if coordinates is not None else _coordinates_of(data.geom)
    read = _DataReader(data, names, tuple(fields), dict(unknowns or {}))
    given = dict(weights or {})
    terms = read.terms(given)
    if given:
        raise InputError(f"weights names {min(given)!r}: the terms are {', '.join(term.name for term in terms)}.")
    net = mlp(len(names), NETWORK, len(fields)) if net is None else net
    first = {name: float(value.detach()) for name, value in (unknowns or {}).items()}
    return System(net, terms, coordinates=names, fields=fields, unknowns=first, transform=transform)


class _DataReader:
    """Equation and conditions → terms, for one data object."""

    def __init__(
        self, data: Any, coordinates: tuple[str, ...], fields: tuple[str, ...], unknowns: dict[str, Any]
    ) -> None:
        self._data, self._coordinates, self._fields, self._unknowns = data, coordinates, fields, unknowns
        self._arrays = dict[bytes, Any]()

    def terms(self, weights: dict[str, float]) -> list[Term]:
        """One for the equation, and one for each condition; their weights are taken out of the mapping."""
        found = list[Term]()
        if self._data.pde is not None:
            points = _tensor(self._data.train_x_all)
            ones = torch.ones_like(points[:, 0])
            placed = Points(points, self._coordinates, ones, 1.0, self._drawn)
            residual = self._residual(lambda array, x, y: self._data.pde(x, y))
            equation = self._equation("equation", residual, points)
            found.append(Term("equation", equation, placed, weight=weights.pop("equation", None)))
        start = 0
        for k, (condition, n) in enumerate(zip(self._data.bcs, self._data.num_bcs, strict=True), 1):
            name, points = f"condition {k}", _tensor(self._data.train_x_bc[start : start + n])
            start += n
            if n:
                found.append(self._condition(name, condition, points, weights.pop(name, None)))
        return found

    def _condition(self, name: str, condition: Any, points: Tensor, weight: float | None) -> Term:
        measured = getattr(condition, "values", None) if hasattr(condition, "points") else None
        if measured is not None and not hasattr(condition, "func"):
            picked = condition.component if isinstance(condition.component, list) else [condition.component]
            equation = self._equation(name, self._residual(lambda array, x, y: y[:, picked]), points)
            target = torch.as_tensor(measured, device="cpu").detach().double().expand(len(points), len(picked))
            return Term(name, equation, points, weight=weight, target=target)
        if measured is not None:
            equation = self._equation(name, self._residual(lambda array, x, y: condition.func(x, y, array)), points)
            target = torch.as_tensor(measured, device="cpu").detach().double().expand(len(points), 1)
            return Term(name, equation, points, weight=weight, target=target)
        residual = self._residual(lambda array, x, y: condition.error(array, x, y, 0, len(array)))
        equation = self._equation(name, residual, points)
        half = len(points) // 2
        placed = (points[:half], points[half:]) if equation.n_rows == half else points
        return Term(name, equation, placed, weight=weight)

    def _equation(self, name: str, residual: Callable[..., Tensor], points: Tensor) -> ForeignEquation:
        first = {name: float(value.detach()) for name, value in self._unknowns.items()}
        try:
            return ForeignEquation(residual, self._coordinates, self._fields, first, points)
        except Exception as error:
            raise failing(f"term {name!r}", error) from own_cause(error)

    def _residual(self, function: Callable[[Any, Tensor, Tensor], Any]) -> Callable[..., Tensor]:
        """A function of points as an array and a tensor, and of fields; what DeepXDE keeps of it is dropped."""

        def residual(points: Tensor, fields: Tensor, unknowns: dict[str, Tensor]) -> Tensor:
            pairs = [(variable, unknowns[name]) for name, variable in self._unknowns.items()]
            mode: Any = _InPlaceOf
            try:
                with mode(pairs):
                    found = function(self._array(points), points, fields)
            finally:
                _clear(self._data)
            parts = found if isinstance(found, list | tuple) else [found]
            return torch.cat([part if part.dim() == 2 else part[:, None] for part in parts], 1)

        return residual

    def _array(self, points: Tensor) -> Any:
        """The same array for the same points, and never forgotten: DeepXDE keeps boundary values by its id."""
        array = points.detach().cpu().numpy()
        return self._arrays.setdefault(array.tobytes(), array.copy())

    def _drawn(self, n: int, seed: int) -> Tensor:
        """Points at random, without touching NumPy's own state."""
        state = np.random.get_state()
        try:
            np.random.seed(seed)
            return _tensor(self._data.geom.random_points(n))
        finally:
            np.random.set_state(state)


class _InPlaceOf(TorchFunctionMode):
    """Puts our unknowns in the place of the variables that an equation reads by their names."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._pairs = pairs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*(self._ours(value) for value in args), **{k: self._ours(v) for k, v in (kwargs or {}).items()})

    def _ours(self, value: Any) -> Any:
        return next((ours for theirs, ours in self._pairs if value is theirs), value)


def _coordinates_of(geometry: Any) -> tuple[str, ...]:
    """x, y, z and t, as the geometry has them."""
    space, time = getattr(geometry, "geometry", geometry), hasattr(geometry, "timedomain")
    if hasattr(space, "t0"):  # time alone
        return ("t",)
    names = SPACE[: space.dim] if space.dim <= len(SPACE) else tuple(f"x{k + 1}" for k in range(space.dim))
    return (*names, "t") if time else names


def _clear(data: Any) -> None:
    """Drops the gradients that DeepXDE remembers for every call."""
    package = sys.modules.get(type(data).__module__.partition(".")[0])
    gradients: Any = getattr(package, "gradients", None)
    if hasattr(gradients, "clear"):
        gradients.clear()


def _tensor(points: Any) -> Tensor:
    return torch.from_numpy(np.array(points, dtype=np.float64))
