"""`gd.plan` foretells what `gd.fit` does, by the same functions; it takes no step and changes nothing."""

import itertools
import json
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.crossovers import network
from support.models import normal
from support.snapshot import Snapshot
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent import pde
from geodescent._budget import Budget, spending
from geodescent.descent import FIRST_BATCH, LEAST_ROUNDS, Linearised, eigenvectors_price
from geodescent.doors import Plan
from geodescent.lift import PacedLift, SketchedLift
from geodescent.problem import OF_ALL, part_of

F64 = torch.float64


def mlp(*widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers = list[nn.Module]()
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1]).double()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.LSTM(3, 6, batch_first=True)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.steps(x)[0][:, -1])


class Waves(nn.Module):
    """A parameter that is no factor of a product enters by a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.frequency = mlp(2, 2), nn.Parameter(torch.ones(2, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * self.net(x))


class Slow(nn.Module):
    """A network whose call takes time for each sample."""

    def __init__(self, each: float) -> None:
        super().__init__()
        self.net, self.each = mlp(2, 6, 1), each

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.each * len(x))
        return self.net(x)


class Reciprocal(nn.Module):
    """Infinite where its input is that of a model without a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.0 / (x - x.detach())


def conv() -> nn.Module:
    layers = nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
    return nn.Sequential(*layers).double()


def formula() -> gd.Problem:
    t = torch.linspace(0.0, 1.0, 50, dtype=F64)
    outputs = gd.FunctionMap(lambda p: p[0] * torch.exp(-p[1] * t), torch.ones(2, dtype=F64))
    return gd.Problem((gd.RowBlock("data", outputs, torch.exp(-2.0 * t)),))


def poisson() -> pde.System:
    box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
    inside = pde.Term("poisson", lambda u, x, y: u.laplacian + torch.sin(3.0 * x + y), box.inside(60))
    walls = pde.Term("walls", lambda u: u, box.sides().points(20))
    return pde.System(pde.mlp(2, [8]), [inside, walls], coordinates=("x", "y"))


def two_blocks() -> gd.Problem:
    model = mlp(2, 6, 1)
    theta = gd.SampleMap(model, normal(30, 2))
    size = gd.FunctionMap(lambda p: p, theta.theta)
    blocks = (
        gd.RowBlock("data", theta, normal(30, 1)),
        gd.RowBlock("size", size, torch.zeros_like(theta.theta), weight=1e-3),
    )
    return gd.Problem(blocks)


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(normal(40, 2), normal(40, 1)), 10, shuffle=True)


CALLS: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "small": lambda: ((mlp(2, 20, 1), normal(30, 2), normal(30, 1)), {}),
    "fewer parameters than rows": lambda: ((mlp(2, 5, 1), normal(90, 2), normal(90, 1)), {}),
    "wide": lambda: ((mlp(3, 300, 2), normal(40, 3), normal(40, 2)), {}),
    "a part first": lambda: ((mlp(2, 4, 1), normal(2400, 2), normal(2400, 1)), {}),
    "convolutions": lambda: ((conv(), normal(30, 1, 8, 8), normal(30, 3)), {}),
    "an LSTM": lambda: ((Recurrent().double(), normal(20, 5, 3), normal(20, 2)), {}),
    "float32": lambda: ((mlp(2, 20, 1).float(), normal(30, 2).float(), normal(30, 1).float()), {}),
    "weights": lambda: ((mlp(2, 20, 1), normal(30, 2), normal(30, 1)), {"weights": torch.rand(30, dtype=F64)}),
    "validation": lambda: ((mlp(2, 20, 1), normal(50, 2), normal(50, 1)), {"stop": "validation"}),
    "batches": lambda: ((mlp(2, 5, 1), normal(300, 2), normal(300, 1)), {}),
    "a formula": lambda: ((formula(),), {}),
    "two blocks": lambda: ((two_blocks(),), {}),
    "equations": lambda: ((poisson(),), {}),
    "a loader": lambda: ((mlp(2, 20, 1), loader()), {}),
    "all batches": lambda: ((mlp(2, 5, 1), loader()), {"method": gd.Method(lift=gd.NormalLift())}),
    "a lift of one's own choice": lambda: (
        (mlp(2, 20, 1), normal(30, 2), normal(30, 1)),
        {"method": gd.Method(lift=gd.KrylovLift())},
    ),
    "a gain ratio": lambda: (
        (mlp(2, 20, 1), normal(30, 2), normal(30, 1)),
        {"method": gd.Method(control=gd.GainRatio())},
    ),
}


# --- the plan of a fit ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_the_lift_foretold_is_the_one_that_the_fit_says_it_used(name: str) -> None:
    args, settings = CALLS[name]()
    planned = gd.plan(*args, **settings)
    solution = gd.fit(*args, **settings, max_steps=2)
    assert planned.lift == solution.stats["lift"]
    assert planned.n_params == solution.stats["n_params"]
    if name != "all batches":  # statistics are those of the first batch
        assert planned.n_residuals == solution.stats["n_residuals"]
    assert set(solution.stats["notes"]) >= {note for note in planned.notes if "start of the network" not in note}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_it_prints_about_twenty_lines_of_80_columns_and_goes_into_json(name: str) -> None:
    args, settings = CALLS[name]()
    planned = gd.plan(*args, **settings)
    lines = str(planned).splitlines()
    assert len(lines) <= 22 and max(map(len, lines)) <= 80
    assert f"{planned.n_params:,} parameters K" in " ".join(str(planned).split())
    assert json.loads(json.dumps(planned.as_dict()))["n_params"] == planned.n_params
    assert repr(planned).startswith("Plan(") and "\n" not in repr(planned)


def route_of_first_step(args: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The lift by which a fit takes its first step, and the rows that it takes it on: of many batches the first."""
    seen = list[tuple[str, int]]()
    with monkeypatch.context() as patched:
        for kind in (gd.GramLift, gd.NormalLift, gd.KrylovLift, PacedLift, SketchedLift):

            def prepare(self: Any, jacobian: Any, *, metric: Any = None, own: Any = kind.prepare) -> Any:
                seen.append((self.name, jacobian.n_residuals))
                return own(self, jacobian, metric=metric)

            patched.setattr(kind, "prepare", prepare)
        gd.fit(*args, max_steps=1, callback=stop)
    passed_over = len(seen) > 1 and seen[1][0] != "sketched" and seen[1][1] == seen[0][1]  # its rule held at once
    return seen[0] if seen[0][0] == "sketched" and not passed_over else seen[-1]


def stop(record: gd.StepRecord) -> None:
    raise StopIteration


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_the_first_step_is_taken_as_foretold_whatever_the_size(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and limits at random, so that all routes come up: batches, one matrix, the other, iterations, a part."""
    draw = random.Random(seed)
    n, q, width = int(10 ** draw.uniform(0.5, 2.5)), draw.randint(1, 4), int(10 ** draw.uniform(0.3, 1.8))
    n = 4 * n + 2000 if draw.random() < 0.25 else n
    depth = draw.randint(1, 2)
    torch.manual_seed(seed)
    args = mlp(3, *[width] * depth, q), normal(n, 3), normal(n, q)
    with spending(Budget(factor_order=draw.choice([20, 100, 3000]))):
        planned = gd.plan(*args)
        lift, rows = route_of_first_step(args, monkeypatch)
        assert (planned.first.lift, planned.first.step.samples * q) == (lift, rows)
        assert planned.lift == gd.fit(*args, max_steps=1).stats["lift"]
    order = planned.first.step.order
    assert order == {"gram": rows, "normal": planned.n_params, "krylov": None, "sketched": None}[lift]


class ByHand:
    """A linear map of a stranger's, who has products alone."""

    dtype, device = F64, torch.device("cpu")

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.theta, self.shape = matrix, torch.ones(matrix.shape[1], dtype=F64), (len(matrix),)

    def __call__(self, theta: Tensor) -> Tensor:
        return self.matrix @ theta

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
        pair = (lambda v: self.matrix @ v), (lambda u: self.matrix.T @ u)
        return self(theta), gd.MatrixJacobian(pair, shape=(len(self.matrix), len(theta)))

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return torch.zeros(len(self.matrix), dtype=F64)

    def write(self, theta: Tensor) -> None:
        self.theta = theta.clone()


def test_a_part_that_costs_more_than_all_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """That all samples cost less than the part does not say that the part is overfitted: no step was taken on it."""
    model, x = mlp(2, 10, 1), normal(4000, 2)
    y = torch.sin(x[:, :1])
    part = part_of(gd.Problem.of(model, x, y))
    assert part is not None
    drawn = part.blocks[0].map
    assert isinstance(drawn, gd.SampleMap)
    y = y + 30.0 * (x[:, None, 0] == drawn.inputs[None, :20, 0]).any(1, keepdim=True)
    planned = gd.plan(model, x, y)
    assert route_of_first_step((model, x, y), monkeypatch) == (planned.first.lift, planned.first.step.samples)
    assert planned.first.step.samples == part.n_samples
    assert any(f"on {part.n_samples:.0f} of 4000 samples first" in note for note in planned.notes)


def test_a_part_without_a_step_is_said_to_have_steps_as_long_as_these_help() -> None:
    """The part is fitted at the start, so that the first step is on all samples: the sentence is true here too."""
    model, x = mlp(2, 10, 1), normal(4000, 2)
    y = model(x).detach()
    part = part_of(gd.Problem.of(model, x, y))
    assert part is not None
    drawn = part.blocks[0].map
    assert isinstance(drawn, gd.SampleMap) and isinstance(drawn.inputs, Tensor)
    others = ~(x[:, None, 0] == drawn.inputs[None, :, 0]).any(1, keepdim=True)
    solution = gd.fit(model, x, y + 0.1 * others, max_steps=1)
    assert solution.cost < 0.5 * solution.cost0
    (note,) = [note for note in solution.stats["notes"] if "samples" in note]
    assert note == "Steps are taken on 500 of 4000 samples first, as long as these lower the cost of all."


def test_a_map_with_products_alone() -> None:
    problem = gd.Problem((gd.RowBlock("data", ByHand(normal(60, 50)), normal(60)),))
    with spending(Budget(rows_numbers=1000)):
        planned = gd.plan(problem)
        assert {layer.how for layer in planned.layers} == {"by products"}
        assert planned.lift == gd.fit(problem, max_steps=1).stats["lift"] == "krylov"
    assert "the diagonal of G" in planned.first.solves and "products alone" in planned.stages[-1].why


def test_all_routes_come_up_in_that_test() -> None:
    found = set[str]()
    on = set[str]()
    for order, n, width in ((3000, 20, 30), (3000, 200, 2), (20, 200, 30), (20, 300, 30)):
        with spending(Budget(factor_order=order)):
            planned = gd.plan(mlp(3, width, 1), normal(n, 3), normal(n, 1))
            found |= {stage.lift for stage in planned.stages if not stage.passed_over}
            on.add(planned.first.on)
    assert found == {"gram", "normal", "krylov", "sketched"}
    assert on == {
        "all 20 samples",
        "all 200 samples",
        "batches of 128 of 300 samples, of twice as many as soon as that pays",
    }


def test_an_opening_and_what_follows_it() -> None:
    """Many outputs, so that an exact step costs more than fifteen iterations."""
    model, x, y = mlp(20, 60, 60, 30), normal(60, 20), normal(60, 30)
    planned = gd.plan(model, x, y)
    opening, last = planned.stages
    assert not opening.passed_over and opening.lift == "krylov" and opening.step.order is None
    assert last.lift == "gram" and last.step.order == 1800 and "1,800 rows m" in last.why
    assert "then stage 2" in opening.until and last.until == ""
    assert planned.first is opening
    worth = float(re.findall(r"as much as ([\d,]+) iterations", opening.why)[0].replace(",", ""))
    jacobian = gd.SampleMap(model, x).linearise()[1]
    assert worth == pytest.approx(gd.GramLift().step_flops(jacobian) / jacobian.product_flops(), rel=0.05)
    assert gd.fit(model, x, y, max_steps=1).stats["iterations"] > 0


@pytest.mark.slow
def test_a_short_time_asks_for_shorter_steps() -> None:
    args = Slow(2e-3), normal(400, 2), normal(400, 1)
    planned = gd.plan(*args, max_seconds=1.0)
    assert planned.first.lift == "paced" and "max_seconds" in planned.first.why
    assert "drawn anew for each step" in planned.first.on
    with spending(Budget(factor_order=10)):
        unhurried = gd.plan(mlp(2, 6, 1), *args[1:], max_seconds=60.0)
        assert (unhurried.first.lift, unhurried.lift) == ("sketched", "krylov")
        assert "max_seconds leaves time for steps on all" in unhurried.first.until
        assert "max_seconds" not in gd.plan(mlp(2, 6, 1), *args[1:]).first.until


def rounds_of(args: tuple[Any, ...], n_steps: int) -> tuple[list[int], list[float]]:
    """Of the first rounds of a fit: the samples of each step, and the seconds of each round."""
    sizes = list[int]()
    with pytest.MonkeyPatch.context() as patched:

        def at(problem: gd.Problem, *rest: Any, own: Any = Linearised.at, **named: Any) -> Linearised:
            sizes.append(problem.blocks[0].n_samples)
            return own(problem, *rest, **named)

        patched.setattr(Linearised, "at", at)
        seconds = gd.fit(*args, max_steps=n_steps).history["seconds"].tolist()
    return sizes, [after - before for before, after in itertools.pairwise(seconds)]


@pytest.mark.slow
def test_batches_are_foretold_with_their_rounds() -> None:
    """Of many samples, so that a round has a few steps before it has taken as long as two passes."""
    args = mlp(4, 400, 1), normal(60_000, 4), normal(60_000, 1)
    with spending(Budget(factor_order=20)):
        planned = gd.plan(*args)
        batches, whole, last = planned.stages
        assert [stage.lift for stage in planned.stages] == ["sketched", "sketched", "krylov"]
        sizes, seconds = rounds_of(args, 1)
    step = batches.step
    assert step.samples == FIRST_BATCH and sizes[0] == FIRST_BATCH
    assert step.seconds is not None and step.round_seconds is not None and step.seconds < step.round_seconds
    assert 1 < step.steps_of_round < 3 * len(sizes) < 9 * step.steps_of_round
    assert step.round_seconds / 4.0 < seconds[0] < 4.0 * step.round_seconds
    assert (whole.step.steps_of_round, whole.step.round_seconds) == (1, whole.step.seconds)
    assert f"{OF_ALL * FIRST_BATCH:,}" in batches.why and "1/2 of all samples (then stage 2)" in batches.until
    assert "no more than 15" in whole.until and "then stage 3" in whole.until and last.until == ""


@pytest.mark.slow
def test_what_the_eigenvectors_are_said_to_cost_is_what_the_rule_says() -> None:
    """Where they are dear enough for a stage without them; where columns are known they are not asked for."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 600), nn.Tanh(), nn.Linear(600, 2))
    model, x, y = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), wide).double(), normal(8, 1, 6, 6), normal(8, 2)
    with spending(Budget(factor_order=5)):
        first, plain = gd.plan(model, x, y).first, gd.plan(mlp(3, 400, 400, 2), normal(4, 3), normal(4, 2)).first
    assert (first.lift, first.on) == ("sketched", "all 8 samples")
    assert plain.lift == "sketched" and "eigenvectors" not in plain.why
    jacobian = gd.SampleMap(model, x).linearise()[1]
    worth = eigenvectors_price(jacobian, jacobian.product_flops())
    assert f"cost as much as {worth:,.0f} of them" in first.why


def test_stages_of_ones_own() -> None:
    problem = gd.Problem.of(mlp(2, 20, 1), normal(30, 2), normal(30, 1))
    source = gd.FixedSource(problem)
    first = gd.Stage(source, gd.KrylovLift(), gd.EulerWalk(), gd.GainRatio(), (gd.AfterSteps(3),))
    stages = first, gd.Stage(source, gd.GramLift(), gd.GeodesicWalk(), gd.NaturalControl())
    planned = gd.plan(problem, method=stages)
    assert [stage.lift for stage in planned.stages] == ["krylov", "gram"]
    assert "3 steps of the run are taken (then stage 2)" in planned.stages[0].until
    assert {stage.why for stage in planned.stages} == {"as method= asks"}
    assert gd.fit(problem, method=stages, max_steps=4).stats["lift"] == planned.lift


class Own(gd.Lift):
    """A lift that the package does not know."""

    name = "column metric"

    def prepare(self, jacobian: gd.Jacobian, *, metric: Tensor | None = None) -> Any:
        return gd.GramLift().prepare(jacobian, metric=metric)


def test_what_is_not_known_of_a_lift_of_ones_own_is_not_foretold() -> None:
    planned = gd.plan(mlp(2, 20, 1), normal(30, 2), normal(30, 1), method=gd.Method(lift=Own()))
    step = planned.first.step
    assert planned.lift == "column metric"
    assert (step.seconds, step.gradients, step.memory_bytes, step.order) == (None, None, None, None)
    assert "not known for a lift of one's own" in str(planned)


@pytest.mark.slow
def test_every_planned_lift_has_words_of_its_own() -> None:
    """A new kind of lift in the planned stages has its function in `_solves`, or its steps would be without a price."""
    kinds = [CALLS[name]() for name in ("small", "a part first", "equations", "a loader", "batches")]
    for order in (3000, 4):
        for args, settings in kinds:
            with spending(Budget(factor_order=order)):
                stages = gd.plan(*args, **settings).stages
            for stage in stages:
                assert stage.step.seconds is not None, stage
                assert "its rule" not in stage.until and ", by " not in stage.on, stage


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_seconds_are_those_of_a_fit() -> None:
    """Of a model whose calls take most of the time, whatever else the machine does."""
    args = Slow(2e-4), normal(60, 2), normal(60, 1)
    planned = gd.plan(*args)
    assert planned.measured.gradient >= 60 * 2e-4 and planned.measured.n_samples == 60
    begin = time.perf_counter()
    solution = gd.fit(*args, max_steps=8)
    a_step = (time.perf_counter() - begin) / solution.steps
    seconds = planned.first.step.seconds
    assert seconds is not None and seconds / 4.0 < a_step < 4.0 * seconds
    assert planned.first.step.gradients == pytest.approx(seconds / planned.measured.gradient)


@pytest.mark.slow
def test_of_many_samples_few_are_measured() -> None:
    n, each = 2500, 1e-3
    begin = time.perf_counter()
    planned = gd.plan(Slow(each), normal(n, 2), normal(n, 1))
    assert time.perf_counter() - begin < 6 * n * each
    assert planned.measured.n_samples <= n / 2
    assert planned.measured.gradient > 0.9 * n * each
    text = " ".join(str(planned).split())
    assert f"(in proportion to {planned.measured.n_samples:,} samples)" in text


@pytest.mark.slow
def test_where_products_are_better_than_columns_that_is_said() -> None:
    """Although a matrix could be factorised."""
    net, shape, n_outputs = network("conv 8×8")
    planned = gd.plan(net, normal(300, *shape), normal(300, n_outputs))
    assert [stage.lift for stage in planned.stages[:2]] == ["sketched", "sketched"]
    assert "the columns of D would take a backward pass for each output" in planned.stages[1].why


@pytest.mark.slow
def test_where_gradients_are_better_than_products_that_is_said() -> None:
    """With a norm between the convolutions."""
    net, shape, n_outputs = network("conv 8×8")
    layers = list(net.children())
    normed = nn.Sequential(layers[0], nn.GroupNorm(2, 8).double(), *layers[1:])
    planned = gd.plan(normed, normal(300, *shape), normal(300, n_outputs))
    gradients, whole = planned.stages[:2]
    assert [gradients.lift, whole.lift] == ["gradient", "sketched"]
    assert "of which a gradient takes one" in gradients.why and gradients.step.steps_of_round == 1
    assert f"after {LEAST_ROUNDS} rounds (then stage 2)" in gradients.until
    assert "batches of 128 of 300 samples" in " ".join(str(planned).split())


@pytest.mark.slow
def test_where_many_parameters_open_on_batches_that_is_said() -> None:
    """Although a matrix of all rows could be factorised."""
    net = nn.Sequential(nn.Linear(20, 500), nn.Tanh(), nn.Linear(500, 1)).double()
    planned = gd.plan(net, normal(400, 20), normal(400, 1))
    assert [stage.lift for stage in planned.stages].count("sketched") == 1
    assert "batches of 128 of 400 samples" in " ".join(str(planned).split())


@pytest.mark.slow
def test_layers_say_how_they_enter() -> None:
    planned = gd.plan(*CALLS["convolutions"]()[0])
    assert [(layer.name, layer.n_params, layer.how, layer.positions) for layer in planned.layers] == [
        ("0 (Conv2d)", 30, "by rule", 36),
        ("2 (Conv2d)", 112, "by rule", 16),
        ("5 (Linear)", 195, "by rule", 1),
    ]
    recurrent = gd.plan(*CALLS["an LSTM"]()[0]).layers
    assert [(layer.n_params, layer.how, layer.positions) for layer in recurrent] == [
        (14, "by rule", 1),
        (96, "by rule", 5),
        (168, "by rule", 5),
    ]
    own = gd.plan(Waves(), normal(20, 2), normal(20, 2)).layers
    assert {layer.how: layer.n_params for layer in own} == {"by rule": 6, "by autograd": 2}
    assert sum(layer.n_params for layer in gd.plan(two_blocks()).layers) >= 25
    normed = nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1)).double()
    layers = gd.plan(normed, normal(20, 2), normal(20, 1)).layers
    assert [layer.n_params for layer in layers if "LayerNorm" in layer.name] == [10]


@pytest.mark.slow
def test_memory_counts_the_matrix() -> None:
    small, large = (gd.plan(mlp(2, 300, 1), normal(n, 2), normal(n, 1)).stages[-1].step for n in (50, 500))
    assert small.memory_bytes is not None and large.memory_bytes is not None
    assert large.memory_bytes > 5 * 8 * 500**2 > small.memory_bytes


@pytest.mark.slow
def test_a_problem_says_what_it_is() -> None:
    planned = gd.plan(two_blocks())
    assert (planned.n_samples, planned.n_outputs, planned.n_residuals) == (30 + 25, 1, 55)
    assert gd.plan(formula()).layers[0].name == "all parameters"
    assert "start of the network first" in gd.plan(poisson()).notes[-1]


# --- nothing is changed, and refusals -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("a formula", "two blocks", "equations")])
def test_the_model_is_as_it_was(name: str) -> None:
    args, settings = CALLS[name]()
    before = Snapshot(args[0])
    gd.plan(*args, **settings)
    before.assert_unchanged()


def test_batch_averages_and_frozen_parameters_are_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)).double().eval()
    model[0].bias.requires_grad_(False)
    x, y = normal(20, 3), normal(20, 1)
    before = Snapshot(model)
    assert gd.plan(model, x, y).n_params == 24 + 16 + 9
    before.assert_unchanged()


def test_nothing_is_changed_by_a_plan_that_fails() -> None:
    model, x, y = mlp(2, 5, 1), normal(10, 2), normal(10, 1)
    infinite = nn.Sequential(model, Reciprocal())
    before = Snapshot(model)
    with pytest.raises(gd.InputError):
        gd.plan(model, x, normal(10, 3))
    before = Snapshot(model)
    with pytest.raises(gd.InputError, match="cost at the start"):
        gd.plan(infinite, 0.0 * x, y)
    before.assert_unchanged()


def test_wrong_questions() -> None:
    model, x, y = mlp(2, 5, 1), normal(10, 2), normal(10, 1)
    with pytest.raises(gd.InputError, match=r"leave stop= out, gd\.plan\(model, loader\)"):
        gd.plan(model, loader(), stop="validation")
    with pytest.raises(gd.InputError, match="stop must be"):
        gd.plan(model, x, y, stop="never")  # type: ignore[arg-type]
    with pytest.raises(gd.InputError, match="max_seconds"):
        gd.plan(model, x, y, max_seconds=-1.0)
    with pytest.raises(gd.InputError, match="method must be"):
        gd.plan(model, x, y, method="gram")  # type: ignore[arg-type]
    with pytest.raises(gd.InputError, match=r"gd\.plan has no max_steps="):
        gd.plan(model, x, y, max_steps=3)  # type: ignore[call-arg]
    with pytest.raises(gd.InputError, match="missing"):
        gd.plan(model, x)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.enable_grad])
def test_gradients_switched_off_change_nothing(surroundings: Callable[[], Any]) -> None:
    model, x, y = mlp(2, 20, 1), normal(30, 2), normal(30, 1)
    with surroundings():
        planned = gd.plan(model, x, y)
    assert isinstance(planned, Plan) and planned.lift == "gram"


def test_what_does_not_fit_into_memory_is_not_factorised() -> None:
    with spending(Budget(free_bytes=3_000_000)):
        planned = gd.plan(mlp(2, 100, 1), normal(300, 2), normal(300, 1))
        assert planned.lift == "krylov" and "GB" in planned.stages[-1].why
