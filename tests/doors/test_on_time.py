"""`max_seconds` holds on every route, to a second or one linearisation; the best point is kept, and the cut is said."""

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.causes import normal
from support.given import sines
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import geodescent as gd
from geodescent._deadline import OutOfTime, within
from geodescent.problem import DrawnSource, _drawn, timely_source

ALLOWED, LATE = 0.6, 1.0  # seconds of a run, and by how much it may end later
X = normal(64, 3)
Y = torch.sin(X.sum(1, keepdim=True))


class Slow(nn.Module):
    """A network whose call takes time for each sample."""

    def __init__(self, each: float = 0.0, call: float = 0.0, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs)).double()
        self.each, self.call = each, call

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.call + self.each * len(x))
        return self.net(x)


class Items(Dataset[tuple[Tensor, Tensor]]):
    """Samples that are read slowly."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        time.sleep(0.01)
        return X[i], Y[i]


def formula(pause: float, k: int = 6) -> gd.Problem:
    matrix = normal(9, k)

    def function(theta: Tensor) -> Tensor:
        time.sleep(pause)
        return matrix @ theta.sin()

    return gd.Problem.over(gd.FunctionMap(function, torch.zeros(k).double()), normal(9))


def slow_products() -> gd.Problem:
    """D by functions that take 20 ms."""
    matrix = normal(9, 20)

    def slowly(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda v: (time.sleep(0.02), product(v))[1]

    outputs = sines(matrix)
    outputs.jacobian = lambda t: gd.MatrixJacobian(  # type: ignore[assignment]
        (slowly(lambda v: matrix @ (t.cos() * v)), slowly(lambda u: t.cos() * (matrix.T @ u))), shape=(9, 20)
    )
    return gd.Problem.over(outputs, 0.1 * torch.ones(9).double())


def closure(model: nn.Module) -> gd.Problem:
    return gd.Problem.over(gd.ClosureMap.of(model, lambda: (model(X), Y)), Y)


def blocks(model: nn.Module) -> gd.Problem:
    halves = [gd.RowBlock(name, gd.SampleMap(model, x), y) for name, x, y in (("a", X, Y), ("b", -X, -Y))]
    return gd.Problem(tuple(halves))


ROUTES: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "module": lambda: ((Slow(call=0.05), X, Y), {}),
    "Gram": lambda: ((Slow(call=0.05), X[:8], Y[:8]), {"method": gd.Method(lift=gd.GramLift())}),
    "normal": lambda: ((Slow(call=0.05), X, Y), {"method": gd.Method(lift=gd.NormalLift())}),
    "Krylov": lambda: ((Slow(call=0.05), X, Y), {"method": gd.Method(lift=gd.KrylovLift())}),
    "each sample": lambda: ((Slow(each=2e-3), X, Y), {}),
    "blocks": lambda: ((blocks(Slow(call=0.03)),), {}),
    "start": lambda: ((Slow(call=0.03), X, Y), {"initialise": True}),
    "validation": lambda: ((Slow(call=0.03), X, Y), {"validation": (X, Y), "stop": "validation"}),
    "formula": lambda: ((formula(0.02),), {}),
    "wide formula": lambda: ((formula(5e-3, k=60),), {}),
    "products": lambda: ((slow_products(),), {}),
    "closure": lambda: ((closure(Slow(call=0.02)),), {}),
    "given map": lambda: ((gd.Problem.over(sines(normal(6, 9), pause=0.1), torch.ones(6).double()),), {}),
    "loader": lambda: ((Slow(), DataLoader(Items(), batch_size=8)), {}),
    "streamed": lambda: (
        (Slow(call=0.01), DataLoader(TensorDataset(X, Y), batch_size=16)),
        {"method": gd.Method(lift=gd.NormalLift())},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_a_run_and_its_text_end_on_time_with_the_best_point_kept(route: str) -> None:
    formula(0.0, k=60).linearise(torch.zeros(60).double())  # what torch loads at its first vmap is no work of a run
    arguments, options = ROUTES[route]()
    begin = time.perf_counter()
    solution = gd.fit(*arguments, max_seconds=ALLOWED, **options)
    fitted = time.perf_counter() - begin
    str(solution)
    printed = time.perf_counter() - begin - fitted
    piece = 0.7 if route in ("streamed", "loader") else 0.3  # one pass, or one linearisation
    assert fitted < ALLOWED + LATE + piece and printed < LATE + 1.0 + piece
    assert solution.cost <= solution.cost0
    target = arguments[0]
    if isinstance(target, gd.Problem):
        assert target.cost(solution.theta) == pytest.approx(solution.cost)


def test_a_cut_is_said_and_the_result_is_the_time() -> None:
    solution = gd.fit(*ROUTES["products"]()[0], max_seconds=0.3)
    assert solution.result is gd.Result.max_seconds
    assert not any("step" in note or "max_seconds" in note for note in solution.stats["notes"])
    assert "or pass a larger max_seconds" in str(solution).replace("\n", " ").replace("  ", "")


@pytest.mark.slow
def test_steps_are_accepted_where_planned_ones_take_too_long() -> None:
    """Q = 40: D takes forty passes backwards, two products two of them."""
    model = Slow(each=1e-4, outputs=40)
    y = torch.sin(X @ normal(3, 40))
    solution = gd.fit(model, X, y, max_seconds=1.0)
    assert solution.steps >= 1 and solution.cost < 0.9 * solution.cost0


def test_no_deadline_no_short_steps() -> None:
    problem = gd.Problem.of(Slow(), X, Y)
    assert timely_source(problem, None) is None
    with within(1e6):
        assert timely_source(problem, None) is None
    with within(-1.0):
        assert timely_source(problem, None) is None


def test_no_time_for_a_look_at_products_does_not_say_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said where it is known: of a model without them steps form D, and no look at more samples is taken here."""
    problem = gd.Problem.of(Slow(each=1e-3), X, Y)
    looks = list[int]()

    def no_time(problem: gd.Problem) -> float:
        looks.append(problem.n_residuals)
        raise OutOfTime("the time ran out in products with D.")

    monkeypatch.setattr(_drawn, "_measured_step", no_time)
    with within(1.0):
        source = timely_source(problem, None)
        assert source is not None and source.by_products and source.n_drawn == 2 and looks == [4, 2]
        with pytest.raises(OutOfTime):
            _drawn._has_products(problem)
    monkeypatch.setattr(_drawn, "_measured_step", lambda problem: math.inf)
    assert _drawn._has_products(problem)


def test_other_samples_are_drawn_for_each_step_and_none_of_weight_zero() -> None:
    weights = (torch.arange(64) % 2).double()
    problem = gd.Problem.of(Slow(), X, Y, weights=weights)
    source = DrawnSource(problem, 0.25)
    targets = [source.at(step).blocks[0].target[:, 0].tolist() for step in (0, 0, 1)]
    assert targets[0] == targets[1] != targets[2] and len(targets[0]) == source.n_drawn == 16
    assert not set(itertools.chain(*targets)) & set(Y[weights == 0.0][:, 0].tolist())
    whole = DrawnSource(problem, 1.0)
    assert whole.is_whole and whole.at(3).n_residuals == 64 and whole.cost_of_all(1, problem.theta, 7.0) == 7.0


@pytest.mark.parametrize("outputs", [1, 3])
def test_products_of_a_drawn_problem_are_those_of_its_jacobian(outputs: int) -> None:
    y = torch.zeros(64, outputs).double()
    problem = gd.Problem.of(Slow(outputs=outputs), X, y)
    theta, v, u = problem.theta, normal(problem.n_params), normal(64 * outputs)
    for allowed in (None, 1e6):  # the way to D v is chosen by measurement where there is a deadline
        with within(allowed):
            residual, ours = DrawnSource(problem, 1.0).at(0).linearise(theta)
        expected, theirs = problem.linearise(theta)
        assert torch.allclose(residual, expected) and torch.allclose(ours.mv(v), theirs.mv(v))
        assert torch.allclose(ours.rmv(u), theirs.rmv(u))


@pytest.mark.slow
def test_the_first_call_of_a_process_loads_no_compiler() -> None:
    """SymPy and torch's compiler take a second to load; three parameters need neither."""
    code = """if True:
        import sys, time, torch, geodescent as gd
        x = torch.linspace(0.0, 4.0, 50, dtype=torch.float64)
        begin = time.perf_counter()
        outputs = gd.FunctionMap(lambda p: p[0] * torch.exp(-p[1] * x) + p[2], torch.ones(3).double())
        s = gd.fit(gd.Problem.over(outputs, 2.0 * torch.exp(-1.3 * x) + 0.5))
        print(time.perf_counter() - begin, s.cost, "sympy" in sys.modules, "torch._dynamo" in sys.modules)
        """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, cost, sympy, dynamo = run.stdout.split()
    assert float(cost) < 1e-20 and (sympy, dynamo) == ("False", "False")
    assert float(seconds) < 1.5  # some 0.1 s on an idle machine
