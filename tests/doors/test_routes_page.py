"""docs/routes.md: its limits are those of the code, and its table what `gd.plan` says."""

import math
import re

import pytest
import torch
from support.crossovers import CASES, PAGE, row, shown

import geodescent as gd
from geodescent._budget import DEFAULT, FRACTION, Budget, spending
from geodescent.descent import FIRST_BATCH, LEAST_ROUNDS, OWN_PRODUCTS, planned_stages
from geodescent.descent._batch_steps import PASSES_OF_ROUND
from geodescent.descent._planned import MANY_PARAMETERS
from geodescent.descent._stages import LONG, VALLEY, VALLEY_OF_EQUATIONS
from geodescent.descent.first_order._gradient_steps import SLOW
from geodescent.doors.planning._solves import PASSES_OF_TRIAL
from geodescent.jacobian._gram import ROWS_MARGIN
from geodescent.lift import DENSE_MATRICES, KrylovLift
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import OF_ALL, ShuffledSource
from geodescent.problem._drawn import LONG_STEP, SHORT_STEP
from geodescent.problem._sources import LEAST_PART, PART_ROWS, PART_SHARE


def cells(beginning: str) -> str:
    """The row of the rules whose first cell begins so."""
    found = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {beginning}")]
    assert len(found) == 1, beginning
    return found[0]


def test_the_limits_are_those_of_the_code() -> None:
    part = f"N ≥ {1.0 / PART_SHARE:g}·max({LEAST_PART}, {PART_ROWS:g}K/Q)"
    assert f"more than {LONG_STEP:.0%}".replace("%", " %") in cells("a step would take")
    assert SHORT_STEP == 0.1 and "ten steps" in cells("a step would take")
    assert f"{PART_ROWS:g} rows for each parameter" in cells(part)
    orders = f"{DEFAULT.factor_order:,} (equations: {DEFAULT.exact_order:,})"
    rows = cells(f"m ≤ K and m ≤ {orders}")
    assert DENSE_MATRICES == 5.0 and "five matrices" in rows
    assert f"{FRACTION:.0%} of the free memory".replace("%", " %") in rows
    assert cells(f"K < m and K ≤ {orders}")
    opening = cells(f"one of these, where an exact step costs more than {STEP_ITERATIONS:g} iterations")
    assert f"{VALLEY:g} of its scale (equations: {VALLEY_OF_EQUATIONS:g}), or {LONG:g} exact steps" in opening
    assert cells(f"**{MANY_PARAMETERS:,} parameters or more**")
    gradients = cells("networks by recorded calls that hold more than linear layers and convolutions")
    assert f"gradients of batches of {FIRST_BATCH} samples" in gradients
    assert f"until the cost is {VALLEY:g} of its scale" in gradients and f"half of {LEAST_ROUNDS} rounds" in gradients
    assert f"less than {1.0 - math.exp(-SLOW):.0%}".replace("%", " %") in gradients
    batches = cells(f"one of the other three with N ≥ {OF_ALL * FIRST_BATCH}, one block")
    assert f"on batches of {FIRST_BATCH} samples" in batches and "twice as many samples" in batches
    assert f"more than 1/{OF_ALL} of all samples" in batches
    least = f"cost no more than {STEP_ITERATIONS:g} iterations, or no more than the last step took"
    assert least in cells("**large networks**")
    first, second, later = PASSES_OF_ROUND
    page = PAGE.read_text().replace("\n", " ")
    assert (
        f"the first as long as {first:g} passes over all samples, the second as {second:g}, later ones as {later:g}"
        in page
    )
    assert f"{OWN_PRODUCTS:g} pairs of products" in page and PASSES_OF_TRIAL == 2.0
    assert f"above {DEFAULT.factor_order:,}" in cells("**large networks**")
    assert f"{KrylovLift().tol:g}" in cells("D known by its products alone")
    assert f"at most {ROWS_MARGIN:g} times" in PAGE.read_text().replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} on {case[1]}")
def test_the_table_is_what_is_planned(case: tuple[str, int]) -> None:
    """All of it but the last column, which was measured on one machine."""
    (there,) = [cells for cells in shown() if cells[0] == case[0]]
    now = row(*case)
    assert there[:-1] == now[:-1]
    assert float(there[-1]) > 0.0 and float(now[-1]) > 0.0


def test_the_rules_of_batches_are_those_of_a_fit() -> None:
    """The opening of a large problem of N samples; with equations, or a part first, there is none."""
    for n, width, order, lifts in (
        (OF_ALL * FIRST_BATCH, 30, 3000, ["auto", "auto"]),
        (OF_ALL * FIRST_BATCH - 1, 30, 3000, ["auto", "auto"]),
        (OF_ALL * FIRST_BATCH, 30, 50, ["sketched", "sketched", "krylov"]),
        (OF_ALL * FIRST_BATCH - 1, 30, 50, ["sketched", "krylov"]),
    ):
        x = torch.linspace(-1.0, 1.0, n, dtype=torch.float64)[:, None]
        model = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)).double()
        with spending(Budget(factor_order=order)):
            stages = planned_stages(gd.Problem.of(model, x, x))
        assert [stage.lift.name for stage in stages] == lifts
        assert isinstance(stages[0].source, ShuffledSource) is (n >= OF_ALL * FIRST_BATCH and order == 50)


def test_the_table_has_the_cases() -> None:
    assert [cells[0] for cells in shown()] == [name for name, _ in CASES]
    assert {re.sub(r" of order.*|;.*", "", cell) for cells in shown() for cell in cells[6:8]} - {"the same"} == {
        "exact solves with G = DDᵀ",
        "exact solves with DᵀD",
        "inexact solves: a few conjugate gradients, behind blocks of G",
        "inexact solves: a few conjugate gradients, behind two small factors for each layer",
        "short solves: few conjugate gradients, behind sketched factors of the layers",
    }
