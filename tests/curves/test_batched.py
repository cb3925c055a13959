"""One formula fitted to many data sets at once: SciPy is the oracle, and no data set spoils another."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

import geodescent as gd

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


@dataclass(frozen=True)
class Family:
    """A formula in any library, where it is measured, and the box from which true parameters are drawn."""

    formula: Callable[[Any], Callable[..., Any]]
    x: np.ndarray
    low: tuple[float, ...]
    high: tuple[float, ...]

    def data(self, count: int, seed: int, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        truth = draw.uniform(self.low, self.high, (count, len(self.low)))
        clean = np.stack([self.formula(np)(self.x, *theta) for theta in truth])
        return truth, clean + noise * abs(clean).max(1, keepdims=True) * draw.standard_normal(clean.shape)

    def start(self, truth: np.ndarray, spread: float, seed: int) -> np.ndarray:
        return truth * np.exp(spread * np.random.default_rng(seed).standard_normal(truth.shape))


FAMILIES = {
    "exponential": Family(
        lambda m: lambda x, a, b, c: a * m.exp(-b * x) + c, np.linspace(0, 4, 50), (0.5, 0.3, -1), (5, 3, 1)
    ),
    "gaussian": Family(
        lambda m: lambda x, a, b, c: a * m.exp(-((x - b) ** 2) / (2 * c**2)),
        np.linspace(-5, 5, 50),
        (0.5, -3, 0.4),
        (5, 3, 2),
    ),
    "hill": Family(
        lambda m: lambda x, a, k, h: a * x**h / (k**h + x**h), np.linspace(0.05, 10, 50), (0.5, 0.5, 1), (5, 6, 4)
    ),
    "logistic": Family(
        lambda m: lambda x, a, b, c: a / (1 + m.exp(-c * (x - b))), np.linspace(0, 10, 50), (0.5, 2, 0.5), (5, 8, 3)
    ),
    "cosine": Family(
        lambda m: lambda x, a, b, w, p: a * m.exp(-b * x) * m.cos(w * x + p),
        np.linspace(0, 6, 50),
        (0.5, 0.05, 1.5, -1),
        (5, 0.6, 4, 1),
    ),
}
EXPONENTIAL = FAMILIES["exponential"]


def curve(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return a * torch.exp(-b * x) + c


def bilinear(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """No parameter is linear together with the other, and neither by itself beside a square."""
    return torch.exp(-a * x) + torch.sin(b * x)


def scipy_fits(family: Family, y: np.ndarray, p0: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
    """The best of two methods at their tightest tolerances, and its covariance; infinite cost where both raise."""
    popt, cost = np.full(p0.shape, np.nan), np.full(len(y), np.inf)
    pcov = np.full((*p0.shape, p0.shape[1]), np.nan)
    for method in ("lm", "trf") if "bounds" not in options else ("trf",):
        for i in range(len(y)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = curve_fit(
                        family.formula(np), family.x, y[i], p0[i], method=method, ftol=1e-15, xtol=1e-15, **options
                    )
                except (RuntimeError, ValueError):
                    continue
            value = 0.5 * float(((family.formula(np)(family.x, *found[0]) - y[i]) ** 2).sum())
            if value < cost[i]:
                (popt[i], pcov[i]), cost[i] = found, value
    return popt, pcov, cost


# --- SciPy is the oracle --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_and_covariances_are_those_of_scipy(name: str) -> None:
    family = FAMILIES[name]
    truth, y = family.data(30, 0)
    p0 = family.start(truth, 0.2, 1)
    popt, pcov, cost = scipy_fits(family, y, p0)
    fit = gd.curve_fit_batched(family.formula(torch), family.x, y, p0)
    assert fit.success.all()
    assert (fit.cost <= cost * (1 + 1e-9)).all()
    same = (fit.cost >= cost * (1 - 1e-9)) & np.isclose(fit.popt, popt, rtol=0.01, atol=0.01).all(1)  # no other phase
    error = np.sqrt(np.diagonal(pcov, axis1=1, axis2=2))
    assert same.sum() >= 25
    assert (abs(fit.popt - popt) <= 1e-6 * np.maximum(abs(popt), error))[same].all()
    assert (abs(fit.pcov - pcov) <= 1e-4 * error[:, :, None] * error[:, None, :])[same].all()
    assert np.allclose(fit.stderr, np.sqrt(np.diagonal(fit.pcov, axis1=1, axis2=2)))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_it_finds_the_least_cost_at_least_as_often_as_scipy(spread: float) -> None:
    ours, theirs = 0, 0
    for name, family in FAMILIES.items():
        truth, y = family.data(40, 2)
        p0 = family.start(truth, spread, 3)
        cost = scipy_fits(family, y, p0)[2]
        fit = gd.curve_fit_batched(family.formula(torch), family.x, y, p0)
        at_truth = gd.curve_fit_batched(family.formula(torch), family.x, y, truth).cost
        least = np.fmin(np.fmin(cost, fit.cost), at_truth) * (1 + 1e-6)
        ours, theirs = ours + (fit.cost <= least).sum(), theirs + (cost <= least).sum()
        assert fit.success[fit.cost <= least].mean() > 0.99, name
    assert ours >= theirs


def test_absolute_sigma_is_that_of_scipy() -> None:
    _, y = EXPONENTIAL.data(3, 4)
    sigma = 0.05 * (1.0 + EXPONENTIAL.x)
    for absolute in (False, True):
        fit = gd.curve_fit_batched(curve, EXPONENTIAL.x, y, sigma=sigma, absolute_sigma=absolute)
        for i in range(3):
            popt, pcov = curve_fit(EXPONENTIAL.formula(np), EXPONENTIAL.x, y[i], sigma=sigma, absolute_sigma=absolute)
            assert np.allclose(fit.popt[i], popt, rtol=1e-5)
            assert np.allclose(fit.pcov[i], pcov, rtol=1e-4)
            residual = (EXPONENTIAL.formula(np)(EXPONENTIAL.x, *fit.popt[i]) - y[i]) / sigma
            assert np.isclose(fit.cost[i], 0.5 * (residual**2).sum())


@pytest.mark.parametrize(
    "bounds",
    [
        ([0.0, 0.0, 0.0], [np.inf, np.inf, np.inf]),
        ([0.0, 0.5, -0.5], [3.0, 2.0, 0.5]),
        ([-np.inf, 1.2, -np.inf], [2.0, np.inf, np.inf]),
        (-0.3, 4.0),
    ],
)
def test_bounds_are_kept_exactly_and_the_minimum_is_that_of_scipy(bounds: Any) -> None:
    """Linear and other parameters, on one side, both sides and none; the covariance is SciPy's, of all parameters."""
    _, y = EXPONENTIAL.data(25, 5)
    fit = gd.curve_fit_batched(curve, EXPONENTIAL.x, y, bounds=bounds)
    lower, upper = (np.broadcast_to(b, (3,)) for b in bounds)
    assert ((fit.popt >= lower) & (fit.popt <= upper)).all()
    assert ((fit.popt == lower) | (fit.popt == upper)).any()
    assert (fit.success | ((fit.status == 2) & (fit.popt[:, 0] == 0.0))).all()  # no amplitude, no rate
    for i in range(25):
        popt, _ = curve_fit(EXPONENTIAL.formula(np), EXPONENTIAL.x, y[i], bounds=bounds, ftol=1e-14, xtol=1e-14)
        cost = 0.5 * ((EXPONENTIAL.formula(np)(EXPONENTIAL.x, *popt) - y[i]) ** 2).sum()
        assert fit.cost[i] <= cost * (1 + 1e-9)


# --- one data set does not touch another ----------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_data_sets_that_cannot_be_fitted_are_named_and_spoil_no_other(device: str) -> None:
    _, y = EXPONENTIAL.data(12, 6)
    p0 = np.ones((12, 3))
    sigma = np.full(y.shape, 0.1)
    alone = gd.curve_fit_batched(curve, EXPONENTIAL.x, y, p0, sigma)
    y[1, 7], y[2, 0], sigma[3, 4], sigma[4, 1], p0[5, 1], sigma[6, 2:] = np.nan, np.inf, np.nan, 0.0, np.nan, np.inf
    p0[7, 1] = -1e5  # the exponential overflows
    tensors = (torch.as_tensor(part, device=device) for part in (EXPONENTIAL.x, y, p0, sigma))
    fit = gd.curve_fit_batched(curve, *tensors)
    assert fit.status.tolist()[:8] == [1, -1, -1, -1, -1, -3, -2, -3]
    assert fit.status.tolist()[8:] == [1] * 4
    assert [i for i, text in enumerate(fit.message) if "not finite" in text] == [1, 2, 3, 4, 5, 7]
    bad = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    assert fit.popt[bad].isnan().all() and fit.pcov[bad].isnan().all() and not fit.success[bad].any()
    good = np.array([0, 8, 9, 10, 11])
    assert np.allclose(fit.popt.cpu()[good], alone.popt[good], rtol=1e-9)
    assert fit.popt.device.type == device


def test_every_data_set_ends_as_if_it_were_alone() -> None:
    """The others differ in start, noise and number of steps."""
    truth, y = FAMILIES["gaussian"].data(15, 7)
    p0 = FAMILIES["gaussian"].start(truth, 0.8, 8)
    f, x = FAMILIES["gaussian"].formula(torch), FAMILIES["gaussian"].x
    together = gd.curve_fit_batched(f, x, y, p0)
    assert len(set(together.nfev.tolist())) > 2
    for i in range(15):
        alone = gd.curve_fit_batched(f, x, y[i : i + 1], p0[i : i + 1])
        assert alone.status[0] == together.status[i]
        if alone.success[0]:
            assert np.allclose(alone.popt[0], together.popt[i], rtol=1e-8)


def test_few_evaluations_are_reported_and_the_best_point_is_kept() -> None:
    truth, y = FAMILIES["logistic"].data(10, 9)
    p0 = FAMILIES["logistic"].start(truth, 0.6, 10)
    f, x = FAMILIES["logistic"].formula(torch), FAMILIES["logistic"].x
    short, long = (gd.curve_fit_batched(f, x, y, p0, max_nfev=n) for n in (5, 300))
    assert (short.status == 0).any() and np.isfinite(short.popt).all()
    assert all("max_nfev" in text for text, code in zip(short.message, short.status, strict=True) if code == 0)
    assert (short.cost >= long.cost * (1 - 1e-9)).all() and long.success.mean() >= 0.9


def test_parameters_that_the_data_do_not_determine_are_no_success() -> None:
    """a and b enter as a sum; where the amplitude of the data is zero nothing is known of the rate."""
    y = np.random.default_rng(11).standard_normal((4, 20))
    fit = gd.curve_fit_batched(lambda x, a, b: (a + b) * x, np.linspace(0, 1, 20), y)
    assert fit.status.tolist() == [2] * 4 and not fit.success.any() and np.isinf(fit.pcov).all()
    assert "do not determine" in fit.message[0]
    flat = gd.curve_fit_batched(lambda x, a, b: a * torch.exp(-b * x), np.linspace(0, 1, 20), np.zeros((1, 20)))
    assert not flat.success.any() and flat.cost[0] == 0.0


def test_a_jump_in_the_formula_is_no_minimum() -> None:
    """The cost falls towards a < 0, where the formula is not finite."""
    fit = gd.curve_fit_batched(lambda x, a: x + torch.sqrt(a), np.linspace(0, 1, 9), np.linspace(0, 1, 9)[None] - 1.0)
    assert not fit.success.any()


# --- shapes and kinds -----------------------------------------------------------------------------------------------


def test_x_may_be_shared_or_not_with_one_predictor_or_several() -> None:
    _, y = EXPONENTIAL.data(4, 12)
    x = EXPONENTIAL.x
    shared = gd.curve_fit_batched(curve, x, y)
    each = gd.curve_fit_batched(curve, np.tile(x, (4, 1)), y)
    two = np.stack([x, np.cos(x)])
    plane = gd.curve_fit_batched(lambda x, a, b, c: a * torch.exp(-b * x[0]) + c + 0.0 * x[1], two, y)
    own = gd.curve_fit_batched(lambda x, a, b, c: a * torch.exp(-b * x[0]) + c + 0.0 * x[1], np.tile(two, (4, 1, 1)), y)
    for other in (each, plane, own):
        assert np.allclose(other.popt, shared.popt, rtol=1e-9)
    stretched = gd.curve_fit_batched(curve, x * np.array([[1.0], [2.0], [4.0], [8.0]]), y)
    assert np.allclose(stretched.popt[:, 1] * [1, 2, 4, 8], shared.popt[:, 1], rtol=1e-7)


def test_points_with_infinite_sigma_are_left_out_whatever_they_hold() -> None:
    _, y = EXPONENTIAL.data(2, 13)
    sigma, x = np.full(y.shape, 0.2), np.tile(EXPONENTIAL.x, (2, 1))
    sigma[1, 30:], y[1, 30:], x[1, 35:] = np.inf, np.nan, np.nan
    fit = gd.curve_fit_batched(curve, x, y, sigma=sigma)
    short = gd.curve_fit_batched(curve, x[1, :30], y[1:, :30], sigma=0.2)
    assert fit.success.all()
    assert np.allclose(fit.popt[1], short.popt[0], rtol=1e-9) and np.allclose(fit.pcov[1], short.pcov[0], rtol=1e-7)


def test_what_is_given_back_is_of_the_kind_of_ydata() -> None:
    _, y = EXPONENTIAL.data(3, 14)
    popt, pcov = gd.curve_fit_batched(curve, EXPONENTIAL.x.tolist(), y.tolist())
    assert isinstance(popt, np.ndarray) and popt.shape == (3, 3) and pcov.shape == (3, 3, 3)
    single = torch.as_tensor(y, dtype=torch.float32).requires_grad_()
    fit = gd.curve_fit_batched(curve, EXPONENTIAL.x, single)
    assert isinstance(fit.popt, torch.Tensor) and fit.popt.dtype == torch.float64 and not fit.popt.requires_grad
    assert np.allclose(fit.popt, popt, rtol=1e-4)
    assert repr(fit) == "3 fits of 3 parameters:\n3: Converged to a least-squares minimum."


def test_more_data_sets_than_are_held_at_once() -> None:
    from geodescent._budget import Budget, spending

    _, y = EXPONENTIAL.data(20, 15)
    whole = gd.curve_fit_batched(curve, EXPONENTIAL.x, y)
    with spending(Budget(batch_bytes=64 * 50 * 4 * 6)):
        parts = gd.curve_fit_batched(curve, EXPONENTIAL.x, y)
    assert np.allclose(whole.popt, parts.popt, rtol=1e-9) and parts.success.all()


# --- units, linear parameters, digits -------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-12, -6, 6, 12])
@pytest.mark.parametrize("name", FAMILIES)
def test_units_change_nothing(name: str, power: int) -> None:
    """Those of the targets and of x together: every parameter changes its unit."""
    family, unit = FAMILIES[name], 10.0**power
    truth, y = family.data(8, 16)
    p0 = family.start(truth, 0.2, 17)
    f = family.formula(torch)
    units = {"exponential": (unit, 1 / unit, unit), "gaussian": (unit, unit, unit), "hill": (unit, unit, 1.0)}
    units |= {"logistic": (unit, unit, 1 / unit), "cosine": (unit, 1 / unit, 1 / unit, 1.0)}
    here = gd.curve_fit_batched(f, family.x, y, p0)
    there = gd.curve_fit_batched(f, family.x * unit, y * unit, p0 * np.array(units[name]))
    assert (here.status == there.status).all()
    assert np.allclose(there.popt / np.array(units[name]), here.popt, rtol=1e-6)
    assert (there.nfev <= 1.5 * here.nfev + 3).all()


def test_the_start_of_a_linear_parameter_plays_no_part() -> None:
    _, y = EXPONENTIAL.data(6, 18)
    near, far = (gd.curve_fit_batched(curve, EXPONENTIAL.x, y, [s, 1.0, -s]) for s in (1.0, 1e6))
    assert np.allclose(near.popt, far.popt, rtol=1e-9) and (near.nfev <= far.nfev + 1).all()


def test_a_linear_model_is_solved_at_once() -> None:
    x, draw = np.linspace(-1, 1, 30), np.random.default_rng(19)
    y = draw.standard_normal((5, 30)) + 1e4
    fit = gd.curve_fit_batched(lambda x, a, b, c: a + b * x + c * x**2, x, y)
    assert np.allclose(fit.popt, np.polynomial.polynomial.polyfit(x, y.T, 2).T, rtol=1e-9)
    assert (fit.nfev <= 6).all()


@pytest.mark.parametrize("f", [bilinear, lambda x, a, b: a * torch.exp(-a * x) * (1.0 + b**2)])
def test_formulas_without_linear_parameters(f: Callable[..., torch.Tensor]) -> None:
    x = torch.linspace(0.1, 3.0, 40, dtype=torch.float64)
    y = torch.stack([f(x, torch.tensor(a), torch.tensor(0.7)) for a in (0.6, 0.8, 1.1)])
    fit = gd.curve_fit_batched(f, x, y, [0.7, 0.8])
    assert fit.success.all()
    assert np.allclose(fit.popt, [[0.6, 0.7], [0.8, 0.7], [1.1, 0.7]], rtol=1e-7)


def test_columns_that_are_nearly_the_same_keep_their_digits() -> None:
    """Two rates 2 % apart: the columns of their amplitudes differ by a hundredth; κ of the normal matrix is 1e12."""
    x = np.linspace(0.0, 5.0, 60)
    truth = np.array([1.0, 1.0, 2.0, 1.02])
    y = (truth[0] * np.exp(-truth[1] * x) + truth[2] * np.exp(-truth[3] * x))[None]
    fit = gd.curve_fit_batched(
        lambda x, a, b, c, d: a * torch.exp(-b * x) + c * torch.exp(-d * x), x, y, [[1.0, 0.97, 2.0, 1.05]]
    )
    assert fit.cost[0] <= 1e-25 * (y**2).sum()
    assert np.allclose(fit.popt[0], truth, rtol=1e-4)


# --- what is refused ------------------------------------------------------------------------------------------------

X, Y = np.linspace(0, 1, 6), np.ones((4, 6))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((curve, X, Y[0]), r"shape \(6,\), not \(B, n\).*ydata\[None\]"),
        ((curve, X, np.ones((0, 6))), r"shape \(0, 6\)"),
        ((curve, X[:5], Y), r"xdata has shape \(5,\) where ydata has \(4, 6\)"),
        ((curve, np.ones((3, 2, 6)), Y), r"xdata has shape \(3, 2, 6\)"),
        ((curve, X, Y, np.ones((3, 3))), r"p0 has shape \(3, 3\): pass \(K,\)"),
        ((curve, X, Y, 1.0), r"p0 has shape \(\)"),
        ((curve, X, Y, None, np.ones((6, 6))), r"sigma has shape \(6, 6\).*solve_triangular"),
        ((curve, X, Y, None, None, False, (0.0, np.ones(2))), r"bound has shape \(2,\)"),
        ((curve, X, Y, None, None, False, (1.0, 1.0)), "not below its upper"),
        ((curve, X, Y, None, None, False, (0.0,)), "bounds has 1 parts"),
        ((curve, X, Y, None, None, False, (-1.0, 1.0), 2), "max_nfev = 2"),
        ((curve, X, Y * 1j), "ydata is complex"),
        ((curve, X, [["a"] * 6] * 4), "ydata is no array of real numbers"),
        ((lambda x, *p: x * p[0], X, Y), "does not tell how many parameters"),
        ((lambda x, a: a * x[:3], X, Y), r"shape \(3,\) for a data set of 6 points"),
        ((lambda x, a: a, X, Y), r"c \+ torch.zeros_like\(x\)"),
        ((lambda x, a: a * torch.ones(6), X, Y), r"f returns torch.float32.*tensor.double\(\)"),
        ((lambda x, a: np.exp(a) * x, X, Y), "cannot be called and differentiated"),
        ((lambda x, a: a.item() * x, X, Y), "without if, float"),
        ((lambda x, a: a / 0.0 * x, X, Y), "None of 4 data sets.*not finite at p0"),
        ((curve, X, Y * np.nan), "None of 4 data sets.*not finite"),
        ((curve, X[:2], Y[:, :2]), "None of 4 data sets.*fewer points"),
        ((curve, X, Y, [9.0, 1.0, 1.0], None, False, (0.0, 5.0)), "None of 4 data sets.*outside the bounds"),
    ],
)
def test_wrong_questions_are_refused(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence):
        gd.curve_fit_batched(*arguments)


def test_the_ways_out_of_refusals_work() -> None:
    constant = gd.curve_fit_batched(lambda x, c: c + torch.zeros_like(x), X, Y)
    double = gd.curve_fit_batched(lambda x, c: c * torch.ones(6).double(), X, Y)
    assert np.allclose(constant.popt, 1.0) and np.allclose(double.popt, 1.0)
    assert gd.curve_fit_batched(curve, EXPONENTIAL.x, EXPONENTIAL.data(1, 20)[1][0][None]).success.all()
    covariance = np.eye(6) + 0.5 * np.ones((6, 6))
    root = np.linalg.cholesky(covariance)
    y = np.random.default_rng(21).standard_normal((2, 6))
    lower = torch.as_tensor(root)

    def whitened(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve_triangular(lower, (a + b * x)[:, None], upper=False)[:, 0]

    fit = gd.curve_fit_batched(whitened, X, np.linalg.solve(root, y.T).T, absolute_sigma=True)
    popt, pcov = curve_fit(lambda x, a, b: a + b * x, X, y[0], sigma=covariance, absolute_sigma=True)
    assert np.allclose(fit.popt[0], popt, atol=1e-6) and np.allclose(fit.pcov[0], pcov, rtol=1e-5)
