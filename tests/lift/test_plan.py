"""Which lift is taken: from m, K and memory."""

import re

import pytest
import torch
from support.lifts import CASES, made
from support.matrices import F64, vector

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._errors import MemoryPlanError
from geodescent.jacobian import MatrixJacobian
from geodescent.lift import INEXACT, Lift, PlannedLift

CPU = torch.device("cpu")
LIFTS = [gd.GramLift(), gd.NormalLift(), gd.KrylovLift()]
ORDER, EXACT_ORDER = Budget().factor_order, Budget().exact_order


@pytest.mark.parametrize(
    ("m", "k", "name"),
    [
        (100, 1000, "gram"),
        (100, 100, "gram"),
        (1000, 100, "normal"),
        (ORDER, 10 * ORDER, "gram"),
        (ORDER + 1, 10 * ORDER, "krylov"),
        (10 * ORDER, ORDER + 1, "krylov"),
    ],
)
def test_the_plan_goes_by_m_and_k(m: int, k: int, name: str) -> None:
    with spending(Budget(free_bytes=10**12)):
        assert PlannedLift().choice(m, k, dtype=F64, device=CPU).name == name


def test_the_plan_goes_by_memory() -> None:
    with spending(Budget(free_bytes=10**6)):
        assert PlannedLift().choice(100, 1000, dtype=F64, device=CPU) == gd.GramLift()
        assert PlannedLift().choice(300, 1000, dtype=F64, device=CPU) == INEXACT
        assert PlannedLift().choice(1000, 300, dtype=F64, device=CPU) == INEXACT
        assert PlannedLift(krylov=gd.KrylovLift()).choice(300, 1000, dtype=F64, device=CPU) == gd.KrylovLift()


def test_single_precision_takes_half_of_the_memory() -> None:
    """Five matrices of order 150: 900 kB in float64, and 600 kB are allowed."""
    with spending(Budget(free_bytes=10**6)):
        assert PlannedLift().choice(150, 1000, dtype=F64, device=CPU).name == "krylov"
        assert PlannedLift().choice(150, 1000, dtype=torch.float32, device=CPU).name == "gram"


def test_a_flow_factorises_larger_matrices_and_solves_exactly() -> None:
    """Nothing judges the steps of a flow; a lift that was asked for by name stays."""
    planned = PlannedLift().for_flow()
    with spending(Budget(free_bytes=10**12)):
        assert planned.choice(ORDER + 1, 10 * ORDER, dtype=F64, device=CPU) == gd.GramLift()
        assert planned.choice(10 * ORDER, EXACT_ORDER, dtype=F64, device=CPU) == gd.NormalLift()
        assert planned.choice(10 * ORDER, EXACT_ORDER + 1, dtype=F64, device=CPU) == gd.KrylovLift()
    for lift in LIFTS:
        assert lift.for_flow() is lift


def test_a_lift_asked_for_by_name_is_the_one_used() -> None:
    for lift in LIFTS:
        assert lift.choice(10, 5, dtype=F64, device=CPU) is lift
        assert lift.choice(5, 10, dtype=F64, device=CPU) is lift


@pytest.mark.parametrize(("shape", "name"), [((4, 9), "gram"), ((9, 4), "normal"), ((9, 9), "gram")])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_a_plan_is_prepared_as_the_lift_that_it_picks(shape: tuple[int, int], name: str, damping: float) -> None:
    jacobian, v = MatrixJacobian(vector(shape[0] * shape[1]).view(shape)), vector(shape[0])
    named = gd.GramLift() if name == "gram" else gd.NormalLift()
    lifted, expected = (lift.prepare(jacobian).lift(v, damping=damping) for lift in (PlannedLift(), named))
    assert torch.equal(lifted.velocity, expected.velocity)
    with spending(Budget(factor_order=3)):
        assert PlannedLift().prepare(jacobian).lift(v, damping=0.3).iterations > 0


def test_what_is_exact_and_what_adds_over_batches_is_said() -> None:
    assert [lift.exact for lift in LIFTS] == [True, True, False]
    assert [lift.prepare(MatrixJacobian(vector(6).view(2, 3))).exact for lift in LIFTS] == [True, True, False]
    assert [lift.adds_over_batches for lift in LIFTS] == [False, True, False]


@pytest.mark.parametrize(
    ("lift", "subject"),
    [(gd.GramLift(), "the Gram lift of 24 residuals"), (gd.NormalLift(), "the normal lift of 122 parameters")],
    ids=["gram", "normal"],
)
def test_a_lift_that_memory_does_not_hold(lift: Lift, subject: str) -> None:
    problem, _ = made(CASES[0])
    jacobian = problem.linearise(problem.theta)[1]
    sentence = rf"{re.escape(subject)} needs .* GB, and .* are allowed\. Use gd\.KrylovLift\(\)\."
    with spending(Budget(free_bytes=1000)), pytest.raises(MemoryPlanError, match=sentence):
        lift.prepare(jacobian)
