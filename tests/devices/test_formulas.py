"""Formulas on each device: in torch, with constants there, and in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from support.devices import F32, F64, assert_on, assert_same_number
from torch import Tensor

import geodescent as gd

CPU = torch.device("cpu")
X = np.linspace(0.1, 3.0, 30)
Y = 2.0 * np.exp(-0.7 * X) + 0.3 + 0.01 * np.cos(40.0 * X)
TRUTH = gd.curve_fit(lambda x, a, b, c: a * torch.exp(-b * x) + c, X, Y, p0=[1.0, 1.0, 0.0])


def curve(x: Any, a: Any, b: Any, c: Any) -> Any:
    lib = torch if isinstance(x, Tensor) else np
    return a * lib.exp(-b * x) + c


def on(device: torch.device, values: Any, dtype: torch.dtype = F64) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("start", ["flat", "named"])
def test_a_function_map(device: torch.device, start: str, dtype: torch.dtype) -> None:
    x, y, theta0 = (on(device, values, dtype) for values in (X, Y, [1.0, 1.0, 0.0]))
    if start == "flat":
        outputs = gd.FunctionMap(lambda theta: curve(x, *theta), theta0)
    else:
        named = {"a": theta0[0], "rest": theta0[1:]}
        outputs = gd.FunctionMap(lambda p: curve(x, p["a"], *p["rest"]), named)
    problem = gd.Problem.over(outputs, y)
    solution = gd.fit(problem)
    assert_on(solution.theta, device)
    assert np.allclose(solution.theta.cpu().numpy(), TRUTH.popt, rtol=1e-3 if dtype == F32 else 1e-6)
    known = gd.certify(problem)
    assert known.rank == 3 and len(str(solution)) > 50
    assert gd.flow(gd.Problem.over(gd.FunctionMap(lambda t: curve(x, *t), theta0), y), until=0.1, tol=1e-3).cost[-1] > 0


def test_a_map_with_its_own_jacobian_and_one_by_products(device: torch.device) -> None:
    x, y, theta0 = (on(device, values) for values in (X, Y, [1.0, 1.0, 0.0]))

    def dense(theta: Tensor) -> Tensor:
        e = torch.exp(-theta[1] * x)
        return torch.stack([e, -theta[0] * x * e, torch.ones_like(e)], 1)

    def by_products(theta: Tensor) -> gd.MatrixJacobian:
        matrix = dense(theta)
        pair = (lambda v: matrix @ v, lambda u: matrix.T @ u)
        return gd.MatrixJacobian(pair, shape=(30, 3), dtype=F64, device=device)

    for jacobian in (dense, by_products):
        outputs = gd.FunctionMap(lambda theta: curve(x, *theta), theta0, jacobian=jacobian)
        solution = gd.fit(gd.Problem.over(outputs, y))
        assert_on(solution.theta, device)
        assert np.allclose(solution.theta.cpu().numpy(), TRUTH.popt, rtol=1e-6)


PLACES = ["xdata", "ydata", "p0", "everything"]


@pytest.mark.parametrize("place", PLACES)
def test_curve_fit_goes_where_one_of_its_tensors_is(device: torch.device, place: str) -> None:
    """A formula in torch with a constant on the device: any tensor there says where the fit is computed."""
    one = on(device, 1.0).expand(30).clone()
    given: dict[str, Any] = {"xdata": X, "ydata": Y, "p0": np.array([1.0, 1.0, 0.0])}
    for name in given:
        if place in (name, "everything"):
            given[name] = on(device, given[name])
    fit = gd.curve_fit(lambda x, a, b, c: one * curve(x, a, b, c), **given, bounds=([0, 0, -1], [9, 9, 9]))
    assert np.allclose(fit.popt, TRUTH.popt, rtol=1e-6) and np.allclose(fit.pcov, TRUTH.pcov, rtol=1e-4)
    assert isinstance(fit.popt, np.ndarray) and len(fit.report()) > 100
    assert (fit.profile(0.9)[:, 0] < fit.popt).all()


def test_curve_fit_in_numpy_of_tensors(device: torch.device) -> None:
    fit = gd.curve_fit(lambda x, a, b, c: a * np.exp(-b * x) + c, on(device, X), on(device, Y), p0=[1.0, 1.0, 0.0])
    assert np.allclose(fit.popt, TRUTH.popt, rtol=1e-4)


def test_a_constant_on_another_device_is_said_with_a_way_out(device: torch.device) -> None:
    """Where nothing says that the fit is to be computed on the device."""
    if device.type == "cpu":
        pytest.skip("needs a second device")
    one = on(device, 1.0).expand(30).clone()

    with pytest.raises(gd.InputError, match="pass the start as a tensor on that device"):
        gd.curve_fit(lambda x, a, b, c: one * curve(x, a, b, c), X, Y, p0=[1.0, 1.0, 0.0])
    gd.curve_fit(lambda x, a, b, c: one * curve(x, a, b, c), X, Y, p0=on(device, [1.0, 1.0, 0.0]))


@pytest.mark.parametrize("loss", ["linear", "soft_l1"])
def test_least_squares(device: torch.device, loss: Any) -> None:
    x, y = on(device, X), on(device, Y)
    fit = gd.least_squares(lambda p: curve(x, *p) - y, on(device, [1.0, 1.0, 0.0]), loss=loss, bounds=(-9.0, 9.0))
    there = gd.least_squares(lambda p: curve(X, *p) - Y, [1.0, 1.0, 0.0], loss=loss, bounds=(-9.0, 9.0))
    assert_same_number(fit.cost, there.cost, 1e-6)
    assert isinstance(fit.x, np.ndarray) and isinstance(fit.jac, np.ndarray) and fit.jac.shape == (30, 3)
    of_args = gd.least_squares(lambda p, x, y: curve(x, *p) - y, [1.0, 1.0, 0.0], args=(x, y), loss=loss)
    assert_same_number(of_args.cost, there.cost, 1e-6)


def test_named_and_tied_parameters(device: torch.device) -> None:
    given = gd.Parameters({"a": 1.0, "b": 1.0, "c": 0.0}, lower={"b": 0.0}, tied={"c": lambda p: 0.15 * p["a"]})
    fit, there = gd.curve_fit(curve, on(device, X), on(device, Y), p0=given), gd.curve_fit(curve, X, Y, p0=given)
    assert fit.success and np.allclose(fit.popt, there.popt, rtol=1e-4) and np.allclose(fit.pcov, there.pcov, rtol=1e-2)


def test_many_data_sets(device: torch.device) -> None:
    y = np.stack([Y, 2.0 * Y, Y + 1.0])
    p0, sigma = [1.0, 1.0, 0.0], np.full(30, 0.1)
    here = gd.curve_fit_batched(curve, on(device, X), on(device, y), p0=p0, sigma=sigma, bounds=(-9.0, 9.0))
    there = gd.curve_fit_batched(curve, X, y, p0=p0, sigma=sigma, bounds=(-9.0, 9.0))
    for found in (here.popt, here.pcov, here.stderr, here.success, here.status, here.cost, here.nfev):
        assert isinstance(found, Tensor)
        assert_on(found, device)
    assert isinstance(here.popt, Tensor) and np.allclose(here.popt.cpu().numpy(), there.popt, rtol=1e-6)
