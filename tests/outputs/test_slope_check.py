"""FunctionMap compares D with differences of outputs: it finds parameters that leave torch, and nothing else."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import geodescent as gd

F64, F32 = torch.float64, torch.float32
TYPES = pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
Named = dict[str, Tensor]


def times(p: Named) -> Tensor:
    return torch.linspace(0.0, 3.0, 40, dtype=p["a"].dtype)


LEAVING: dict[str, Callable[[Named], Tensor]] = {
    "item": lambda p: p["a"] * torch.exp(-p["b"].item() * times(p)),
    "float": lambda p: p["a"] * torch.exp(-float(p["b"].detach()) * times(p)),
    "detach": lambda p: p["a"] * torch.exp(-p["b"].detach() * times(p)),
    "math": lambda p: p["a"] * math.exp(-p["b"].item()) * torch.cos(times(p)),
    "numpy": lambda p: p["a"] * torch.from_numpy(np.exp(-p["b"].detach().numpy() * times(p).numpy())),
}


@TYPES
@pytest.mark.parametrize("a", [1.0, 0.0, 1e-6])
@pytest.mark.parametrize("name", LEAVING)
def test_a_parameter_that_leaves_torch_is_named(name: str, a: float, dtype: torch.dtype) -> None:
    """Also where b has no effect at the start, or hardly any."""
    theta = {"a": torch.tensor(a, dtype=dtype), "b": torch.tensor(1.0, dtype=dtype)}
    with pytest.raises(gd.JacobianError, match=r"D v by torch differs .*, in b: torch does not follow .*jacobian="):
        gd.FunctionMap(LEAVING[name], theta)


@TYPES
def test_a_parameter_that_leaves_torch_in_one_of_two_places(dtype: torch.dtype) -> None:
    theta = {"a": torch.ones((), dtype=dtype), "b": torch.ones((), dtype=dtype)}
    with pytest.raises(gd.JacobianError, match="in b: torch does not follow"):
        gd.FunctionMap(lambda p: LEAVING["detach"](p) + p["b"], theta)


def leaves(entries: slice) -> Callable[[Tensor], Tensor]:
    def function(theta: Tensor) -> Tensor:
        parts = theta[: entries.start], theta[entries].detach(), theta[entries.stop :]
        return torch.cat(parts)

    return function


@TYPES
@pytest.mark.parametrize(
    ("entries", "names"), [(slice(7, 8), r"in θ\[7\]:"), (slice(3, 50_000), r"in θ\[\d+\], θ\[\d+\], θ\[\d+\], …:")]
)
def test_entries_of_a_flat_theta_are_found_among_many(entries: slice, names: str, dtype: torch.dtype) -> None:
    with pytest.raises(gd.JacobianError, match=names):
        gd.FunctionMap(leaves(entries), torch.zeros(50_000, dtype=dtype))


@TYPES
def test_a_parameter_with_small_effect_is_not_hidden_by_a_large_one(dtype: torch.dtype) -> None:
    theta = torch.tensor([1e6, 1e-6, 1.0], dtype=dtype)
    with pytest.raises(gd.JacobianError, match=r"in θ\[1\]:"):
        gd.FunctionMap(lambda p: torch.stack([p[0], p[1].detach() + 0.0 * p[1], p[2]]), theta)


SOUND: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "a kink": (torch.relu, 0.0),
    "a corner": (torch.abs, 0.0),
    "a cone": (lambda p: p.norm(), 0.0),
    "the largest": (lambda p: p.max(), 0.0),
    "a bound": (lambda p: p.clamp(0.0, 1.0), 0.0),
    "a jump": (lambda p: torch.where(p > 0.0, p, 100.0 + p), 0.0),
    "steps": (lambda p: torch.round(1000.0 * p) + p, 1.0),
    "the edge of the domain": (torch.sqrt, 0.0),
    "a start outside the domain": (torch.log, 0.0),
    "defined in few places": (lambda p: torch.linalg.cholesky(torch.diag(p)).reshape(-1), 1e-9),
    "quick waves": (lambda p: torch.sin(1e4 * p), 0.0),
    "quicker waves": (lambda p: torch.sin(1e8 * p), 0.0),
    "steep": (lambda p: torch.exp(50.0 * p), 0.0),
    "infinite close by": (lambda p: torch.exp(1e10 * p), 0.0),
    "flat": (lambda p: torch.sigmoid(100.0 * p), 1.0),
    "a third power": (lambda p: p**3, 0.0),
    "noise": (lambda p: p + 1e-6 * torch.sin(1e9 * p.detach()), 1.0),
    "tiny parameters": (lambda p: torch.sin(1e12 * p), 1e-12),
    "large outputs": (lambda p: 1e30 * p, 1.0),
    "small outputs": (lambda p: 1e-30 * p, 1.0),
    "unused": (lambda p: p[:2], 1.0),
    "constant rows": (lambda p: torch.cat([p[:1], torch.ones_like(p)]), 1.0),
    "as many outputs as the start allows": (lambda p: p[: 2 + int(p[0] == 1.0)], 1.0),
    "not a number": (lambda p: torch.cat([p, math.nan * p[:1]]), 1.0),
}


@TYPES
@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(name: str, dtype: torch.dtype) -> None:
    function, start = SOUND[name]
    gd.FunctionMap(function, torch.full((3,), start, dtype=dtype))


def test_cancellation_in_double_precision_is_no_alarm() -> None:
    gd.FunctionMap(lambda p: (p + 1e8) - 1e8, torch.zeros(3, dtype=F64))


def test_the_function_is_called_about_ten_times() -> None:
    calls = list[int]()

    def function(theta: Tensor) -> Tensor:
        calls.append(1)
        return torch.sin(theta)

    gd.FunctionMap(function, torch.ones(1000, dtype=F64))
    assert len(calls) <= 12


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_a_bias_far_below_the_rounding_of_its_sum_is_no_disagreement(size: float) -> None:
    """A step of a bias is lost in float32 beside inputs of a million, and D v is right all the same."""
    for seed in range(20):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Softplus(), torch.nn.Linear(4, 1, bias=False))
        x = size * torch.randn(5, 1)
        assert gd.SampleMap(model, x).linearise()[1].shape == (5, 12)
