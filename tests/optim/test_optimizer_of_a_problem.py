"""The optimizer of a whole problem, and by stages: the iterates of `fit` on several blocks of rows."""

import copy
from dataclasses import replace

import pytest
import torch
from support.steps import EXACT, F64, Watched, deep, problem, theta_of
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import Stages, planned_stages
from geodescent.optim import GeoDescent

STEPS = 6


def path_of_fit(whole: gd.Problem, stages: Stages) -> list[Tensor]:
    """θ after each of the first steps of `fit`."""
    trials, path = list[Tensor](), list[Tensor]()
    watched = tuple(replace(stage, control=Watched(stage.control, trials)) for stage in stages)
    gd.fit(whole, max_steps=STEPS, method=watched, callback=lambda record: path.append(trials[-1]))
    assert len(path) == STEPS
    return path


def blocks_of(model: nn.Module, x: Tensor, y: Tensor) -> gd.Problem:
    """Weighted samples, the rest of the samples, and a small penalty on all parameters."""
    k = sum(p.numel() for p in model.parameters())
    size = gd.FunctionMap(lambda theta: theta, theta_of(model))
    weights = torch.linspace(0.5, 2.0, 40, dtype=F64)
    return gd.Problem(
        (
            gd.RowBlock("first", gd.SampleMap(model, x[:40]), y[:40], weights=weights),
            gd.RowBlock("rest", gd.SampleMap(model, x[40:]), y[40:], weight=2.0),
            gd.RowBlock("size", size, torch.zeros(k, dtype=F64), weight=1e-3),
        )
    )


def cost_of_blocks(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """C by another path: the three blocks' means, each with its weight."""
    squares, theta = (model(x).detach() - y).square()[:, 0], theta_of(model)
    weights = torch.linspace(0.5, 2.0, 40, dtype=F64)
    first = float((weights * squares[:40]).sum() / weights.sum())
    return 0.5 * (first + 2.0 * float(squares[40:].mean()) + 1e-3 * float(theta.square().mean()))


def test_steps_on_several_blocks_are_those_of_fit() -> None:
    model, x, y = problem()
    twin = copy.deepcopy(model)
    whole = blocks_of(twin, x, y)
    path = path_of_fit(whole, planned_stages(whole))
    optimizer = GeoDescent(blocks_of(model, x, y))
    assert [p is q for p, q in zip(optimizer.param_groups[0]["params"], model.parameters(), strict=True)] == [True] * 4
    for theta in path:
        before = cost_of_blocks(model, x, y)
        assert optimizer.step() == pytest.approx(before, rel=1e-12)
        assert float((theta_of(model) - theta).abs().max()) <= EXACT


def decay(theta: Tensor) -> Tensor:
    """A curve of three parameters, seen at twelve times."""
    times = torch.linspace(0.0, 2.0, 12, dtype=F64)
    return theta[0] * torch.exp(-theta[1] * times) + theta[2]


def curve() -> gd.Problem:
    target = decay(torch.tensor([2.0, 1.5, 0.3], dtype=F64))
    target = target + 0.01 * torch.sin(torch.arange(12, dtype=F64))  # so that the fit ends above zero cost
    start = torch.tensor([1.0, 1.0, 0.0], dtype=F64)
    return gd.Problem((gd.RowBlock("curve", gd.FunctionMap(decay, start), target),))


def test_a_formula_has_one_parameter_that_shows_theta() -> None:
    """It shares the memory of θ, and the end is that of `fit`."""
    fitted, whole = curve(), curve()
    solution = gd.fit(fitted)
    optimizer = GeoDescent(whole)
    (shown,) = optimizer.param_groups[0]["params"]
    for _ in range(60):
        optimizer.step()
        assert torch.equal(shown, whole.theta)
        if optimizer.result is not None:
            break
    assert optimizer.result is solution.result
    assert float((whole.theta - solution.theta).abs().max()) <= EXACT


class Copied:
    """The map of a formula whose θ is a tensor of its own after every write."""

    def __init__(self) -> None:
        self.inner = gd.FunctionMap(decay, torch.tensor([1.0, 1.0, 0.0], dtype=F64))
        self.shape, self.dtype, self.device = self.inner.shape, F64, self.inner.device
        self.theta = self.inner.theta.clone()

    def __call__(self, theta: Tensor) -> Tensor:
        return self.inner(theta)

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
        dense = self.inner.linearise(theta)[1].dense()
        return self(theta), gd.MatrixJacobian((lambda v: dense @ v, lambda u: dense.T @ u), shape=(12, 3))

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return self.inner.second_derivative(theta, direction)

    def write(self, theta: Tensor) -> None:
        self.theta = theta.clone()


def test_a_map_of_ones_own_is_stepped_and_its_theta_is_shown() -> None:
    formula, own = curve(), gd.Problem((replace(curve().blocks[0], map=Copied()),))
    optimizers = [GeoDescent(formula), GeoDescent(own)]
    for _ in range(5):
        costs = [optimizer.step() for optimizer in optimizers]
        assert costs[0] == pytest.approx(costs[1], rel=1e-9)
    assert torch.allclose(formula.theta, own.theta, rtol=1e-9)
    assert torch.equal(optimizers[1].param_groups[0]["params"][0].detach(), own.theta)


def test_a_saved_optimizer_of_a_formula_goes_on_as_it_would_have() -> None:
    """Its damping too: an optimizer without the saved state goes another way from the same point."""
    whole, other, forgetful = curve(), curve(), curve()
    method = gd.Method(control=gd.GainRatio())
    optimizer = GeoDescent(whole, method=method)
    optimizer.step()
    loaded = GeoDescent(other, method=method)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.write(whole.theta)
    forgetful.write(whole.theta)
    assert optimizer.step() == loaded.step() == GeoDescent(forgetful, method=method).step()
    assert torch.equal(whole.theta, other.theta)
    assert not torch.equal(whole.theta, forgetful.theta)


def test_a_copy_of_an_optimizer_steps_a_problem_of_its_own() -> None:
    whole = curve()
    optimizer = GeoDescent(whole)
    optimizer.step()
    before, twin = whole.theta, copy.deepcopy(optimizer)
    twin.step()
    assert torch.equal(whole.theta, before)
    optimizer.step()
    assert torch.equal(whole.theta, twin.model.theta)
    assert torch.equal(twin.param_groups[0]["params"][0], twin.model.theta)


def test_a_copy_of_an_optimizer_of_modules_moves_the_copied_modules() -> None:
    model, x, y = problem()
    optimizer = GeoDescent(blocks_of(model, x, y))
    optimizer.step()
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    before = theta_of(model)
    optimizer2.step()
    assert torch.equal(theta_of(model), before)
    optimizer.step()
    assert torch.equal(theta_of(model), theta_of(model2)) and not torch.equal(theta_of(model), before)


def test_stages_of_ones_own_take_their_turns() -> None:
    """Two steps by the gain ratio along straight lines, then natural control: as `fit` by the same stages."""
    model, x, y = problem()
    twin = copy.deepcopy(model)
    whole = gd.Problem.of(twin, x, y)
    source = gd.FixedSource(whole)
    stages = (
        gd.Stage(source, gd.KrylovLift(), gd.EulerWalk(), gd.GainRatio(), (gd.AfterSteps(2),)),
        gd.Stage(source, gd.GramLift(), gd.GeodesicWalk(), gd.NaturalControl()),
    )
    path, indices = path_of_fit(whole, stages), list[int]()
    own = gd.Problem.of(model, x, y)
    optimizer = GeoDescent(own, method=tuple(replace(stage, source=gd.FixedSource(own)) for stage in stages))
    for theta in path:
        optimizer.step()
        indices.append(optimizer.state_dict()["state"][0]["numbers"]["stage"])
        assert float((theta_of(model) - theta).abs().max()) <= EXACT
    assert indices == [0, 1, 1, 1, 1, 1]


def test_the_step_size_of_a_walk_is_where_lr_begins() -> None:
    model, x, y = problem()
    half = gd.Method(walk=gd.EulerWalk(0.5), control=gd.GainRatio())
    assert GeoDescent(model, method=half).param_groups[0]["lr"] == 0.5
    own = gd.Problem.of(model, x, y)
    stage = gd.Stage(gd.FixedSource(own), gd.GramLift(), gd.EulerWalk(0.25), gd.GainRatio())
    assert GeoDescent(own, method=stage).param_groups[0]["lr"] == 0.25
    assert GeoDescent(model).param_groups[0]["lr"] == 1.0


def test_stages_that_an_optimizer_would_not_use_are_refused() -> None:
    model, x, y = problem()
    own, other = gd.Problem.of(model, x, y), gd.Problem.of(model, x[:5], y[:5])
    source = gd.FixedSource(own)
    last = gd.Stage(source, gd.GramLift(), gd.EulerWalk(), gd.GainRatio())
    first = replace(last, leave=(gd.AfterSteps(1),))
    for given, stages in (
        (model, last),
        (own, replace(last, source=gd.FixedSource(other))),
        (own, (replace(first, source=gd.PartSource(source, other)), last)),
    ):
        with pytest.raises(gd.InputError, match=r"stages bring their own sources: pass the problem that every stage"):
            GeoDescent(given, method=stages)
    with pytest.raises(gd.InputError, match=r"step sizes \[0\.5, 1\.0\], and an optimizer has one lr"):
        GeoDescent(own, method=(replace(first, walk=gd.EulerWalk(0.5)), last))


def test_what_a_problem_brings_is_not_given_again() -> None:
    model, x, y = deep()
    whole = gd.Problem.of(model, x, y)
    with pytest.raises(gd.InputError, match="brings its own data: call step"):
        GeoDescent(whole).step(x, y)
    with pytest.raises(gd.InputError, match="brings its own data: call step"):
        GeoDescent(whole).step(lambda: model(x) - y)
    with pytest.raises(gd.InputError, match=r"leave params out, GeoDescent\(problem\)"):
        GeoDescent(whole, model.parameters())
    with pytest.raises(gd.InputError, match="that is no parameter of the model"):
        GeoDescent(whole).add_param_group({"params": nn.Linear(3, 1).parameters()})


def test_a_parameter_frozen_after_the_problem_was_made_is_refused() -> None:
    """The θ of a problem is what required grad when it was made."""
    model, x, y = deep()
    optimizer = GeoDescent(gd.Problem.of(model, x, y))
    optimizer.step()
    before = theta_of(model)
    model[0].requires_grad_(False)
    with pytest.raises(gd.InputError, match="2 of 6 parameters of the problem no longer require grad"):
        optimizer.step()
    assert torch.equal(theta_of(model), before)
