"""What is said of systems at the end of fits: nothing that is false at the noise of the data, or near rounding."""

from dataclasses import replace

import pytest
import torch

import geodescent as gd
from geodescent import pde
from geodescent.certificate import Cause, Certificate, Point
from geodescent.doors._in_words import _agreeing
from geodescent.problem import Misfit

F64 = torch.float64
LINE = pde.Box(x=(0.0, 1.0))
MOVING = Point("moving", 5, 0.5, None, None, None, "still moving.")
CRITICAL = Point("critical", 5, 0.0, None, None, None, "critical.")
ZERO = Point("zero_cost", 5, 0.0, None, None, None, "zero.")
OTHER = "may end lower"


def spring(noise: float, n: int = 60) -> pde.System:
    """`u″ + k u = 0`, k = 4, by sensors of sin 2x."""
    torch.manual_seed(0)
    places = torch.linspace(0.02, 0.98, n, dtype=F64)[:, None]
    values = torch.sin(2.0 * places[:, 0]) + noise * torch.randn(
        n, dtype=F64, generator=torch.Generator().manual_seed(3)
    )
    terms = [
        pde.Term("spring", lambda u, k: u.xx + k * u, LINE.inside(40)),
        pde.Term("left", lambda u: u, LINE.side(x=0.0).points(1)),
        pde.Term("sensors", lambda u: u, places, target=values),
    ]
    return pde.System(pde.mlp(1, [8], 1), terms, coordinates="x", unknowns={"k": 2.0})


def certificate(**settings: object) -> Certificate:
    plain = {"regime": "underparametrised", "n_residuals": 100, "n_params": 30, "cost": 1.0, "equations": True}
    return Certificate(**{**plain, "point": MOVING, "floor": 0.1, **settings})  # type: ignore[arg-type]


def left(share: float = 1.0, *, is_noise: bool | None = True, to_last_digit: bool = False) -> Misfit:
    return Misfit({"sensors": 0.01}, share, is_noise, to_last_digit)


def test_a_fit_that_ends_at_the_noise_says_so_and_sends_nobody_to_another_start() -> None:
    solution = gd.fit(spring(0.01), max_seconds=6.0, max_steps=200, initialise=False)
    known = solution.certificate
    assert known.misfit is not None and known.misfit.share > 0.99 and known.misfit.is_noise
    said = " ".join(str(solution).split())
    assert "'sensors' is off by" in said and "independent errors of measurement of that size" in said
    assert OTHER not in said and "can still fall" not in said and "zero" not in said
    rms = float(solution.residuals()[2].rms)
    assert f"{rms:.3g} (RMS)" in said and f"{rms:.3g} (RMS)" in str(known)


def test_a_fit_of_exact_values_to_the_last_digits_is_not_sent_to_another_start() -> None:
    solution = gd.fit(spring(0.0), max_seconds=8.0, max_steps=200, initialise=False)
    assert solution.certificate.near_rounding and OTHER not in str(solution) + str(solution.certificate)


@pytest.mark.parametrize("result", gd.Result)
@pytest.mark.parametrize(
    ("known", "says"),
    [
        (certificate(misfit=left(), floor=0.99), "independent errors of measurement of that size"),
        (certificate(misfit=left(), point=CRITICAL), "independent errors of measurement of that size"),
        (certificate(near_rounding=True), "near to what rounding makes"),
        (certificate(near_rounding=True, point=CRITICAL), "near to what rounding makes"),
        (certificate(point=ZERO), "vanish to rounding"),
        (certificate(equations=False, point=ZERO), "to rounding"),
        (certificate(equations=False, near_rounding=True, point=CRITICAL), "rounding"),
    ],
)
def test_at_the_noise_and_at_rounding_no_result_sends_people_to_another_start(
    known: Certificate, says: str, result: gd.Result
) -> None:
    meaning, following = _agreeing(known, result, None, "JUDGED.")
    assert says in meaning and OTHER not in f"{meaning} {following}"
    assert "Go on" not in following and "can still fall" not in meaning


@pytest.mark.parametrize("known", [certificate(), certificate(point=CRITICAL)])
def test_a_valley_is_not_called_a_solution(known: Certificate) -> None:
    meaning, following = _agreeing(known, gd.Result.stationary, None, "JUDGED.")
    assert "where solution.residuals() shows large ones, this is no solution." in meaning and OTHER in following
    for result in (gd.Result.no_progress, gd.Result.rounding_floor):
        assert "this is no solution" in _agreeing(certificate(point=CRITICAL), result, None, "JUDGED.")[0]


def test_what_is_not_known_of_errors_is_not_said() -> None:
    unknown, alike = (
        certificate(misfit=left(is_noise=None), floor=0.95),
        certificate(misfit=left(is_noise=False), floor=0.95),
    )
    assert "independent" not in unknown.meaning and "where they are smaller, another start" in unknown.advice
    assert "off alike, which independent errors of measurement are not" in alike.meaning and OTHER in alike.advice
    for other in (certificate(misfit=left(0.5), floor=0.99), certificate(misfit=left()), certificate()):
        assert "can still fall" in other.meaning and "Go on with gd.fit" in other.advice
    for floor, noise in ((0.6, True), (0.4, False)):
        assert ("errors of measurement of that size" in certificate(misfit=left(), floor=floor).meaning) == noise
    assert "can still fall" in certificate(misfit=left(is_noise=None), floor=0.8).meaning
    assert "solution.unknowns" not in certificate(misfit=left(), floor=0.9).advice
    assert "solution.unknowns" in certificate(misfit=replace(left(), has_unknowns=True), floor=0.9).advice
    assert "but for the errors" in certificate(misfit=left()).meaning and "but for" not in certificate().meaning
    exact = certificate(misfit=left(to_last_digit=True), floor=1.0)
    assert "but for" not in exact.meaning and "errors" not in exact.meaning


def test_what_was_not_computed_is_said_in_words_that_mean_something() -> None:
    said = certificate(point=None).meaning
    assert "It was not computed whether a small change of the network lowers the residuals further." in said
    assert "A solution of all equations and conditions makes all of them zero." in said


def test_repeated_measurements_are_no_contradiction_in_the_sentence_either() -> None:
    noise = Cause("repeated_measurements", {}, 1.0, "noise.", exact=True)
    conflict = Cause("conflicting_conditions", {}, 1.0, "conflict.", exact=True)
    known = certificate(causes=(noise,))
    assert "Repeated measurements differ" in known.meaning and "that are named" not in known.advice
    assert known.named_causes == ()
    for result in gd.Result:
        if result is not gd.Result.nonfinite:
            assert OTHER not in " ".join(_agreeing(known, result, None, "JUDGED."))
    both = replace(known, causes=(noise, conflict), cost=2.0)
    assert "contradict each other" in both.meaning and both.named_causes == (conflict,)


@pytest.mark.parametrize("hindered", [True, False])
@pytest.mark.parametrize("kind", ["critical", "moving"])
def test_causes_are_spoken_of_where_there_are_some_to_name_and_only_there(kind: str, hindered: bool) -> None:
    """Of plain data; the sentence and the list of causes go by one flag."""
    harmless = Cause("few_rows", {}, None, "few.")
    dead = Cause("dead_units", {}, None, "dead.")
    known = certificate(
        equations=False,
        n_params=200,
        rank=90,
        point=CRITICAL if kind == "critical" else MOVING,
        causes=(harmless, dead) if hindered else (harmless,),
    )
    assert ("that are named" in known.advice) == hindered and known.named_causes == ((dead,) if hindered else ())


def test_where_no_other_points_can_be_drawn_nobody_is_told_to_look_at_them() -> None:
    torch.manual_seed(0)
    places = torch.linspace(0.0, 1.0, 12, dtype=F64)[:, None]
    terms = [pde.Term("slope", lambda u, x: u.x - torch.cos(x), places), pde.Term("start", lambda u: u, places[:1])]
    solution = gd.fit(pde.System(pde.mlp(1, [6], 1), terms, coordinates="x"), max_seconds=8.0, max_steps=60)
    said = " ".join(str(solution).split()) + " ".join(str(solution.certificate).split())
    assert not solution.certificate.draws_points and all(row.fresh_rms is None for row in solution.residuals())
    assert "solution.residuals() compares" not in said and "points of a pde.Box allow it" in said
    assert gd.certify(spring(0.0)).draws_points


def test_an_eigenvalue_is_not_asked_for_data() -> None:
    from geodescent.app.equations import read_example

    torch.manual_seed(0)
    solution = gd.fit(read_example("eigenvalue").module.system(), max_steps=5)
    (found,) = solution.unknowns.values()
    assert "give one of them" not in str(found) and "where a term holds measured values" in str(found)
