"""Every wrong question is answered by a sentence, and its way out works."""

import inspect
import math
import re

import numpy as np
import pytest
import torch

import geodescent as gd
from geodescent.curves._foreign import TO_MANY, TO_ONE

X = np.linspace(0.1, 4.0, 20)
Y = 2.0 * np.exp(-0.8 * X)


def decay(x, size, rate):
    return size * np.exp(-rate * x)


def decay_in_torch(x, size, rate):
    return size * torch.exp(-rate * x)


def fit(f=decay, x=X, y=Y, **settings):
    return gd.curve_fit(f, x, y, **settings)


def turning(x, size, rate):
    return size * np.exp(1j * rate * x)


def turning_apart(x, size, rate):
    z = turning(x, size, rate)
    return np.concatenate([z.real, z.imag])


Z = turning(X, 2.0, 0.8)
APART = np.concatenate([Z.real, Z.imag])
START = gd.Parameters({"size": 1.0, "rate": 1.0})

CASES = {
    "method": ({"method": "lm"}, "method = 'lm' is not supported", {}),
    "xtol": ({"xtol": 1e-10}, "xtol = 1e-10 is not supported", {}),
    "gtol": ({"gtol": 1e-10}, "gtol = 1e-10 is not supported", {}),
    "ftol": ({"ftol": 2.0}, "ftol = 2.0", {"ftol": None}),
    "loss": ({"loss": "l1"}, "loss is 'l1'", {"loss": "soft_l1"}),
    "f_scale": ({"f_scale": 0.0}, "f_scale = 0.0", {"f_scale": 0.1}),
    "diff_step": ({"diff_step": -1.0}, "diff_step = -1.0", {"diff_step": 1e-6}),
    "ftol as text": ({"ftol": "a"}, "ftol = 'a' is a str", {"ftol": 1e-10}),
    "f_scale as an array": ({"f_scale": [1.0]}, "f_scale = [1.0] is a list", {"f_scale": 1.0}),
    "diff_step as a list": ({"diff_step": [1e-6] * 2}, "is a list", {"diff_step": 1e-6}),
    "max_nfev as text": ({"max_nfev": "many"}, "max_nfev = 'many' is a str", {"max_nfev": 1e4}),
    "a truth as text": ({"absolute_sigma": "yes"}, "absolute_sigma = 'yes'", {"absolute_sigma": True}),
    "another truth": ({"full_output": 1}, "full_output = 1", {"full_output": True}),
    "check_finite": ({"check_finite": "raise"}, "check_finite = 'raise'", {"check_finite": True}),
    "jac as a truth": ({"jac": True}, "jac is True", {"jac": "2-point"}),
    "loss as a function": ({"loss": abs}, "it is one of linear", {"loss": "huber"}),
    "no formula": ({"f": None}, "f is a NoneType", {}),
    "arguments in another order": ({"f": X, "x": Y, "y": decay}, "f is a ndarray", {}),
    "data that are missing": ({"y": None}, "ydata is NoneType", {}),
    "dates": ({"x": X.astype("datetime64[D]")}, "xdata holds dates", {}),
    "masked data": ({"y": np.ma.masked_greater(Y, 1.5)}, "numbers that are not finite", {}),
    "a dict as a start": ({"p0": {"size": 1.0, "rate": 1.0}}, "gd.Parameters", {"p0": START}),
    "bounds in pairs": (
        {"f": lambda x, a, b, c: a * np.exp(-b * x) + c, "bounds": [(0, 3)] * 3},
        "zip(*bounds)",
        {
            "f": lambda x, a, b, c: a * np.exp(-b * x) + c,
            "bounds": tuple(zip(*[(0, 3)] * 3, strict=True)),
        },
    ),
    "maxfev": ({"maxfev": 100}, "gd.curve_fit has no maxfev=: max_nfev=", {"max_nfev": 1000}),
    "weights": ({"weights": X}, "has no weights=: the standard", {"sigma": 1 / X}),
    "callback": ({"callback": print}, "has no callback=: max_nfev=", {}),
    "a slip": ({"bound": (0, 3)}, "has no bound=: bounds are", {"bounds": (0, 3)}),
    "another slip": ({"nan_policies": "omit"}, "Did you mean nan_policy=?", {"nan_policy": "omit"}),
    "scheme": ({"jac": "cs"}, "jac is 'cs'", {"jac": "3-point"}),
    "max_nfev": ({"max_nfev": 0}, "max_nfev = 0", {"max_nfev": None}),
    "policy": ({"nan_policy": "propagate"}, "nan_policy is 'propagate'", {"nan_policy": "omit"}),
    "complex data": ({"f": turning, "y": Z}, "ydata is complex", {"f": turning_apart, "y": APART}),
    "complex function": ({"f": turning}, "f returns complex numbers", {"f": turning_apart, "y": APART}),
    "complex start": ({"p0": [1j, 1.0]}, "p0 is complex", {"p0": [1.0, 1.0]}),
    "complex sigma": ({"sigma": 1j * X}, "sigma is complex", {"sigma": X}),
    "text": ({"y": list("ab" * 10)}, "ydata holds text", {}),
    "no data": ({"x": [], "y": []}, "ydata is empty", {}),
    "infinite data": ({"y": np.where(X > 3.0, np.inf, Y)}, "ydata holds 5 numbers", {}),
    "constant": ({"f": lambda x, c: c}, "f returns 1 numbers and there are 20 data", {"f": lambda x, c: 0 * x + c}),
    "too long": ({"f": lambda x, a: a * X[:7]}, "f returns 7 numbers", {"f": lambda x, a: a * X}),
    "p0 of another length": ({"p0": [1.0]}, "p0 holds 1 numbers and f takes 2: size, rate", {"p0": [1.0, 1.0]}),
    "p0 as a matrix": ({"p0": [[1.0, 1.0]]}, "p0 has shape", {"p0": [1.0, 1.0]}),
    "no signature": ({"f": lambda x, *p: decay(x, *p)}, "pass p0", {"f": lambda x, *p: decay(x, *p), "p0": [1, 1]}),
    "start not finite": ({"p0": [np.nan, 1.0]}, "the start of size is not finite", {"p0": [1.0, 1.0]}),
    "undefined start": (
        {"f": lambda x, a: torch.log(a * x), "p0": [-1.0]},
        "20 of 20 residuals",
        {"f": lambda x, a: torch.log(a * x), "p0": [1.0]},
    ),
    "bounds crossed": ({"bounds": ([1, 1], [1, 2])}, "the bounds of size are 1 and 1", {"bounds": ([0, 0], [3, 2])}),
    "bounds of another length": ({"bounds": ([0, 0, 0], 1)}, "bounds do not fit 2", {"bounds": (0, 3)}),
    "bounds of three": ({"bounds": (0, 1, 2)}, "a pair", {"bounds": (0, 3)}),
    "NaN in bounds": ({"bounds": (np.nan, 3)}, "bounds hold NaN", {"bounds": (-np.inf, 3)}),
    "outside": ({"p0": [9, 1], "bounds": (0, 3)}, "size starts at 9, outside", {"p0": [2, 1], "bounds": (0, 3)}),
    "x_scale": ({"x_scale": [1.0, -1.0]}, "x_scale is", {"x_scale": "jac"}),
    "x_scale of another length": ({"x_scale": [1.0, 1.0, 1.0]}, "pass 2 positive numbers", {"x_scale": [1.0, 1.0]}),
    "sigma of another length": ({"sigma": X[:3]}, "sigma has shape", {"sigma": X}),
    "sigma negative": ({"sigma": -X}, "sigma has 20 entries that are not positive", {"sigma": X}),
    "sigma not finite": ({"sigma": X * np.inf}, "sigma has entries that are not finite", {"sigma": X}),
    "no covariance": ({"sigma": -np.eye(20)}, "must be positive definite", {"sigma": np.eye(20)}),
    "bounds twice": ({"p0": START, "bounds": (0, 3)}, "leave bounds out", {"p0": START}),
    "other names": ({"p0": gd.Parameters({"a": 1.0, "rate": 1.0})}, "name them so", {"p0": START}),
    "jac with holes": ({"jac": lambda x, *p: np.zeros((20, 1))}, "a column for each of size, rate", {}),
    "jac as a row": ({"jac": lambda x, *p: X}, "jac returns shape", {}),
    "no function": ({"f": lambda x, a: str(a)}, "f returns str", {}),
    "raises": ({"f": lambda x, a: math.exp("a")}, "runs neither on arrays", {}),
}


@pytest.mark.parametrize(("wrong", "match", "right"), CASES.values(), ids=CASES.keys())
def test_a_wrong_question_and_its_way_out(wrong: dict, match: str, right: dict) -> None:
    with pytest.raises(gd.InputError, match=re.escape(match)) as raised:
        fit(**wrong)
    assert str(raised.value)[-1] in ".?" and "\n" not in str(raised.value)
    assert fit(**right).success


@pytest.mark.parametrize(
    "name", ["method", "xtol", "gtol", "tr_solver", "tr_options", "jac_sparsity", "verbose", "workers"]
)
def test_what_is_not_supported_raises_by_name(name: str) -> None:
    with pytest.raises(gd.InputError, match=f"{name} = 2 is not supported: .*leave it out"):
        gd.least_squares(lambda x: x - 1.0, [0.0], **{name: 2})
    assert gd.least_squares(lambda x: x - 1.0, [0.0], **{name: None}).success


@pytest.mark.parametrize("call", [gd.curve_fit, gd.least_squares, gd.curve_fit_batched], ids=lambda call: call.__name__)
@pytest.mark.parametrize("name", sorted({name for names, _, _ in TO_MANY for name in names}))
def test_arguments_of_others_are_answered_and_none_is_named_that_is_lacking(call, name: str) -> None:
    known = inspect.signature(call).parameters
    if name in known:
        pytest.skip("an argument of this function")
    with pytest.raises(gd.InputError, match=f"gd.{call.__name__} has no {name}=[:;]") as error:
        call(decay, X, Y, **{name: 1})
    answers = TO_MANY if call is gd.curve_fit_batched else TO_ONE
    told = [argument for names, argument, _ in answers if name in names]
    assert ("; it takes " in str(error.value)) == (not any(a is None or a in known for a in told))
    assert not any(re.search(rf"\b{a}=", str(error.value)) for a in told if a is not None and a not in known)


def test_masked_data_are_left_out_where_that_is_asked_for() -> None:
    spoiled = np.where(np.arange(20) == 3, 1e6, Y)
    masked = np.ma.masked_array(spoiled, mask=np.arange(20) == 3)
    np.testing.assert_allclose(fit(y=masked, nan_policy="omit").popt, [2.0, 0.8], rtol=1e-9)
    moved = np.ma.masked_array(np.where(np.arange(20) == 3, -50.0, X), mask=np.arange(20) == 3)
    np.testing.assert_allclose(fit(x=moved, nan_policy="omit").popt, [2.0, 0.8], rtol=1e-9)


@pytest.mark.parametrize("fun", [None, 3, X])
def test_residuals_that_are_no_function(fun) -> None:
    with pytest.raises(gd.InputError, match=r"fun is a .*: a function is needed, gd.least_squares\(fun, x0\)"):
        gd.least_squares(fun, [1.0])
    with pytest.raises(gd.InputError, match="jac is 1: pass a function"):
        gd.least_squares(lambda x: x - 1.0, [0.0], jac=1)
    with pytest.raises(gd.InputError, match=r"f is a .*: a function is needed, gd.curve_fit_batched"):
        gd.curve_fit_batched(fun, X, Y[None])


def test_the_way_to_see_each_step_works(capsys) -> None:
    decay_of = gd.FunctionMap(
        lambda p: p["a"] * torch.exp(-torch.as_tensor(X)), {"a": torch.ones((), dtype=torch.float64)}
    )
    gd.fit(gd.Problem((gd.RowBlock("data", decay_of, torch.as_tensor(Y)),)), callback=print)
    assert "StepRecord" in capsys.readouterr().out


WRONG_PARAMETERS = {
    "unknown": ({"values": {"a": 1.0}, "fixed": ("b",)}, "fixed names 'b'"),
    "tied with bounds": ({"values": {"a": 1.0, "b": 1.0}, "tied": {"b": abs}, "lower": {"b": 0.0}}, "'b' is tied"),
    "none is free": ({"values": {"a": 1.0}, "fixed": ("a",)}, "no parameter is free"),
    "none at all": ({"values": {}}, "no parameter is free"),
    "names alone": ({"values": ["a", "b"]}, "values is a list: a dict"),
    "text": ({"values": {"a": "2"}}, r"values\['a'\] = '2' is a str"),
    "no bound": ({"values": {"a": 2.0}, "upper": {"a": None}}, r"upper\['a'\] = None"),
    "a bound for all": ({"values": {"a": 2.0}, "lower": 0.0}, "lower is a float: a dict"),
    "fixed as text": ({"values": {"ab": 2.0}, "fixed": "ab"}, r"fixed=\('ab',\)"),
    "tied as text": ({"values": {"a": 2.0, "b": 1.0}, "tied": {"b": "2 * a"}}, "a function of the values"),
}


@pytest.mark.parametrize(("wrong", "match"), WRONG_PARAMETERS.values(), ids=WRONG_PARAMETERS.keys())
def test_parameters_that_cannot_be(wrong: dict, match: str) -> None:
    with pytest.raises(gd.InputError, match=match):
        gd.Parameters(**wrong)


def test_a_parameter_that_leaves_torch_is_found() -> None:
    """Functions that torch would differentiate wrongly in silence are called with arrays, or refused."""
    by_math = lambda x, size, rate: size * np.exp(-x * math.fsum([rate]))  # noqa: E731
    curve = gd.curve_fit(by_math, X, Y)
    assert "differences" in curve.message
    np.testing.assert_allclose(curve.popt, [2.0, 0.8], rtol=1e-7)
    detached = lambda x, size, rate: size * torch.exp(-rate.detach() * torch.as_tensor(x))  # noqa: E731
    with pytest.raises(gd.InputError, match='pass jac="2-point"'):
        gd.curve_fit(detached, X, Y)
    np.testing.assert_allclose(gd.curve_fit(detached, X, Y, jac="2-point").popt, [2.0, 0.8], rtol=1e-7)


@pytest.mark.parametrize(
    ("f", "how"),
    [
        (decay, "2-point differences"),
        (decay_in_torch, "by torch"),
        (lambda x, a, b: a * x + b * x**2, "by torch"),
        (lambda x, a, b: np.where(x > 2.0, a, b * x), "2-point differences"),
        (lambda x, a, b: [a * v + b for v in x], "2-point differences"),
    ],
)
def test_which_of_the_two_a_function_is_written_in(f, how: str) -> None:
    x = torch.tensor(X) if how == "by torch" else X
    curve = gd.curve_fit(f, X, f(x, 1.5, torch.tensor(0.5)) if how == "by torch" else f(x, 1.5, 0.5))
    assert how in curve.message
    np.testing.assert_allclose(curve.popt, [1.5, 0.5], rtol=1e-6)
