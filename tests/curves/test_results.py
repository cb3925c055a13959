"""Results as objects: pickled, copied, read by key, printed in a terminal of 80 columns."""

import copy
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

import geodescent as gd
from geodescent.curves._differences import Differences

X = np.linspace(0.1, 4.0, 20)
Y = 2.0 * np.exp(-0.8 * X) + 0.01 * np.cos(9.0 * X)


def decay(x: Any, size: Any, rate: Any) -> Any:
    return size * np.exp(-rate * x)


def decay_in_torch(x: Any, size: Any, rate: Any) -> Any:
    return size * torch.exp(-rate * x)


def residuals(p: Any) -> Any:
    return decay(X, *p) - Y


FITS: dict[str, Callable[[], Any]] = {
    "numpy": lambda: gd.curve_fit(decay, X, Y),
    "torch": lambda: gd.curve_fit(decay_in_torch, X, Y),
    "bounds": lambda: gd.curve_fit(decay, X, Y, bounds=(0.0, 9.0)),
    "residuals": lambda: gd.least_squares(residuals, [1.0, 1.0]),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda fit: pickle.loads(pickle.dumps(fit))], ids=["copy", "pickle"])
def test_a_copy_says_and_does_the_same(fit: Any, copied: Any) -> None:
    before = fit()
    after = copied(before)
    assert after.report() == before.report() and repr(after) == repr(before)
    np.testing.assert_array_equal(after.profile(), before.profile())
    if isinstance(before, gd.CurveFit):
        np.testing.assert_array_equal(after.band(X), before.band(X))
        np.testing.assert_array_equal(after.predict([9.0]), before.predict([9.0]))


def fitted_by_a_lambda(size: float) -> gd.CurveFit:
    return gd.curve_fit(lambda x, a, b: a * np.exp(-b * x), X, size * Y)


def test_results_come_back_from_other_processes_whatever_the_formula() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (fit,) = pool.map(fitted_by_a_lambda, [3.0])
    here = fitted_by_a_lambda(3.0)
    assert fit.report() == here.report()
    np.testing.assert_array_equal(fit.interval(), here.interval())
    for ask in (fit.profile, lambda: fit.predict(X), lambda: fit.band(X)):
        with pytest.raises(gd.InputError, match="define the formula by def at the top of a module"):
            ask()


def test_residuals_of_a_lambda_are_pickled_too() -> None:
    result = gd.least_squares(lambda p: residuals(p), [1.0, 1.0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).x, result.x)


def test_fields_are_read_as_those_of_scipy() -> None:
    ours, theirs = gd.least_squares(residuals, [1.0, 1.0]), scipy.optimize.least_squares(residuals, [1.0, 1.0])
    assert isinstance(ours, Mapping) and set(theirs) == set(ours)
    assert ours.get("cost") == ours["cost"] == ours.cost and ours.get("unknown", 3) == 3 and "x" in ours
    assert len(ours) == len(list(ours.items())) and dict(ours)["status"] == ours.status
    assert ours == ours and ours != gd.least_squares(residuals, [1.0, 1.0]) and len({ours}) == 1
    with pytest.raises(KeyError):
        ours["told"]


WIDE: dict[str, Callable[[], Any]] = {
    "minimum": lambda: gd.curve_fit(decay, X, Y),
    "bounds": lambda: gd.curve_fit(decay, X, Y, bounds=([0.0, 0.0], [1.5, 9.0])),
    "far away": lambda: gd.curve_fit(lambda x, a, m, s: a * np.exp(-(((x - m) / s) ** 2)), 100.0 * X, Y, p0=[1, -9, 1]),
    "undetermined": lambda: gd.curve_fit(lambda x, a, b, c: a * b * c * np.exp(-0.8 * x), X, Y),
    "one undetermined": lambda: gd.curve_fit(lambda x, a, b: a * np.exp(-0.8 * x) + 0 * b, X, Y),
    "no minimum": lambda: gd.curve_fit(decay, X, Y, max_nfev=1),
    "residuals": lambda: gd.least_squares(residuals, [1.0, 1.0]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fit", WIDE.values(), ids=WIDE)
def test_a_report_fits_into_a_terminal(fit: Any) -> None:
    report = fit().report()
    assert max(map(len, report.splitlines())) < 80, report


def test_parameters_without_effect_are_named_in_good_english() -> None:
    with pytest.warns(scipy.optimize.OptimizeWarning, match=r"do not tell a, b and c apart\. Fix one of them"):
        report = WIDE["undetermined"]().report()
    assert "do not tell a, b and c apart" in " ".join(report.split())
    with pytest.warns(scipy.optimize.OptimizeWarning, match=r"do not determine b\. Fix it\."):
        report = WIDE["one undetermined"]().report()
    assert "do not determine b:" in report


def test_a_warning_stands_at_the_line_that_asked() -> None:
    with pytest.warns(scipy.optimize.OptimizeWarning) as told:
        gd.curve_fit(decay, X, Y, max_nfev=1)
    assert {warning.filename for warning in told} == {__file__}


def test_a_parameter_that_has_left_its_data_is_told_alone() -> None:
    """At rate = 500 only the first datum sees the decay; a step of the size of the rate itself would see them all."""
    x = np.linspace(0.0, 4.0, 60)
    derivative = Differences("3-point")(
        lambda u: u[0] * torch.exp(-u[1] * torch.as_tensor(x)) + u[2],
        torch.tensor([2.0, 500.0, 1.0], dtype=torch.float64),
        (torch.full((3,), -torch.inf), torch.full((3,), torch.inf)),
    )
    exact = -2.0 * x * np.exp(-500.0 * x)
    assert float((derivative[:, 1] - torch.as_tensor(exact)).abs().max()) < 1e-14


@pytest.mark.parametrize("settings", [{}, {"jac": "2-point"}, {"jac": "3-point"}, {"bounds": (0.0, 9.0)}])
@pytest.mark.parametrize("f", [decay, decay_in_torch, lambda x, a, b: [a * v + b for v in x]])
def test_every_call_of_the_function_is_counted(f: Any, settings: dict[str, Any]) -> None:
    count = 0

    def counting(x: Any, a: Any, b: Any) -> Any:
        nonlocal count
        count += 1
        return f(x, a, b)

    assert gd.curve_fit(counting, X, Y, **settings).result.nfev == count


@pytest.mark.parametrize("value", [1e-19, -1e-17])
@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_a_parameter_of_tiny_units_near_its_zero_keeps_a_finite_column(scheme: str, value: float) -> None:
    """Rows that are defined within 1e-9 alone, at a parameter that changes none of them."""
    u, everywhere = torch.tensor([value], dtype=torch.float64), torch.full((1,), torch.inf, dtype=torch.float64)
    x = torch.linspace(0.1, 1.0, 10, dtype=torch.float64)
    derivative = Differences(scheme)(lambda u: x * torch.sqrt(1.0 - (u[0] / 1e-9) ** 2), u, (-everywhere, everywhere))
    assert bool(torch.isfinite(derivative).all())


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_longer_steps_of_differences_stay_where_the_rows_are_finite(scheme: str) -> None:
    """The rows hardly depend on the last entry, and a step long enough to change them overflows."""
    u, everywhere = torch.tensor([1.0, 700.0], dtype=torch.float64), torch.full((2,), torch.inf, dtype=torch.float64)
    for rows in (
        lambda u: u[0] + torch.exp(-u[1] * torch.arange(1.0, 60.0, dtype=torch.float64)),
        lambda u: u[0] + 1e-12 * torch.sqrt(701.0 - u[1]) * torch.ones(3, dtype=torch.float64),
    ):
        derivative = Differences(scheme)(rows, u, (-everywhere, everywhere))
        assert bool(torch.isfinite(derivative).all())
