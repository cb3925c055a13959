"""`least_squares` against SciPy's: fields, bounds, losses, and named parameters."""

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.optimize._lsq.least_squares import IMPLEMENTED_LOSSES

import geodescent as gd
from geodescent.curves._losses import QUOTIENTS, Loss

T = np.linspace(0.0, 4.0, 40)
NOISE = np.random.default_rng(3).standard_normal(40)
DATA = 2.0 * np.exp(-0.9 * T) + 0.3 + 0.03 * NOISE
DATA[[4, 17, 30]] += [1.5, -2.0, 1.0]
TIGHT = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}


def residuals(x):
    return x[0] * np.exp(-x[1] * T) + x[2] - DATA


def residuals_in_torch(x):
    return x[0] * torch.exp(-x[1] * torch.tensor(T)) + x[2] - torch.tensor(DATA)


BOTH = pytest.mark.parametrize("fun", [residuals, residuals_in_torch], ids=["numpy", "torch"])
LOSSES = pytest.mark.parametrize("loss", list(QUOTIENTS))


@LOSSES
@BOTH
@pytest.mark.parametrize("f_scale", [0.1, 1.0])
def test_every_field_is_scipys(fun, loss, f_scale) -> None:
    ours = gd.least_squares(fun, [1.0, 1.0, 1.0], loss=loss, f_scale=f_scale)
    theirs = scipy.optimize.least_squares(residuals, ours.x, loss=loss, f_scale=f_scale, jac="3-point", **TIGHT)
    assert ours.success and ours.status > 0
    assert ours.cost == pytest.approx(theirs.cost, rel=1e-12)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-6)
    np.testing.assert_allclose(ours.fun, theirs.fun, atol=1e-6)
    np.testing.assert_allclose(ours.jac, theirs.jac, atol=1e-5)
    np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-5)
    np.testing.assert_array_equal(ours.active_mask, theirs.active_mask)
    assert ours.optimality < 1e-5 and ours["x"] is ours.x
    assert set(theirs) <= set(ours.keys())


@LOSSES
def test_a_loss_is_scipys_function(loss: str) -> None:
    """ρ, ρ' and what rows of D are multiplied by; the changed residual has half its square for a cost."""
    rows = torch.tensor([0.0, 1e-12, -1e-5, 0.3, -0.999, 1.0, 1.001, 40.0, -1e6, 1e30], dtype=torch.float64)
    ours, z = Loss(loss, 2.0), (rows.numpy() / 2.0) ** 2
    rho = np.stack([z, np.ones_like(z), np.zeros_like(z)])
    if loss != "linear":
        IMPLEMENTED_LOSSES[loss](z, rho, cost_only=False)
    np.testing.assert_allclose(ours.changed(rows).square(), 4.0 * rho[0], rtol=1e-14, atol=1e-15 * (loss == "soft_l1"))
    np.testing.assert_allclose(ours.weight(rows), rho[1], rtol=1e-14)
    curvature = np.sqrt(np.maximum(rho[1] + 2.0 * z * rho[2], np.finfo(float).eps))
    np.testing.assert_allclose(ours.curvature(rows), curvature, rtol=1e-6)
    np.testing.assert_array_equal(torch.sign(ours.changed(rows)), torch.sign(rows))


@LOSSES
def test_the_slope_of_a_changed_residual_is_its_derivative(loss: str) -> None:
    rows = torch.tensor([0.0, 1e-6, -0.4, 1.9, 2.1, -7.0, 1e3], dtype=torch.float64, requires_grad=True)
    changed = Loss(loss, 2.0).changed(rows)
    (derivative,) = torch.autograd.grad(changed.sum(), rows)
    torch.testing.assert_close(derivative, Loss(loss, 2.0).slope(rows.detach()), rtol=1e-12, atol=1e-17)
    assert bool(torch.isfinite(derivative).all())


def problems() -> dict[str, tuple]:
    """Of Moré, Garbow & Hillstrom, in NumPy and torch, and where they start."""

    def rosenbrock(m):
        return lambda x: m.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])

    def beale(m):
        return lambda x: m.stack([y - x[0] * (1.0 - x[1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))])

    def wood(m):
        a, b = 90.0**0.5, 10.0**0.5
        return lambda x: m.stack(
            [
                10.0 * (x[1] - x[0] ** 2),
                1.0 - x[0],
                a * (x[3] - x[2] ** 2),
                1.0 - x[2],
                b * (x[1] + x[3] - 2.0),
                (x[1] - x[3]) / b,
            ]
        )

    starts = {rosenbrock: (-1.2, 1.0), beale: (1.0, 1.0), wood: (-3.0, -1.0, -3.0, -1.0)}
    return {made.__name__: (made, start) for made, start in starts.items()}


@pytest.mark.parametrize("module", [np, torch])
@pytest.mark.parametrize("name", problems())
@pytest.mark.parametrize("side", [-1, 1])
def test_bounds_are_kept_exactly_and_the_active_ones_are_told(name: str, module, side: int) -> None:
    """Each solution cut off in one coordinate; the function is never called outside of the box."""
    made, start = problems()[name]
    k = len(start)
    for j in range(k):
        low, high = np.full(k, -np.inf), np.full(k, np.inf)
        (low if side > 0 else high)[j] = 1.0 + 0.2 * side
        first = np.clip(start, low, high)
        function, plain = made(module), made(np)

        def inside(x, function=function, low=low, high=high):
            values = np.array([float(v) for v in (x.detach() if isinstance(x, torch.Tensor) else x)])
            assert ((low <= values) & (values <= high)).all(), values
            return function(x)

        ours = gd.least_squares(inside, first, bounds=(low, high))
        theirs = scipy.optimize.least_squares(plain, ours.x, bounds=(low, high), jac="3-point", **TIGHT)
        assert ours.success and ours.cost <= theirs.cost * (1.0 + 1e-8) + 1e-20
        np.testing.assert_array_equal(ours.active_mask, (ours.x == high).astype(int) - (ours.x == low))
        slope = ours.jac.T @ ours.fun
        free = ours.active_mask == 0
        assert np.abs(slope[free]).max(initial=0.0) <= 1e-6 * (1.0 + ours.cost)
        assert (slope[~free] * ours.active_mask[~free] <= 0.0).all()


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e12])
@BOTH
def test_bounds_in_any_units(fun, factor: float) -> None:
    units = np.array([factor, 1.0 / factor, 1.0])
    to = torch.tensor(units) if fun is residuals_in_torch else units
    scaled = gd.least_squares(
        lambda x: fun(x * to), np.array([1.0, 0.5, 1.0]) / units, bounds=(0.0, np.array([10.0, 0.7, 1.0]) / units)
    )
    plain = gd.least_squares(fun, [1.0, 0.5, 1.0], bounds=(0.0, [10.0, 0.7, 1.0]))
    np.testing.assert_allclose(scaled.x * units, plain.x, rtol=1e-6)
    assert scaled.active_mask.tolist() == [0, 1, 0]


@BOTH
def test_a_loss_inside_bounds(fun) -> None:
    bounds = ([0.0, 0.0, 0.35], [3.0, 5.0, 1.0])
    ours = gd.least_squares(fun, [1.0, 1.0, 0.5], loss="soft_l1", f_scale=0.1, bounds=bounds)
    theirs = scipy.optimize.least_squares(
        residuals, [1.0, 1.0, 0.5], loss="soft_l1", f_scale=0.1, bounds=bounds, **TIGHT
    )
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-5)
    assert ours.active_mask.tolist() == [0, 0, -1] and ours.x[2] == 0.35


@pytest.mark.parametrize("x_scale", [None, "jac", 1.0, [3.0, 1e-2, 700.0]])
def test_x_scale_changes_no_answer(x_scale) -> None:
    ours = gd.least_squares(residuals_in_torch, [1.0, 1.0, 1.0], x_scale=x_scale, bounds=(0.1, 7.7))
    expected = gd.least_squares(residuals_in_torch, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(ours.x, expected.x, rtol=1e-8)
    np.testing.assert_allclose(ours.stderr, expected.stderr, rtol=1e-6)
    edge = gd.least_squares(residuals_in_torch, [0.3, 0.3, 0.3], x_scale=x_scale, bounds=(0.1, 0.7))
    assert edge.x.max() == 0.7 and edge.active_mask.max() == 1


def test_named_parameters_reach_the_function_by_name() -> None:
    start = gd.Parameters(
        {"size": 1.0, "rate": 1.0, "floor": 0.0, "half": 1.0}, fixed=("floor",), tied={"half": half_of}
    )
    for module in (np, torch):
        t, data = (torch.tensor(T), torch.tensor(DATA)) if module is torch else (T, DATA)

        def fun(p, t=t, data=data, module=module):
            return p["size"] * module.exp(-p["rate"] * t) + p["floor"] * p["half"] - data

        ours = gd.least_squares(fun, start)
        theirs = scipy.optimize.least_squares(lambda x: residuals([*x, 0.0]), [1.0, 1.0], **TIGHT)
        np.testing.assert_allclose(ours.x, [*theirs.x, 0.0, theirs.x[0] / 2.0], rtol=1e-6)
        assert ours.names == ("size", "rate", "floor", "half")
        assert ours.stderr[2] == 0.0 and ours.stderr[3] == pytest.approx(ours.stderr[0] / 2.0)
        assert "(fixed)" in ours.report() and "(tied)" in ours.report()


def half_of(p):
    return p["size"] / 2.0


def test_parameters_of_lmfit_are_read() -> None:
    class Variable:
        def __init__(self, value, vary=True, low=-np.inf, high=np.inf, expr=None):
            self.value, self.vary, self.min, self.max, self.expr = value, vary, low, high, expr

    given = {"size": Variable(1.0), "rate": Variable(0.5, low=0.0, high=0.6), "floor": Variable(0.3, vary=False)}
    ours = gd.least_squares(lambda p: residuals([p["size"], p["rate"], p["floor"]]), given)
    assert ours.x[1] == 0.6 and ours.x[2] == 0.3 and ours.active_mask.tolist() == [0, 1]
    assert "at its upper bound" in ours.report()
    given["floor"] = Variable(0.3, expr="size / 2")
    with pytest.raises(gd.InputError, match="tied="):
        gd.least_squares(lambda p: residuals(list(p.values())), given)


def test_args_kwargs_and_ends_that_were_asked_for() -> None:
    fun = lambda x, t, *, data: x[0] * np.exp(-x[1] * t) + x[2] - data  # noqa: E731
    full = gd.least_squares(fun, [1, 1, 1], args=(T,), kwargs={"data": DATA})
    np.testing.assert_allclose(full.x, gd.least_squares(residuals, [1, 1, 1]).x, rtol=1e-9)
    few = gd.least_squares(residuals, [5.0, 5.0, 5.0], max_nfev=1, bounds=(0, 10))
    assert few.status == 0 and not few.success and "max_nfev" in few.message
    assert gd.least_squares(residuals, [5.0, 5.0, 5.0], max_seconds=0.0).status == 0
    early = gd.least_squares(residuals, [1, 1, 1], ftol=0.5, bounds=(0, 10))
    assert early.status == 2 and early.cost > full.cost


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e9])
def test_differences_do_not_depend_on_units(size: float) -> None:
    """Slopes of a sine in a parameter of any size, of one at 0, and of one that hardly changes the rows."""
    from geodescent.curves._differences import Differences

    def rows(u):
        return torch.sin(u[0] / size + torch.tensor(T)) + u[1] / size + 1e-6 * (u[2] / size) ** 2

    everywhere = (torch.full((3,), -torch.inf), torch.full((3,), torch.inf))
    u = size * torch.tensor([0.7, 0.0, 1.0], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(rows, u)
    for scheme, error in (("2-point", 3e-5), ("3-point", 1e-6)):
        d = Differences(scheme)(rows, u, everywhere)
        assert bool(((d - exact).norm(dim=0) <= error * exact.norm(dim=0)).all()), scheme


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@pytest.mark.parametrize("least", [-np.inf, 0.0])
@pytest.mark.parametrize(
    ("value", "error"), [(0.0, 1e-6), (1e-300, 1e-6), (4e-28, 1e-6), (1e-16, 1e-6), (1e-12, 0.1), (1e-9, 1e-3)]
)
def test_differences_from_a_parameter_of_the_size_of_rounding(
    value: float, error: float, least: float, scheme: str
) -> None:
    """Of a formula, and of its residuals at an exact fit, which are rounding themselves."""
    from geodescent.curves._differences import Differences

    u = torch.tensor([2.0, 0.8, value], dtype=torch.float64)
    box = (torch.full((3,), least, dtype=torch.float64), torch.full((3,), torch.inf, dtype=torch.float64))

    def formula(u):
        return u[0] * torch.exp(-u[1] * torch.tensor(T)) + u[2]

    exact = torch.autograd.functional.jacobian(formula, u)
    data = formula(torch.tensor([2.0, 0.8, 0.0], dtype=torch.float64))
    for rows in (formula, lambda u: formula(u) - data):
        torch.testing.assert_close(Differences(scheme)(rows, u, box), exact, rtol=error, atol=1e-7)


@pytest.mark.parametrize("first", [0.0, 1e-300, 1e-30, 1e-16, 1e-9, 1e-3])
def test_a_tiny_start_is_no_fetter(first: float) -> None:
    """A parameter that starts at the size of rounding goes to its value as one that starts at 1, bounds or none."""
    t = np.array(T)
    noisy = 2.0 * np.exp(-0.8 * t) + 0.5 + 0.01 * np.cos(40.0 * t)
    for settings in ({}, {"bounds": (0.0, 9.0)}):
        fit = [
            gd.curve_fit(
                lambda t, size, rate, c: size * np.exp(-rate * t) + c, t, noisy, p0=[1.0, 1.0, start], **settings
            )
            for start in (first, 1.0)
        ]
        np.testing.assert_allclose(fit[0][0], fit[1][0], rtol=1e-6)
        np.testing.assert_allclose(fit[0][1], fit[1][1], rtol=1e-4)


@pytest.mark.parametrize("least", [-1.0, 0.0])
def test_an_exact_fit_that_ends_at_nothing_knows_its_covariance(least: float) -> None:
    """A constant of the data's that is 0, at its bound or not, is determined by them: no warning, no infinite error."""
    t = np.array(T)
    for rate in (0.3, 0.8, 1.7):
        values, covariance = gd.curve_fit(
            lambda t, size, rate, c: size * np.exp(-rate * t) + c,
            t,
            2.0 * np.exp(-rate * t),
            bounds=([0.0, 0.0, least], [5.0, 5.0, 5.0]),
        )
        np.testing.assert_allclose(values, [2.0, rate, 0.0], atol=1e-7)
        assert float(np.abs(covariance).max()) < 1e-12


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@pytest.mark.parametrize("at", [0.0, 1e-10, 1e-4, 0.5, 1.0 - 1e-10, 1.0])
def test_differences_stay_inside_bounds(scheme: str, at: float) -> None:
    from geodescent.curves._differences import Differences

    def rows(u):
        assert 0.0 <= float(u[0]) <= 1.0
        return torch.stack([torch.exp(u[0]), u[0] + 2.0])

    u = torch.tensor([at], dtype=torch.float64)
    d = Differences(scheme)(rows, u, (torch.zeros(1).double(), torch.ones(1).double()))
    error = 1e-6 + (20.0 * np.sqrt(np.finfo(float).eps / at) if at else 0.0)  # what a step relative to a small u leaves
    torch.testing.assert_close(d[:, 0], torch.stack([torch.exp(u[0]), torch.ones(()).double()]), rtol=error, atol=0.0)
