"""`curve_fit` against SciPy's, and what it tells beyond it."""

import warnings

import numpy as np
import pytest
import scipy.optimize
import torch

import geodescent as gd

X = np.linspace(0.0, 4.0, 50)
NOISE = np.random.default_rng(0).standard_normal(50)


def decay(x, size, rate, floor):
    return size * np.exp(-rate * x) + floor


def decay_in_torch(x, size, rate, floor):
    return size * torch.exp(-rate * x) + floor


Y = decay(X, 2.5, 1.3, 0.5) + 0.05 * NOISE
BOTH = pytest.mark.parametrize("f", [decay, decay_in_torch], ids=["numpy", "torch"])


def correlated(m: int) -> np.ndarray:
    return 0.01 * np.exp(-np.abs(np.subtract.outer(np.arange(m), np.arange(m))) / 3.0)


SIGMAS = {"none": None, "one": 0.3, "each": 0.05 + 0.02 * X, "matrix": correlated(50)}


@BOTH
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("sigma", SIGMAS.values(), ids=SIGMAS.keys())
def test_parameters_and_covariance_are_scipys(f, sigma, absolute) -> None:
    popt, pcov = gd.curve_fit(f, X, Y, sigma=sigma, absolute_sigma=absolute)
    theirs = scipy.optimize.curve_fit(decay, X, Y, sigma=sigma, absolute_sigma=absolute, ftol=1e-14, xtol=1e-14)
    np.testing.assert_allclose(popt, theirs[0], rtol=1e-7)
    np.testing.assert_allclose(pcov, theirs[1], rtol=1e-4)


@BOTH
@pytest.mark.parametrize("bounds", [(0.0, [3.0, 1.0, 0.5]), ([-np.inf, 1.5, -1.0], np.inf), (0.0, 10.0)])
def test_inside_bounds_too(f, bounds) -> None:
    ours = gd.curve_fit(f, X, Y, bounds=bounds)
    theirs = scipy.optimize.curve_fit(decay, X, Y, bounds=bounds, ftol=1e-14, xtol=1e-14, gtol=1e-14)
    np.testing.assert_allclose(ours.popt, theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours.pcov, theirs[1], rtol=1e-4)
    low, high = (np.broadcast_to(side, 3) for side in bounds)
    assert ((low <= ours.popt) & (ours.popt <= high)).all()
    np.testing.assert_array_equal(ours.result.active_mask, (ours.popt == high).astype(int) - (ours.popt == low))


@pytest.mark.parametrize("module", [np, torch])
def test_covariance_does_not_depend_on_units(module) -> None:
    """Arrhenius: a constant of 1e13 beside an energy of 1e5."""
    x = np.linspace(300.0, 400.0, 30)

    def rate(x, a, e):
        return a * module.exp(-e / (8.314 * x))

    y = 1.3e13 * np.exp(-8.7e4 / (8.314 * x)) * (1.0 + 0.01 * np.sin(37.0 * x))
    ours = gd.curve_fit(rate, x, y, (1e13, 8.6e4))
    scaled = scipy.optimize.curve_fit(
        lambda x, a, e: a * 1e13 * np.exp(-e * 1e5 / (8.314 * x)), x, y, (1.0, 0.86), ftol=1e-15, xtol=1e-15
    )
    units = np.array([1e13, 1e5])
    assert ours.success
    np.testing.assert_allclose(ours.popt, scaled[0] * units, rtol=1e-5)
    np.testing.assert_allclose(ours.pcov, scaled[1] * np.outer(units, units), rtol=1e-4)


def test_results_unpack_as_scipys_do() -> None:
    curve = gd.curve_fit(decay, X, Y)
    assert len(curve) == 2 and curve[0] is curve.popt and curve[1] is curve.pcov
    popt, pcov, told, message, status = gd.curve_fit(decay, X, Y, full_output=True)
    theirs = scipy.optimize.curve_fit(decay, X, Y, full_output=True)
    np.testing.assert_allclose(told["fvec"], theirs[2]["fvec"], atol=1e-6)
    assert status in (1, 2, 3, 4) and isinstance(message, str) and told["nfev"] > 0
    np.testing.assert_allclose(popt, curve.popt)
    np.testing.assert_allclose(pcov, curve.pcov)


@BOTH
def test_names_come_from_the_signature(f) -> None:
    curve = gd.curve_fit(f, X, Y)
    assert curve.names == ("size", "rate", "floor")
    assert "size" in curve.report() and "C(rate, floor)" in curve.report()
    assert gd.curve_fit(lambda x, *p: f(x, *p), X, Y, (1, 1, 1)).names == ("p0", "p1", "p2")


def test_criteria_are_lmfits() -> None:
    """The formulas that lmfit documents, by another path."""
    told = gd.curve_fit(decay, X, Y).statistics
    square = np.sum((decay(X, *told.values) - Y) ** 2)
    assert told.chi_square == pytest.approx(square, rel=1e-12)
    assert told.reduced_chi_square == pytest.approx(square / 47, rel=1e-12)
    assert told.aic == pytest.approx(50 * np.log(square / 50) + 6, rel=1e-12)
    assert told.bic == pytest.approx(50 * np.log(square / 50) + 3 * np.log(50), rel=1e-12)
    assert told.r_squared == pytest.approx(1 - square / np.sum((Y - Y.mean()) ** 2), rel=1e-12)


def test_r_squared_with_sigma_compares_with_the_best_constant() -> None:
    sigma = 0.05 + 0.02 * X
    constant = np.average(Y, weights=sigma**-2)
    told = gd.curve_fit(decay, X, Y, sigma=sigma).statistics
    assert told.total_square == pytest.approx(np.sum(((Y - constant) / sigma) ** 2), rel=1e-12)


def test_intervals_of_a_line_are_those_of_textbooks() -> None:
    """Linear in its parameters: profile and linear intervals agree, and are those of a regression line."""
    from scipy.stats import linregress, t

    curve = gd.curve_fit(lambda x, slope, height: slope * x + height, X[:9], Y[:9])
    line, width = linregress(X[:9], Y[:9]), t.ppf(0.95, 7)
    expected = [
        [line.slope - width * line.stderr, line.slope + width * line.stderr],
        [line.intercept - width * line.intercept_stderr, line.intercept + width * line.intercept_stderr],
    ]
    np.testing.assert_allclose(curve.interval(0.9), expected, rtol=1e-8)
    np.testing.assert_allclose(curve.profile(0.9), expected, rtol=1e-3)


@pytest.mark.slow
@BOTH
def test_the_profile_ends_where_chi_square_has_risen_enough(f) -> None:
    """By a fit of the other parameters at each end."""
    from scipy.stats import t

    curve = gd.curve_fit(f, X, Y)
    ends = curve.profile(0.95)
    wanted = curve.statistics.chi_square + t.ppf(0.975, 47) ** 2 * curve.statistics.reduced_chi_square
    for end in ends[1]:
        rest = scipy.optimize.curve_fit(lambda x, a, c, end=end: decay(x, a, end, c), X, Y, (2.0, 0.5))[0]
        assert np.sum((decay(X, rest[0], end, rest[1]) - Y) ** 2) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_the_profile_stops_at_bounds_and_knows_fixed_and_tied_parameters() -> None:
    start = gd.Parameters(
        {"size": 2.0, "rate": 1.0, "floor": 0.5},
        lower={"rate": 1.36},
        upper={"rate": 1.40},
        tied={"floor": lambda p: p["size"] / 5},
    )
    ends = gd.curve_fit(decay, X, Y, gd.Parameters({**start.values, "rate": 1.38}, start.lower, start.upper)).profile()
    assert ends[1, 0] == 1.36 and ends[1, 1] == 1.40
    tied = gd.curve_fit(decay, X, Y, gd.Parameters(start.values, tied=start.tied)).profile()
    assert np.isnan(tied[2]).all() and np.isfinite(tied[:2]).all()
    fixed = gd.curve_fit(decay, X, Y, gd.Parameters(start.values, fixed=("floor",))).profile()
    np.testing.assert_array_equal(fixed[2], [0.5, 0.5])


@pytest.mark.slow
def test_the_profile_tells_of_a_better_minimum() -> None:
    """A sine whose frequency starts at a wrong one."""
    wave = lambda x, w: torch.sin(w * x)  # noqa: E731
    y = np.sin(5.0 * X) + 0.02 * NOISE
    curve = gd.curve_fit(wave, X, y, 8.0)
    assert abs(curve.popt[0] - 5.0) > 0.5
    with pytest.warns(scipy.optimize.OptimizeWarning, match="Fit again from there"):
        curve.profile(0.999999)


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0.0, 1e300)])
def test_a_fit_without_a_minimum_says_so(bounds) -> None:
    with pytest.warns(scipy.optimize.OptimizeWarning, match="no minimum was reached"):
        curve = gd.curve_fit(decay_in_torch, X, Y, (9.0, 9.0, 9.0), bounds=bounds, max_nfev=2)
    assert not curve.success and curve.result.status == 0


@BOTH
def test_bands_are_of_the_covariance(f) -> None:
    at = np.array([0.0, 1.0, 3.0])
    curve = gd.curve_fit(f, X, Y)
    size, rate, _ = curve.popt
    slopes = np.stack([np.exp(-rate * at), -size * at * np.exp(-rate * at), np.ones(3)], 1)
    variance = np.diag(slopes @ curve.pcov @ slopes.T)
    width = scipy.stats.t.ppf(0.95, 47)
    low, high = curve.band(at, 0.9)
    np.testing.assert_allclose(0.5 * (high - low), width * np.sqrt(variance), rtol=1e-6)
    np.testing.assert_allclose(0.5 * (high + low), decay(at, *curve.popt), rtol=1e-12)
    np.testing.assert_allclose(curve.predict(at), decay(at, *curve.popt), rtol=1e-12)
    low, high = curve.band(at, 0.9, kind="prediction")
    new = variance + curve.statistics.reduced_chi_square
    np.testing.assert_allclose(0.5 * (high - low), width * np.sqrt(new), rtol=1e-6)


def test_a_band_of_new_data_asks_for_their_sigma() -> None:
    curve = gd.curve_fit(decay, X, Y, sigma=0.05 + 0.02 * X, absolute_sigma=True)
    with pytest.raises(gd.InputError, match="pass sigma= of the new data"):
        curve.band(X, kind="prediction")
    (low, high), (narrow, wide) = curve.band(X, kind="prediction", sigma=0.1), curve.band(X)
    assert ((high - low) > (wide - narrow)).all()
    with pytest.raises(gd.InputError, match="kind is"):
        curve.band(X, kind="both")
    with pytest.raises(gd.InputError, match="level = 95"):
        curve.interval(95)


@BOTH
def test_parameters_that_the_data_do_not_tell_apart_are_named(f) -> None:
    def twice(x, size, other, rate):
        return f(x, size * other, rate, 0.5)

    with pytest.warns(scipy.optimize.OptimizeWarning, match="size and other apart"):
        curve = gd.curve_fit(twice, X, Y)
    assert np.isinf(curve.pcov).all() and "size and other" in curve.report()
    known = gd.Parameters({"size": 1.0, "other": 1.0, "rate": 1.0}, fixed=("other",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(gd.curve_fit(twice, X, Y, known).stderr).all()


def test_as_many_parameters_as_data_leave_no_scatter() -> None:
    with pytest.warns(scipy.optimize.OptimizeWarning, match="leave no measure of their scatter"):
        curve = gd.curve_fit(decay, X[[0, 10, 30]], Y[[0, 10, 30]])
    assert np.isinf(curve.pcov).all()
    known = gd.curve_fit(decay, X[[0, 10, 30]], Y[[0, 10, 30]], sigma=0.05, absolute_sigma=True)
    assert np.isfinite(known.stderr).all() and np.isfinite(known.interval()).all()


@pytest.mark.parametrize("bad", ["y", "x", "both"])
def test_nan_are_refused_or_left_out(bad: str) -> None:
    x, y = X.copy(), Y.copy()
    keep = np.ones(50, bool)
    if bad != "y":
        x[3], keep[3] = np.nan, False
    if bad != "x":
        y[7], keep[7] = np.nan, False
    for policy in (None, "raise"):
        with pytest.raises(gd.InputError, match='nan_policy="omit"'):
            gd.curve_fit(decay, x, y, nan_policy=policy)
    expected = gd.curve_fit(decay, X[keep], Y[keep], sigma=0.05 + 0.02 * X[keep])
    for f in (decay, decay_in_torch):
        got = gd.curve_fit(f, x, y, sigma=0.05 + 0.02 * X, nan_policy="omit")
        np.testing.assert_allclose(got.popt, expected.popt, rtol=1e-7)
    matrix = gd.curve_fit(decay, x, y, sigma=correlated(50), nan_policy="omit")
    part = gd.curve_fit(decay, X[keep], Y[keep], sigma=correlated(50)[np.ix_(keep, keep)])
    np.testing.assert_allclose(matrix.popt, part.popt, rtol=1e-7)


def test_a_derivative_of_ones_own() -> None:
    def jac(x, size, rate, floor):
        e = np.exp(-rate * x)
        return np.stack([e, -size * x * e, np.ones_like(x)], 1)

    expected = gd.curve_fit(decay_in_torch, X, Y)
    curve = gd.curve_fit(decay, X, Y, jac=jac)
    assert "by jac" in curve.message
    np.testing.assert_allclose(curve.popt, expected.popt, rtol=1e-8)
    np.testing.assert_allclose(curve.pcov, expected.pcov, rtol=1e-6)
    np.testing.assert_allclose(curve.band(X)[0], expected.band(X)[0], rtol=1e-6)
    with pytest.raises(gd.InputError, match="jac is not the derivative of f"):
        gd.curve_fit(decay, X, Y, jac=lambda *p: 1.01 * jac(*p))
    with pytest.raises(gd.InputError, match="a column for each of size, rate, floor"):
        gd.curve_fit(decay, X, Y, jac=lambda *p: jac(*p)[:, :2])


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@BOTH
def test_differences_on_demand(f, scheme: str) -> None:
    curve = gd.curve_fit(f, X, Y, jac=scheme)
    assert f"{scheme} differences" in curve.message
    np.testing.assert_allclose(curve.popt, gd.curve_fit(decay_in_torch, X, Y).popt, rtol=1e-7)


def test_data_in_many_forms() -> None:
    import polars

    expected = gd.curve_fit(decay, X, Y).popt
    forms = [
        (X.tolist(), tuple(Y)),
        (torch.tensor(X), torch.tensor(Y)),
        (polars.Series(X), polars.Series(Y)),
        (X.astype(np.float32).astype(float), Y),
    ]
    for x, y in forms:
        for f in (decay, decay_in_torch):
            np.testing.assert_allclose(gd.curve_fit(f, x, y).popt, expected, rtol=1e-4)


@BOTH
def test_several_variables(f) -> None:
    two = np.stack([X, np.sin(3.0 * X)])
    y = decay(X, 2.5, 1.3, 0.5) + 0.7 * two[1] + 0.01 * NOISE
    curve = gd.curve_fit(lambda x, a, b, c, d: f(x[0], a, b, c) + d * x[1], two, y)
    assert curve.popt[3] == pytest.approx(0.7, abs=0.01)
