"""What a user of equations reads: printed results agree with themselves, and every sentence of them is true."""

import pickle
from typing import Any

import pytest
import torch
from support.printed import rows_of

import geodescent as gd
from geodescent import pde

F64 = torch.float64
LINE = pde.Box(x=(0.0, 1.0))


def line(*more: Any, width: int = 8, n: int = 20) -> pde.System:
    """`u' = cos x`, u(0) = 0, and what else is asked for."""
    torch.manual_seed(0)
    terms = [
        pde.Term("slope", lambda u, x: u.x - torch.cos(x), LINE.inside(n)),
        pde.Term("start", lambda u: u, LINE.side(x=0.0).points(1)),
    ]
    return pde.System(pde.mlp(1, [width], 1), [*terms, *more], coordinates=("x",))


def wrong_end(value: float = 3.0) -> pde.Term:
    return pde.Term("wrong", lambda u: u - value, LINE.side(x=0.0).points(1))


def printed(solution: gd.Solution) -> dict[str, str]:
    rows = [row.split(maxsplit=1) for row in rows_of(str(solution))]
    return {name: text for name, text in rows}


# --- a result agrees with itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [5, 8, 12])
def test_a_fit_to_the_last_digit_does_not_say_that_residuals_can_still_fall(width: int) -> None:
    solution = gd.fit(line(width=width), max_seconds=20.0)
    said = printed(solution)
    assert solution.cost < 1e-23 and solution.result in (
        gd.Result.rounding_floor,
        gd.Result.stationary,
        gd.Result.no_progress,
    )
    assert "can still fall" not in said["known"] and "Go on" not in said["next"]
    assert "above zero" not in str(solution) and "data that were not fitted" not in str(solution)
    assert "solution.residuals()" in said["next"] and "pde.plot(solution, reference)" in said["next"]


@pytest.mark.parametrize("how", [{"max_steps": 3}, {"max_seconds": 0.0}])
def test_a_target_that_nobody_asked_for_is_not_spoken_of(how: dict[str, float]) -> None:
    said = printed(gd.fit(line(), **how))
    assert "target" not in said["result"] and "Call gd.fit again" in said["next"]


def test_a_result_that_was_pickled_speaks_of_equations_all_the_same() -> None:
    solution = gd.fit(line(), target_cost=1e-3, max_seconds=10.0)
    again = pickle.loads(pickle.dumps(solution))
    assert solution.result is gd.Result.target_reached
    assert all("data that were not fitted" not in str(s) and "residuals()" in str(s) for s in (solution, again))


def test_a_run_that_ran_out_of_time_at_its_end_is_not_told_to_go_on() -> None:
    made = line()
    gd.fit(made, max_seconds=20.0)

    def stop(record: gd.StepRecord) -> None:
        raise StopIteration

    for how in ({"max_steps": 1}, {"callback": stop}, {"max_seconds": 1e-3}):
        solution = gd.fit(made, **how)
        said = printed(solution)
        left = "nothing is left to fit" in said["known"]
        assert not (left and "again" in said["next"]), said


# --- causes are listed ----------------------------------------------------------------------------------------------


def test_conditions_that_contradict_each_other_are_listed_where_next_speaks_of_them() -> None:
    solution = gd.fit(line(wrong_end()), max_steps=60, max_seconds=10.0)
    said = printed(solution)
    assert "'start' and 'wrong' ask for different values of the same quantity" in said["cause"]
    assert "named" in said["next"] and said["cause"] in " ".join(str(solution.certificate).split())
    assert max(map(len, str(solution).splitlines())) <= 80


def test_conditions_that_stand_twice_are_listed_too_and_no_more_than_three_causes() -> None:
    twice = printed(gd.fit(line(wrong_end(0.0)), max_steps=20))
    assert "'start' and 'wrong' are the same condition" in twice["cause"]
    ends = [pde.Term(f"end{k}", lambda u, k=k: u.x - k, LINE.side(x=0.1 * k).points(1)) for k in range(1, 6)]
    again = [pde.Term(f"again{k}", lambda u, k=k: u.x - 9.0, LINE.side(x=0.1 * k).points(1)) for k in range(1, 6)]
    shown = " ".join(str(gd.fit(line(*ends, *again), max_steps=3)).split())
    assert shown.count("They contradict each other") == 3 and "2 more, which print(….certificate) names." in shown


def test_data_name_the_causes_that_they_speak_of() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).double()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    x = torch.linspace(-1.0, 1.0, 6, dtype=F64)[:, None]
    said = printed(gd.fit(model, x, x**2, max_steps=2))
    assert ("named" in said["next"] + said["known"]) == ("cause" in said)


# --- coefficients ---------------------------------------------------------------------------------------------------


def decay(first: float, target: bool, noise: float = 0.02) -> pde.System:
    """`u'' + k u = 0`, k = 9, by sensors of sin 3t."""
    torch.manual_seed(0)
    t = 6.0 * torch.rand(40, 1, dtype=F64)
    measured = torch.sin(3.0 * t[:, 0]) + noise * torch.randn(40, dtype=F64)
    sensors = pde.Term("sensors", lambda u: u, t, target=measured) if target else pde.Term("start", lambda u: u - 1, t)
    oscillator = pde.Term("oscillator", lambda u, k: u.tt + k * u, pde.Box(t=(0.0, 6.0)).inside(60))
    return pde.System(pde.mlp(1, [20], 1), [oscillator, sensors], coordinates=("t",), unknowns={"k": first})


def test_a_coefficient_without_data_says_why_it_has_no_standard_error() -> None:
    found = gd.fit(decay(8.0, target=False), max_steps=3).unknowns["k"]
    assert "nan" not in repr(found) and "no standard error, for nothing is marked as measured" in repr(found)


def test_a_coefficient_of_a_wrong_valley_is_doubted_and_that_of_a_good_fit_is_not() -> None:
    good = gd.fit(decay(8.0, target=True), max_steps=60, max_seconds=8.0).unknowns["k"]
    assert good.warning == "" and abs(good.value - 9.0) < 4.0 * good.standard_error
    bad = gd.fit(decay(1.0, target=True), max_steps=60, max_seconds=8.0).unknowns["k"]
    assert abs(bad.value - 9.0) > 1.0 and "do not rely on it" in repr(bad)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("The time ran out before the target was reached.", gd.Result.max_seconds),
        ("The largest number of steps was taken before the target was reached.", gd.Result.max_steps),
        (
            "No direction lowers the cost to first order: this is a critical point with cost above zero.",
            gd.Result.stationary,
        ),
    ],
)
def test_a_solution_that_was_pickled_with_another_sentence_still_loads(before: str, now: gd.Result) -> None:
    """Pickles hold the sentence."""
    assert gd.Result(before) is now and pickle.loads(pickle.dumps(now)) is now
