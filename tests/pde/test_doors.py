"""Every door takes a system of equations, or says in a sentence what it takes instead."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import pyplot

import geodescent as gd
from geodescent import pde
from geodescent.descent import Observer, planned_stages, start

LINE = pde.Box(x=(0.0, 1.0))


def system(n: int = 20, *, width: int = 6) -> pde.System:
    """`u' + k u = 0`, u(0) = 1, u(1) = e⁻²: k = 2."""
    torch.manual_seed(0)
    terms = [
        pde.Term("decay", lambda u, k: u.x + k * u, LINE.inside(n)),
        pde.Term("start", lambda u: u - 1.0, LINE.side(x=0).points(1)),
        pde.Term("end", lambda u: u - math.exp(-2.0), LINE.side(x=1).points(1)),
    ]
    return pde.System(pde.mlp(1, [width], 1), terms, coordinates="x", unknowns={"k": 1.0})


def divided_system() -> pde.System:
    """The same with a time constant, by which the equation divides."""
    torch.manual_seed(0)
    terms = [
        pde.Term("decay", lambda u, T: u.x + u / T, LINE.inside(20)),
        pde.Term("start", lambda u: u - 1.0, LINE.side(x=0).points(1)),
        pde.Term("end", lambda u: u - math.exp(-2.0), LINE.side(x=1).points(1)),
    ]
    return pde.System(pde.mlp(1, [6], 1), terms, coordinates="x", unknowns={"T": 1.0})


def activations(made: pde.System) -> list[object]:
    return made.start()["activations"]


def test_a_fit_finds_field_and_coefficient_and_has_a_table_of_its_terms() -> None:
    made = system()
    solution = gd.fit(made, target_cost=1e-10, max_seconds=20.0)
    x = torch.linspace(0.0, 1.0, 7, dtype=torch.float64)[:, None]
    assert solution.unknowns["k"].value == pytest.approx(2.0, abs=1e-3)
    assert torch.allclose(made(x), torch.exp(-2.0 * x), atol=1e-3)
    assert [row.name for row in solution.residuals()] == ["decay", "start", "end"]
    assert "fresh RMS" in str(solution.residuals())


def test_a_certificate_leaves_the_system_as_it_was() -> None:
    made = system()
    before = made.problem().theta
    certificate = gd.certify(made)
    assert certificate.n_residuals == 22 and torch.equal(made.problem().theta, before)


def test_a_flow_follows_the_law_where_there_are_more_parameters_than_rows() -> None:
    torch.manual_seed(0)
    terms = [pde.Term("decay", lambda u: u.x + u, LINE.inside(2)), pde.Term("start", lambda u: u - 1.0, [[0.0]])]
    made = pde.System(pde.mlp(1, [20], 1), terms, coordinates="x")
    path = gd.flow(made, until=0.5, max_seconds=20.0)
    assert path.cost[-1] == pytest.approx(path.cost0 * math.exp(-1.0), rel=1e-6)
    assert torch.equal(made.problem().theta, path.theta)


def test_the_start_is_chosen_by_the_equations() -> None:
    made = system()
    chosen = gd.initialise(made)
    assert "left out" in str(chosen) and activations(made) == [chosen.chosen.activation]
    assert chosen.chosen.left_out <= min(c.left_out for c in chosen.candidates if c.activation == "tanh") * 1.001


@pytest.mark.parametrize("whole", [False, True])
def test_the_optimizer_of_torch_takes_a_system_or_its_problem(whole: bool) -> None:
    made = system()
    optimizer = gd.GeoDescent(made.problem() if whole else made)
    costs = [optimizer.step() for _ in range(6)]
    assert min(costs) < 1e-3 * costs[0]


@pytest.mark.parametrize("lift", [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()])
def test_every_lift_takes_it(lift: gd.Lift) -> None:
    solution = gd.fit(system(), method=gd.Method(lift=lift), max_steps=6, initialise=False)
    assert solution.cost < 1e-2 * solution.cost0


def test_a_run_in_a_folder_goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    whole = gd.fit(system(), max_steps=12, initialise=False)
    gd.fit(system(), max_steps=6, checkpoint=tmp_path, initialise=False)
    resumed = gd.fit(system(), max_steps=12, checkpoint=tmp_path, initialise=False)
    assert resumed.cost == pytest.approx(whole.cost, rel=1e-9) and resumed.steps == 12


def test_a_run_goes_on_with_the_activation_that_was_chosen_at_its_start(tmp_path: Path) -> None:
    """A system that is made anew begins with tanh, as its folder does not."""
    first, second = system(), system()
    before = gd.fit(first, max_steps=4, checkpoint=tmp_path)
    after = gd.fit(second, max_steps=8, checkpoint=tmp_path)
    assert activations(first) == activations(second) == ["sin"]
    assert after.cost <= before.cost and after.cost0 == before.cost0


@pytest.mark.parametrize("content", ["{}", '{"activations": ["tanh", "tanh"]}', '{"activations": ["relu"]}', "a"])
def test_a_folder_of_another_system_is_refused(tmp_path: Path, content: str) -> None:
    gd.fit(system(), max_steps=2, checkpoint=tmp_path)
    (tmp_path / "start.json").write_text(content)
    with pytest.raises(gd.InputError, match=r"start\.json is not of this system: choose another folder"):
        gd.fit(system(), max_steps=4, checkpoint=tmp_path)


def test_more_points_keep_the_weights_of_single_points() -> None:
    where = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)[:, None]
    term = pde.Term("decay", lambda u: u.x + u, where, weights=torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]))
    made = pde.System(pde.mlp(1, [5], 1), [term], coordinates="x")
    made.add_points({"decay": where[:2] + 0.1})
    (block,) = made.problem().blocks
    assert block.weights.tolist() == [1.0, 2.0, 3.0, 2.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("divided", [False, True])
def test_a_fit_that_goes_on_has_the_scale_of_the_first(divided: bool) -> None:
    """Beside C at a good point that of a network whose weights are zero, the unknowns as they are: 50(1² + e⁻⁴)."""
    made = divided_system() if divided else system()
    solution = gd.fit(made, max_steps=30, initialise=False)
    again = start(planned_stages(made.problem()), Observer())
    assert solution.cost < 1e-6 and again.cost == pytest.approx(solution.cost, rel=1e-6)
    assert again.levels.reference == pytest.approx(50.0 * (1.0 + math.exp(-4.0)), rel=1e-12)


def test_a_fit_that_goes_on_reaches_what_the_first_would() -> None:
    """With a scale of costs from the point itself all of its steps looked like first ones, and C fell by a fifth."""
    torch.manual_seed(0)
    made = pde.System(
        pde.mlp(1, [8, 8]),
        [pde.Term("front", lambda u, x: u * u.x - 0.1 * u.xx - torch.sin(5.0 * x), LINE.inside(60))],
        coordinates="x",
        transform=lambda net, x: 1.0 - x + x * (1.0 - x) * net,
    )
    first = gd.fit(made, max_steps=25, initialise=False)
    assert gd.fit(made, max_steps=15, initialise=False).cost < 1e-2 * first.cost


def test_points_are_added_where_the_residual_is_large() -> None:
    made = system(6, width=10)
    solution = gd.fit(made, max_steps=80, max_seconds=10.0, initialise=False)
    assert solution.residuals()[0].points_limit
    refined = pde.refine(made, solution, max_seconds=5.0)
    assert [row.n_rows for row in refined.residuals()] == [9, 1, 1]
    assert refined.residuals()[0].fresh_rms < solution.residuals()[0].fresh_rms


def test_rounds_share_the_steps_and_a_callback_sees_them_and_ends_them() -> None:
    made, seen = system(6, width=20), list[int]()
    solution = gd.fit(made, max_steps=80, max_seconds=10.0, initialise=False)
    tell = {"callback": lambda record: seen.append(record.step)}
    refined = pde.refine(made, solution, rounds=2, share=0.2, max_steps=161, **tell)
    second = len(seen) - seen[::-1].index(1) - 1
    assert seen == [*range(1, second + 1), *range(1, refined.steps + 1)]
    assert 0 < second <= 81 and len(seen) <= 161 and refined.residuals()[0].n_rows == 8

    def at_once(record: gd.StepRecord) -> None:
        seen.append(record.step)
        raise StopIteration

    made, seen = system(6, width=10), []
    solution = gd.fit(made, max_steps=80, max_seconds=10.0, initialise=False)
    refined = pde.refine(made, solution, rounds=3, callback=at_once)
    assert seen == [1] and refined.result is gd.Result.stopped and refined.residuals()[0].n_rows == 9


def test_where_no_points_are_added_a_note_says_why() -> None:
    made = system(60)
    solution = gd.fit(made, max_steps=2, initialise=False)
    same = pde.refine(made, solution)
    (note,) = [str(note) for note in same.stats["notes"] if "No points were added" in str(note)]
    row = max(solution.residuals(), key=lambda row: row.fresh_rms / row.rms)
    assert f"those of {row.name} is {row.fresh_rms:.3g} beside {row.rms:.3g} on them" in note
    assert "more than 3 times as much would be needed." in note and note in " ".join(str(same).split())
    assert same.cost == solution.cost and torch.equal(same.theta, solution.theta)
    assert not any("No points were added" in str(note) for note in solution.stats["notes"])
    assert pde.refine(made, same).stats["notes"] == same.stats["notes"]


def test_where_points_are_the_users_own_a_note_says_so() -> None:
    torch.manual_seed(0)
    where = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)[:, None]
    made = pde.System(pde.mlp(1, [6]), [pde.Term("decay", lambda u: u.x + u, where)], coordinates="x")
    notes = pde.refine(made, gd.fit(made, max_steps=1)).stats["notes"]
    assert notes[-1] == (
        "No points were added, for new ones for decay cannot be drawn: take them from a pde.Box, or make the system "
        "with more of them."
    )


def test_where_some_points_can_be_drawn_a_note_names_the_others_and_how_to_fit_on() -> None:
    torch.manual_seed(0)
    where = torch.linspace(0.0, 1.0, 60, dtype=torch.float64)[:, None]
    box = pde.Box(x=(0.0, 1.0))
    terms = [
        pde.Term("decay", lambda u: u.x + u, box.inside(60)),
        pde.Term("bent", lambda u: u.xx - u, where),
        pde.Term("sensors", lambda u: u, where, target=torch.exp(-where)),
        pde.Term("pair", lambda u: u[0] - 3.0 * u[1], (where[:1], where[-1:])),
        pde.Total("size", lambda u: u, box.inside(60), 0.6),
    ]
    made = pde.System(pde.mlp(1, [6]), terms, coordinates="x")
    solution = gd.fit(made, max_steps=1)
    note = str(pde.refine(made, solution, max_seconds=20.0).stats["notes"][-1])
    assert "For bent, pair new points cannot be drawn" in note and "make the system with more of them." in note
    said = re.search(r"gd\.fit\(system, initialise=False, max_seconds=([\d.]+)\)", note)
    assert said is not None and 15.0 < float(said[1]) <= 20.0
    fitted = gd.fit(made, initialise=False, max_steps=5, max_seconds=float(said[1]))
    assert fitted.cost < solution.cost and fitted.cost0 == pytest.approx(solution.cost, rel=1e-9)


def test_time_that_a_round_leaves_over_goes_to_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made, given = system(6), list[float]()
    solution = gd.fit(made, max_steps=5, initialise=False)

    def short(system: pde.System, **settings: Any) -> gd.Solution:
        given.append(settings["max_seconds"])
        return gd.fit(system, **{**settings, "max_steps": 1})

    monkeypatch.setattr("geodescent.pde._refine.fit", short)
    monkeypatch.setattr("geodescent.problem._residual_table.POINTS_LIMIT", 0.0)  # points limit every term
    pde.refine(made, solution, rounds=3, share=0.2, max_seconds=600.0)
    assert [round(580.0 / (3 - k)) < seconds <= 600.0 / (3 - k) for k, seconds in enumerate(given)] == [True] * 3
    given.clear()
    pde.refine(made, gd.fit(made, max_steps=1), rounds=3, share=0.2, max_seconds=0.0)
    assert given == [0.0]


def test_a_later_round_that_adds_no_points_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rounds = system(60), iter([{"decay": torch.full((1, 1), 0.3, dtype=torch.float64)}, {}])
    solution = gd.fit(made, max_steps=2, initialise=False)
    monkeypatch.setattr("geodescent.pde._refine._added", lambda *_: next(rounds))
    refined = pde.refine(made, solution, rounds=3, max_steps=6)
    (note,) = [str(note) for note in refined.stats["notes"] if "No points were added" in str(note)]
    assert refined.steps == 2 and note.startswith("No points were added in round 2, for no term is limited by its")


def test_more_points_than_candidates_may_be_asked_for() -> None:
    made = system(6, width=10)
    solution = gd.fit(made, max_steps=80, max_seconds=10.0, initialise=False)
    assert pde.refine(made, solution, share=20.0, max_steps=1).residuals()[0].n_rows == 126


@pytest.mark.parametrize("wrong", [{"callback": 3}, {"max_steps": -1}, {"max_seconds": -1.0}, {"rounds": 0}])
def test_a_wrong_argument_of_refine_is_refused_before_points_are_added(wrong: dict[str, object]) -> None:
    made = system(6, width=10)
    solution = gd.fit(made, max_steps=80, max_seconds=10.0, initialise=False)
    with pytest.raises(gd.InputError, match=next(iter(wrong))):
        pde.refine(made, solution, **wrong)
    assert solution.residuals()[0].points_limit and made.problem().blocks[0].n_samples == 6


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (lambda made: gd.fit(made, validation=made), "validation must be a pair"),
        (lambda made: gd.fit(made, stop="validation"), "pass validation="),
        (lambda made: gd.fit(made, torch.zeros(3)), "brings its own data: leave X out"),
        (lambda made: gd.fit(made, weights=torch.zeros(3)), "brings its own data: leave weights out"),
        (lambda made: pde.refine(made, gd.fit(system(), max_steps=1)), "pass the system that gd.fit was called with"),
        (lambda made: gd.GeoDescent(3), "the first argument is the model, or a problem, not int"),
    ],
)
def test_what_does_not_go_with_a_system_is_refused(asked, says: str) -> None:
    with pytest.raises(gd.InputError, match=says):
        asked(system())


def test_a_second_fit_goes_on_from_the_first_and_says_when_nothing_holds_the_fields() -> None:
    torch.manual_seed(0)
    box = pde.Box(x=(0.0, 1.0))
    equation = pde.Term("curve", lambda u, x: u.xx - torch.sin(x), box.inside(30))
    loose = pde.System(pde.mlp(1, [8]), [equation], coordinates=("x",))
    assert loose.is_fresh
    first = gd.fit(loose, max_steps=4)
    assert not loose.is_fresh and any("one of many" in str(note) for note in first.stats["notes"])
    assert gd.fit(loose, max_steps=1).cost0 == pytest.approx(first.cost, rel=1e-12)
    ends = pde.Term("ends", lambda u: u, box.sides().points(2))
    held = gd.fit(pde.System(pde.mlp(1, [8]), [equation, ends], coordinates=("x",)), max_steps=1)
    assert not any("one of many" in str(note) for note in held.stats["notes"])


def square(*, periodic: bool = False) -> pde.System:
    """Gauss points: the outermost lie well inside of the box."""
    torch.manual_seed(0)
    box = pde.Box(t=(0.0, 1.0), x=(-1.0, 3.0))
    terms = [pde.Term("waves", lambda u: u.tt - u.xx, box.inside(9)), pde.Term("a", lambda u: u, [[0.5, 0.5]])]
    period = {"x": 4.0} if periodic else None
    return pde.System(pde.mlp(2 + periodic, [4]), terms, coordinates=("t", "x"), periodic=period)


def test_far_outside_of_the_box_a_warning_says_once_that_a_fit_says_nothing_there() -> None:
    made = square()
    points = torch.tensor([[0.5, 0.0], [0.5, 3.5], [1.2, -3.0]], dtype=torch.float64)
    sentence = (
        r"^2 of 3 points lie far outside of where the terms hold, one at x = -3, where x is from -1 to 3 in them: a "
        r"fit says nothing there\.$"
    )
    with pytest.warns(UserWarning, match=sentence) as told:
        made(points)
    assert [Path(warning.filename).name for warning in told] == [Path(__file__).name]
    made(points)  # a second warning would be an error
    with pytest.warns(UserWarning, match="one at t = -0.11, where t is from 0 to 1 in them"):
        square()(torch.tensor([[-0.11, 0.0]]))


def test_near_the_box_and_around_a_period_there_is_no_warning() -> None:
    made = square()
    made(torch.tensor([[0.0, -1.0], [1.0, 3.0], [1.09, 3.39], [-0.09, -1.39]]))
    square(periodic=True)(torch.tensor([[0.5, 30.0]]))
    solution = gd.fit(made, max_steps=2)
    pyplot.close(pde.plot(solution))
