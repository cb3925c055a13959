"""The certificate of a system names conditions, coefficients, terms and points that a person can act on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.certificate import Cause

F64 = torch.float64
LINE = pde.Box(x=(0.0, 1.0))
SQUARE = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=F64)
Terms = list[Any]


def system(terms: Terms, width: int = 5, **settings: Any) -> pde.System:
    torch.manual_seed(0)
    d = len(settings.setdefault("coordinates", ("x", "y")))
    return pde.System(pde.mlp(d, [width], len(settings.get("fields", "u"))), terms, **settings)


def causes(made: pde.System) -> dict[str, list[Cause]]:
    by_kind = dict[str, list[Cause]]()
    for cause in gd.certify(made).causes:
        by_kind.setdefault(cause.kind, []).append(cause)
    return by_kind


def poisson(n: int = 30) -> pde.Term:
    return pde.Term("poisson", lambda u, x: u.laplacian - x, SQUARE.inside(n))


def at_corners(name: str, equation: Callable[..., Any], **settings: Any) -> pde.Term:
    return pde.Term(name, equation, CORNERS, **settings)


# --- conditions ------------------------------------------------------------------------------------------------------

TWICE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "the same": (lambda u: u - 1.0, lambda u: u - 1.0),
    "times a factor": (lambda u: u - 1.0, lambda u: 2.0 - 2.0 * u),
    "by a coordinate": (lambda u, x: u.x - x, lambda u, x: x - u.x),
    "the Laplacian and its terms": (lambda u: u.laplacian, lambda u: 3.0 * (u.xx + u.yy)),
    "not linear": (lambda u: u**2 - 1.0, lambda u: u * u - 1.0),
    "one of two": (lambda u: (u.x, u - 1.0), lambda u: u - 1.0),
}
APART: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "another derivative": (lambda u: u.x, lambda u: u.y),
    "another order": (lambda u: u.xx, lambda u: u.x),
    "the value and its square": (lambda u: u - 1.0, lambda u: u**2 - 1.0),
    "another sum": (lambda u: u.x + u.y, lambda u: u.x + 2.0 * u.y),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_condition_that_stands_twice_is_named_and_costs_nothing(name: str) -> None:
    first, second = TWICE[name]
    found = causes(system([poisson(), at_corners("walls", first), at_corners("again", second)]))
    (cause,) = found["repeated_conditions"]
    assert cause.where["terms"] == ["walls", "again"] and cause.cost == 0.0 and cause.exact
    assert cause.where["rows"] == [[("walls", i), ("again", i)] for i in range(4)]
    assert "'walls' and 'again' are the same condition at 4 places, the first at (0, 0)" in cause.sentence
    assert "Keep one" in cause.sentence and not cause.stands_in_the_way
    assert "conflicting_conditions" not in found


@pytest.mark.parametrize("name", APART)
def test_different_conditions_at_the_same_points_are_left_in_peace(name: str) -> None:
    first, second = APART[name]
    assert causes(system([poisson(), at_corners("walls", first), at_corners("more", second)])) == {}


CONFLICTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], float, float]] = {
    "values": (lambda u: u - 1.0, lambda u: u - 3.0, 1.0, 2.0),
    "with a factor": (lambda u: u - 1.0, lambda u: 2.0 * u - 6.0, 2.0, 2.0),
    "slopes": (lambda u: u.x, lambda u: u.x - 0.5, 1.0, 0.5),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_conditions_that_contradict_each_other_are_named_with_what_they_cost_at_least(name: str) -> None:
    """Two squares `w₁h² + w₂a²(h − c)²` are at least `w₁w₂a²c²/(w₁ + a²w₂)`."""
    first, second, a, c = CONFLICTS[name]
    terms = [poisson(), at_corners("walls", first, weight=3.0), at_corners("more", second, weight=5.0)]
    made = system(terms)
    (cause,) = causes(made)["conflicting_conditions"]
    problem = made.problem()
    n, share = problem.n_samples, problem.n_samples / 4.0
    left, right = 3.0 * share, 5.0 * share * a**2
    assert cause.exact and cause.stands_in_the_way
    assert cause.cost == pytest.approx(4.0 * left * right / (left + right) * c**2 / (2.0 * n), rel=1e-10)
    assert "'walls' and 'more' ask for different values of the same quantity at 4 places" in cause.sentence
    assert f"which costs {cause.cost:.3g} that nothing can remove. They contradict each other" in cause.sentence


def test_a_fit_ends_at_what_a_contradiction_costs_and_says_so() -> None:
    ends = [("left", 0.0), ("right", 1.0)]
    terms: Terms = [pde.Term("line", lambda u: u.xx, LINE.inside(8))]
    terms += [pde.Term(name, lambda u, x: u - x, LINE.side(x=at).points(1)) for name, at in ends]
    terms += [pde.Term("wrong", lambda u: u - 2.0, LINE.side(x=1.0).points(1))]
    solution = gd.fit(system(terms, 8, coordinates="x"), max_seconds=5.0, max_steps=60, initialise=False)
    (cause,) = [cause for cause in solution.certificate.causes if cause.kind == "conflicting_conditions"]
    assert cause.where["terms"] == ["right", "wrong"] and "at 1 place, at (1), which costs" in cause.sentence
    assert solution.cost >= cause.cost * (1.0 - 1e-9) and solution.cost == pytest.approx(cause.cost, rel=1e-3)
    assert gd.certify(system(terms, coordinates="x")).guaranteed is False


def test_measurements_that_were_repeated_are_no_contradiction() -> None:
    values = torch.tensor([1.0, 1.2, 0.5, 0.5], dtype=F64)
    sensors = pde.Term("sensors", lambda u: u, CORNERS[[0, 0, 1, 1]], target=values)
    found = causes(system([poisson(), sensors]))
    (noisy,), (same,) = found["repeated_measurements"], found["repeated_conditions"]
    n = 30.0 + 4.0
    assert noisy.where["rows"] == [[("sensors", 0), ("sensors", 1)]] and not noisy.stands_in_the_way
    weight = 1e-2 * n / 4.0
    assert noisy.cost == pytest.approx(weight * 0.2**2 / 2.0 / (2.0 * n), rel=1e-10)
    assert "that is their noise, and as it should be" in noisy.sentence
    assert same.where["rows"] == [[("sensors", 2), ("sensors", 3)]]
    assert "'sensors' holds the same condition twice" in same.sentence


def test_rows_of_weight_zero_and_corners_that_are_shared_are_nothing_to_speak_of() -> None:
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=F64)
    first = at_corners("walls", lambda u: u, weights=weights)
    assert causes(system([poisson(), first, at_corners("more", lambda u: u - 1.0, weights=1.0 - weights)])) == {}
    left, top = (torch.stack([torch.linspace(0.0, 1.0, 21, dtype=F64), torch.zeros(21, dtype=F64)], 1) for _ in "lt")
    walls = [pde.Term("left", lambda u: u, left.flip(1)), pde.Term("top", lambda u: u, top)]
    assert causes(system([poisson(), *walls])) == {}


@pytest.mark.parametrize(("low", "period"), [(0.0, 1.0), (0.1, 0.3), (-torch.pi, 2.0 * torch.pi)])
@pytest.mark.parametrize(("value", "kind"), [(0.5, "repeated_conditions"), (2.0, "conflicting_conditions")])
def test_conditions_one_period_apart_are_the_same(low: float, period: float, value: float, kind: str) -> None:
    ring = pde.Box(t=(0.0, 1.0), x=(low, low + period))
    terms = [
        pde.Term("heat", lambda u: u.t - u.xx, ring.inside(30)),
        pde.Term("left", lambda u, t: u - t - 0.5, ring.side(x=low).points(6)),
        pde.Term("right", lambda u, t: u - t - value, ring.side(x=low + period).points(6)),
    ]
    made = pde.System(pde.mlp(3, [5]), terms, coordinates=("t", "x"), periodic={"x": period})
    found = causes(made)
    assert list(found) == [kind] and found[kind][0].where["terms"] == ["left", "right"]
    assert found[kind][0].where["rows"] == [[("left", i), ("right", i)] for i in range(6)]
    built_in = pde.System(
        pde.mlp(3, [5]), terms, coordinates=("t", "x"), periodic={"x": period}, transform=lambda net, x: x + net
    )
    assert not {"repeated_conditions", "conflicting_conditions"} & set(causes(built_in))


@pytest.mark.parametrize(("value", "kind"), [(1.0, "repeated_conditions"), (2.0, "conflicting_conditions")])
def test_totals_are_compared_as_integrals(value: float, kind: str) -> None:
    points = LINE.inside(9)
    terms = [
        pde.Term("line", lambda u: u.xx + u, LINE.inside(20)),
        pde.Total("size", lambda u: u**2, points, 1.0),
        pde.Total("moment", lambda u, x: u**2 * x, points, 1.0),
        pde.Total("again", lambda u: 2.0 * u * u, points, 2.0 * value),
    ]
    found = causes(system(terms, coordinates="x"))
    assert list(found) == [kind] and found[kind][0].where["terms"] == ["size", "again"]


def test_conditions_of_two_fields_are_told_apart() -> None:
    terms = [
        pde.Term("flow", lambda u, v: (u.x + v.y, u.y - v.x), SQUARE.inside(30)),
        at_corners("u", lambda u: u),
        at_corners("v", lambda v: v - 1.0),
    ]
    assert causes(system(terms, fields=("u", "v"))) == {}


# --- coefficients ----------------------------------------------------------------------------------------------------


def decay(
    equation: Callable[..., Any], unknowns: dict[str, float], data: bool = True, n_steps: int = 150
) -> gd.Solution:
    """`u' = −2u`, u(0) = 1, on a line, with a value measured at every tenth."""
    where = torch.linspace(0.0, 1.0, 11, dtype=F64)[1:, None]
    terms: Terms = [
        pde.Term("decay", equation, LINE.inside(20)),
        pde.Term("start", lambda u: u - 1.0, LINE.side(x=0).points(1)),
    ]
    terms += [pde.Term("sensors", lambda u: u, where, target=torch.exp(-2.0 * where[:, 0]))] if data else []
    made = system(terms, coordinates="x", unknowns=unknowns)
    return gd.fit(made, max_steps=n_steps, max_seconds=20.0, initialise=False)


def undetermined(solution: gd.Solution) -> list[object]:
    return [c.where["unknowns"] for c in solution.certificate.causes if c.kind == "undetermined_coefficient"]


def test_a_coefficient_that_data_determine_is_left_in_peace() -> None:
    solution = decay(lambda u, k: u.x + k * u, {"k": 1.0})
    assert undetermined(solution) == [] and solution.unknowns["k"].value == pytest.approx(2.0, abs=1e-3)


def test_a_coefficient_for_every_value_of_which_there_are_fields_is_named() -> None:
    solution = decay(lambda u, k: u.x + k * u, {"k": 1.0}, data=False)
    assert undetermined(solution) == [["k"]]
    (sentence,) = [c.sentence for c in solution.certificate.causes if c.kind == "undetermined_coefficient"]
    assert "the unknown k is not determined: for other values of it there are other fields" in sentence
    assert "Add measured values" in sentence and "stands between this and a solution" in solution.certificate.meaning


def test_coefficients_that_act_only_together_are_named_together() -> None:
    """A product, and a third one where the data are of a single exponential."""
    solution = decay(lambda u, a, b, c: u.x + a * b * u + c * u.x, {"a": 1.0, "b": 1.5, "c": 0.1}, n_steps=60)
    assert undetermined(solution) == [["a", "b", "c"]]
    assert "cannot be told apart: only some combination of them acts" in str(solution.certificate).replace(
        "\n" + " " * 12, " "
    )


def test_a_coefficient_without_effect_is_named() -> None:
    """u = x has no second derivative."""
    line = pde.Term("line", lambda u, kappa: u.x - 1.0 - kappa * u.xx, LINE.inside(20))
    ends = [pde.Term(f"end {at}", lambda u, x: u - x, LINE.side(x=at).points(1)) for at in (0.0, 1.0)]
    made = system([line, *ends], coordinates="x", unknowns={"kappa": 1.0})
    with torch.no_grad():
        for parameter in made.module.net.parameters():
            parameter.mul_(1e-9)
        first, last = made.module.net[0], made.module.net[2]
        first.weight[0], last.weight[0, 0], last.bias[0] = 1e-4, 0.5 * 1e4, 0.5
    (cause,) = causes(made)["undetermined_coefficient"]
    assert cause.where["unknowns"] == ["kappa"]
    assert "kappa is not determined: it has no effect on any row here" in cause.sentence


# --- terms and points ------------------------------------------------------------------------------------------------


def test_a_term_that_is_built_in_is_named() -> None:
    walls = pde.Term("walls", lambda u: u, SQUARE.sides("x").points(8))
    made = system([poisson(), walls], transform=lambda net, x: x * (1.0 - x) * net)
    (cause,) = causes(made)["silent_term"]
    assert cause.where["term"] == "walls" and cause.cost == pytest.approx(0.0, abs=1e-30)
    assert "'walls' has no influence: whatever the network is, it holds, as built in. Leave it out." in cause.sentence


def test_a_term_that_what_is_built_in_contradicts_is_named_with_what_it_costs() -> None:
    walls = pde.Term("walls", lambda u: u - 2.0, SQUARE.side(x=0).points(8), weight=1.0)
    made = system([poisson(), walls], transform=lambda net, x: x * net)
    (cause,) = causes(made)["silent_term"]
    assert cause.cost == pytest.approx(0.5 * 2.0**2, rel=1e-12)
    assert "no parameter acts on its rows here, and they are off by 2 (RMS)" in cause.sentence


def test_a_term_of_a_weight_that_is_lost_in_rounding_is_named() -> None:
    (cause,) = causes(system([poisson(), at_corners("walls", lambda u: u, weight=1e-24)]))["silent_term"]
    assert "has no influence: its rows are" in cause.sentence and "Give it a larger weight" in cause.sentence


def test_fewer_rows_than_parameters_are_said_calmly() -> None:
    made = system([poisson(9), at_corners("walls", lambda u: u)], 20)
    certificate = gd.certify(made)
    (cause,) = certificate.causes
    assert cause.kind == "few_rows" and cause.where == {"n_params": 81, "n_residuals": 13}
    assert "13 rows for 81 parameters, which is usual of networks" in cause.sentence
    assert "solution.residuals() compares other points" in cause.sentence and not cause.stands_in_the_way
    assert "can still fall" in certificate.meaning


def test_more_rows_than_parameters_are_as_it_should_be() -> None:
    certificate = gd.certify(system([poisson(), at_corners("walls", lambda u: u)]))
    assert certificate.causes == () and certificate.identifiable is None
    printed = str(certificate)
    assert "equations at points" in printed and "guaranteed" not in printed and "Go on with gd.fit" in printed
    assert certificate.as_dict()["equations"] is True


def test_a_fit_to_the_end_is_said_to_be_one() -> None:
    terms = [pde.Term("line", lambda u: u.x - 1.0, LINE.inside(4)), pde.Term("end", lambda u: u, torch.zeros(1, 1))]
    solution = gd.fit(system(terms, 6, coordinates="x"), max_seconds=10.0, initialise=False)
    assert solution.certificate.point.kind == "zero_cost"
    assert "All rows vanish to rounding" in solution.certificate.meaning
    assert "solution.residuals()" in solution.certificate.advice


def test_problems_of_samples_have_no_causes_of_equations() -> None:
    x = torch.linspace(-1.0, 1.0, 9, dtype=F64)[:, None]
    model = pde.mlp(1, [20], 1)
    twice: Tensor = torch.cat([x, x])
    kinds = {cause.kind for cause in gd.certify(model, twice, torch.cat([x, x + 1.0])).causes}
    assert kinds == {"identical_inputs"} and not gd.certify(model, x, x).equations
