"""The optimizer: the iterates of `fit` one at a time, in loops, in Lightning, across save and load."""

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

import geodescent as gd
from geodescent._errors import JacobianError
from geodescent.descent import Control, Linearised, PlannedControl, PlannedWalk, Standing, Trial, Walk
from geodescent.optim import GeoDescent
from geodescent.outputs import ClosureMap, ClosureRoutes, ModelFunction, parameters_of

F64 = torch.float64
STEPS = 10
EXACT = 1e-12


def problem(n: int = 60, hidden: int = 16, dtype: torch.dtype = F64) -> tuple[nn.Module, Tensor, Tensor]:
    """Diabetes, K > m: full rank and well conditioned, so that twelve digits of an iterate mean something."""
    torch.manual_seed(0)
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x[:n]), torch.as_tensor(y[:n])[:, None]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 1)).to(dtype), x.to(dtype), y.to(dtype)


def theta_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """C by another path than the library's."""
    return 0.5 * float((model(x).detach() - y).square().sum()) / len(x)


@dataclass(frozen=True)
class Watched:
    """A control that notes where its steps lead: the path of `fit`, which keeps the best point only."""

    inner: Control = field(default_factory=PlannedControl)
    path: list[Tensor] = field(default_factory=list)

    @property
    def initial_damping(self) -> float:
        return self.inner.initial_damping

    def step(self, here: Linearised, walk: Walk, standing: Standing) -> Trial | None:
        trial = self.inner.step(here, walk, standing)
        self.path.extend([] if trial is None else [trial.theta])
        return trial

    def restart(self, here: Linearised, count: int) -> float | None:
        return self.inner.restart(here, count)


def path_of_fit(model: nn.Module, x: Tensor, y: Tensor, walk: Walk | None = None) -> list[Tensor]:
    """θ after each of the first ten steps of `fit`."""
    watched = Watched()
    gd.fit(copy.deepcopy(model), x, y, max_steps=STEPS, method=gd.Method(control=watched, walk=walk or PlannedWalk()))
    assert len(watched.path) == STEPS
    return watched.path


def assert_on_path(models: Iterator[nn.Module], path: list[Tensor]) -> None:
    for model, theta in zip(models, path, strict=True):
        assert float((theta_of(model) - theta).abs().max()) <= EXACT


Step = Callable[[GeoDescent, nn.Module, Tensor, Tensor], float]
STEP: dict[str, Step] = {
    "X, y": lambda optimizer, model, x, y: optimizer.step(x, y),
    "outputs, targets": lambda optimizer, model, x, y: optimizer.step(lambda: (model(x), y)),
    "residuals": lambda optimizer, model, x, y: optimizer.step(lambda: model(x) - y),
    "keyword": lambda optimizer, model, x, y: optimizer.step(closure=lambda: [model(x), y]),
}


# --- the iterates of fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_ten_steps_are_those_of_fit(step: Step) -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)

    def walked() -> Iterator[nn.Module]:
        for _ in range(STEPS):
            before = cost_of(model, x, y)
            assert step(optimizer, model, x, y) == pytest.approx(before, rel=1e-12)
            assert optimizer.result is None
            yield model

    assert_on_path(walked(), path)


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_the_end_is_that_of_fit(step: Step) -> None:
    model, x, y = problem()
    solution = gd.fit(fitted := copy.deepcopy(model), x, y)
    optimizer = GeoDescent(model)
    for _ in range(60):
        step(optimizer, model, x, y)
        if optimizer.result is not None:
            break
    assert optimizer.result is solution.result is gd.Result.rounding_floor
    assert float((theta_of(model) - theta_of(fitted)).abs().max()) <= EXACT
    assert cost_of(model, x, y) <= 1e-26


def test_another_method_is_walked_too() -> None:
    model, x, y = problem()
    method = gd.Method(lift=gd.NormalLift(), walk=gd.EulerWalk(), control=gd.GainRatio())
    solution = gd.fit(fitted := copy.deepcopy(model), x, y, max_steps=5, method=method)
    optimizer = GeoDescent(model, method=method)
    for _ in range(5):
        optimizer.step(x, y)
    assert solution.steps == 5
    assert float((theta_of(model) - theta_of(fitted)).abs().max()) <= EXACT


def test_a_critical_point_is_said_and_left_alone() -> None:
    model, x, y = problem(40)
    model = nn.Linear(10, 1).double()
    optimizer = GeoDescent(model)
    while optimizer.result is None:
        optimizer.step(x, y)
    assert optimizer.result is gd.Result.stationary
    found = torch.cat([model.weight, model.bias[:, None]], 1).detach()
    best = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1), y).solution.T
    assert float((found - best).abs().max()) <= 1e-5  # the promised fall is 1e-12 of C
    found = theta_of(model)
    optimizer.step(x, y)
    assert torch.equal(theta_of(model), found)


# --- save and load, copies, schedulers ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_a_save_and_load_goes_on_along_the_path(step: Step) -> None:
    """The weights, and the optimizer's state through a file that unpickles nothing."""
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)

    def walked() -> Iterator[nn.Module]:
        model_now, optimizer_now = model, optimizer
        for _ in range(STEPS):
            step(optimizer_now, model_now, x, y)
            yield model_now
            file = io.BytesIO()
            torch.save({"model": model_now.state_dict(), "optimizer": optimizer_now.state_dict()}, file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            model_now = problem()[0]
            model_now.load_state_dict(saved["model"])
            optimizer_now = GeoDescent(model_now)
            optimizer_now.load_state_dict(saved["optimizer"])

    assert_on_path(walked(), path)


def test_copies_go_on_along_the_path_each_with_its_model() -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y)
    optimizer = GeoDescent(model)
    for _ in range(4):
        optimizer.step(x, y)
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    alone = copy.deepcopy(optimizer)
    assert optimizer2.model is model2
    assert alone.model is not model

    def walked() -> Iterator[nn.Module]:
        for _ in range(4, STEPS):
            optimizer2.step(x, y)
            alone.step(lambda: (alone.model(x), y))
            assert float((theta_of(alone.model) - theta_of(model2)).abs().max()) <= EXACT
            yield model2

    assert_on_path(walked(), path[4:])
    assert torch.equal(theta_of(model), path[3])


def test_a_state_dict_is_not_changed_by_later_steps() -> None:
    model, x, y = problem()
    optimizer = GeoDescent(model)
    optimizer.step(x, y)
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    optimizer.step(x, y)
    assert saved["state"][0]["step"] == before["state"][0]["step"] == 1
    assert torch.equal(saved["state"][1]["best"], before["state"][1]["best"])
    assert optimizer.state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("lr", [0.7, 1.0])
def test_lr_is_the_step_size_of_the_walk(lr: float) -> None:
    model, x, y = problem(200)
    path = path_of_fit(model, x, y, PlannedWalk(lr))
    optimizer = GeoDescent(model, [{"params": model.parameters(), "lr": lr}])
    assert_on_path((model for _ in path if optimizer.step(x, y) > 0.0), path)


def test_a_scheduler_changes_the_step_size() -> None:
    """After one step at h = 1 the same state is walked with h = 1 and with h = ½: half the displacement."""
    model, x, y = problem()
    optimizer = GeoDescent(model, method=gd.Method(walk=gd.EulerWalk(), control=gd.GainRatio()))
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step(x, y)
    start = theta_of(model)
    full_model, full = copy.deepcopy((model, optimizer))
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.step(x, y)
    full.step(x, y)
    half, whole = theta_of(model) - start, theta_of(full_model) - start
    assert torch.allclose(half, 0.5 * whole, rtol=0.0, atol=1e-14)


def test_a_step_size_of_zero_stands_still() -> None:
    model, x, y = problem()
    optimizer = GeoDescent(model)
    scheduler = LambdaLR(optimizer, lambda epoch: float(epoch > 0))
    start, expected = theta_of(model), cost_of(model, x, y)
    assert optimizer.step(x, y) == pytest.approx(expected)
    assert torch.equal(theta_of(model), start)
    scheduler.step()
    optimizer.step(x, y)
    assert cost_of(model, x, y) < expected


# --- groups, other parameters, batches ------------------------------------------------------------------------------


def deep() -> tuple[nn.Sequential, Tensor, Tensor]:
    _, x, y = problem()
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return model, x, y


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_what_is_not_given_or_frozen_stays_bit_for_bit(step: Step) -> None:
    """A layer of another optimizer, a frozen group, and the path of `fit` on a model frozen in the same places."""
    model, x, y = deep()
    model[2].requires_grad_(False)
    frozen = copy.deepcopy(model)
    frozen[0].requires_grad_(False)
    path = Watched()
    gd.fit(frozen, x, y, max_steps=4, method=gd.Method(control=path))
    optimizer = GeoDescent(model, [{"params": model[4].parameters()}, {"params": model[2].parameters()}])
    still = theta_of(model[:4])
    for theta in path.path[:4]:
        step(optimizer, model, x, y)
        assert torch.equal(theta_of(model[:4]), still)
        assert float((theta_of(model[4]) - theta).abs().max()) <= EXACT
    assert all(p.grad is None for p in model.parameters())


def test_two_optimizers_share_a_model() -> None:
    """Ours moves the last layer alone, to its least squares; the gradients of the other optimizer are left alone."""
    model, x, y = deep()
    ours, theirs = GeoDescent(model, model[4].parameters()), torch.optim.SGD(model[:4].parameters(), lr=1e-3)
    for _ in range(5):
        (model(x) - y).square().mean().backward()
        grads, before = [p.grad.clone() for p in model.parameters() if p.grad is not None], cost_of(model, x, y)
        ours.step(x, y)
        assert cost_of(model, x, y) < before
        assert all(torch.equal(a, b.grad) for a, b in zip(grads, model.parameters(), strict=True) if b.grad is not None)
        theirs.step()
        model.zero_grad()


def test_a_group_thawed_on_the_way_takes_part() -> None:
    model, x, y = deep()
    model[0].requires_grad_(False)
    optimizer = GeoDescent(model, [{"params": layer.parameters()} for layer in (model[0], model[2], model[4])])
    optimizer.step(x, y)
    before = theta_of(model[0])
    model[0].requires_grad_(True)
    optimizer.step(x, y)
    assert not torch.equal(theta_of(model[0]), before)


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_a_step_is_judged_on_its_own_batch(step: Step) -> None:
    model, x, y = problem(90)
    optimizer = GeoDescent(model, method=gd.Method(control=gd.GainRatio()))
    first = cost_of(model, x, y)
    for k in range(12):
        batch = slice(0, 40) if k % 2 else slice(40, 90)
        before = cost_of(model, x[batch], y[batch])
        assert step(optimizer, model, x[batch], y[batch]) == pytest.approx(before, rel=1e-9)
        after = cost_of(model, x[batch], y[batch])
        assert optimizer.result is not None or after < before
    assert cost_of(model, x, y) < first


def test_a_first_batch_that_was_not_finite_does_no_lasting_harm() -> None:
    model, x, y = problem()
    optimizer, spoilt = GeoDescent(model), x.clone()
    spoilt[0, 0] = torch.nan
    optimizer.step(lambda: model(spoilt) - y)
    assert optimizer.result is gd.Result.nonfinite
    other, _, _ = problem()
    fresh = GeoDescent(other)
    for _ in range(5):
        optimizer.step(x, y)
        fresh.step(x, y)
    assert torch.equal(theta_of(model), theta_of(other))


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_another_precision_begins_anew(step: Step) -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer = GeoDescent(model)
    for _ in range(60):
        step(optimizer, model, x, y)
        if optimizer.result is not None:
            break
    floor = cost_of(model, x, y)
    saved = optimizer.state_dict()
    model.double()
    loaded = GeoDescent(model)
    loaded.load_state_dict(saved)
    for one in (optimizer, loaded):
        for _ in range(2):
            step(one, model, x.double(), y.double())
            assert one.result is None
    assert cost_of(model, x.double(), y.double()) < 1e-9 * floor


def test_momentum_in_single_precision_survives_a_save_and_load() -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer = GeoDescent(model, method=gd.Method(control=gd.Spring()))
    optimizer.step(x, y)
    other = GeoDescent(model, method=gd.Method(control=gd.Spring()))
    other.load_state_dict(optimizer.state_dict())
    before = cost_of(model, x, y)
    other.step(x, y)
    assert cost_of(model, x, y) < before


def test_the_routes_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = problem()
    optimizer = GeoDescent(model)
    optimizer.step(x, y)
    monkeypatch.setattr(gd.outputs._sample_map, "find_routes", None)
    optimizer.step(x[:30], y[:30])
    with pytest.raises(TypeError):
        optimizer.step((x,), y)


# --- closures of every kind -----------------------------------------------------------------------------------------


class TimeFirst(nn.Module):
    """A layer that sees the samples on its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(2, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(x.unflatten(1, (5, 2)).transpose(0, 1))).mean(0))


class Scaled(nn.Module):
    """A parameter that no rule accounts for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(10, 3), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.inner(x)) * self.scale


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv1d(1, 3, 4), nn.GroupNorm(3, 3), nn.Linear(21, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.norm(self.conv(x[:, None]))).flatten(1))


class Grid(nn.Module):
    """A layer that is called on points of its own, as many as there are samples in no way."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.grid = nn.Linear(10, 3), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        points = torch.linspace(-1.0, 1.0, 7, dtype=x.dtype)[:, None]
        return torch.tanh(self.head(x)) @ torch.tanh(self.grid(points)).T


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 1))


def inner_derivative(model: nn.Module, x: Tensor) -> Tensor:
    """A differential equation's residual: it takes derivatives itself."""
    x = x.clone().requires_grad_(True)
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return slope.sum(1) - u[:, 0]


CLOSURES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], set[str]]] = {
    "plain": (small, lambda model, x: model(x), set()),
    "time first": (TimeFirst, lambda model, x: model(x), set()),
    "a free parameter": (Scaled, lambda model, x: model(x), {"scale"}),
    "convolution": (Conv, lambda model, x: model(x), set()),
    "twice": (small, lambda model, x: model(x) * model(2.0 * x), set()),
    "rows sample by sample": (small, lambda model, x: model(torch.stack([x, -x], 1).flatten(0, 1)).view(-1, 2), set()),
    "rows copy by copy": (small, lambda model, x: model(torch.cat([x, -x])).view(2, -1).T, {"0.weight", "2.weight"}),
    "neighbours": (
        small,
        lambda model, x: model(x) - model(x).roll(1, 0),
        {"0.weight", "0.bias", "2.weight"},
    ),
    "inner derivative": (small, inner_derivative, {"0.weight", "2.weight"}),
    "a layer on a grid": (Grid, lambda model, x: model(x), {"grid.weight", "grid.bias"}),
    "by hand": (small, lambda model, x: torch.sin(x @ model[0].weight.T) + 0.1 * model(x), {"0.weight"}),
}


@pytest.mark.parametrize("name", CLOSURES)
def test_the_jacobian_of_a_closure_is_autograds(name: str) -> None:
    """Row by row, as autograd gives it; the parameters whose guessed layout is wrong go through rows."""
    make, outputs, expected_rest = CLOSURES[name]
    torch.manual_seed(3)
    model, x = make().double(), torch.randn(6, 10, dtype=F64)
    asked = closure_map(model, lambda: outputs(model, x))
    found, jacobian = asked.linearise()
    parameters = list(model.parameters())
    own = outputs(model, x)
    rows = [torch.autograd.grad(e, parameters, retain_graph=True, allow_unused=True) for e in own.reshape(-1)]
    parts = [[torch.zeros_like(p) if g is None else g for g, p in zip(row, parameters, strict=True)] for row in rows]
    expected = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in parts])
    assert torch.allclose(found.reshape(-1), own.detach().reshape(-1), rtol=1e-14, atol=1e-14)
    assert torch.allclose(jacobian.dense(), expected, rtol=1e-11, atol=1e-12)
    (plan,) = asked._routes.plans.values()
    assert expected_rest <= set(plan.rest)
    assert expected_rest or not plan.rest
    assert name != "a layer on a grid" or expected_rest == set(plan.rest)
    assert torch.allclose(asked.linearise()[1].dense(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", CLOSURES)
def test_the_second_derivative_of_a_closure_is_a_second_difference(name: str) -> None:
    """By its rate: halving the length cuts the difference's own error four times."""
    make, outputs, _ = CLOSURES[name]
    torch.manual_seed(3)
    model, x = make().double(), torch.randn(6, 10, dtype=F64)
    asked = closure_map(model, lambda: outputs(model, x))
    theta, v = asked.theta, torch.randn(asked.n_params, dtype=F64)
    exact = asked.second_derivative(theta, v)

    def error(h: float) -> float:
        difference = (asked(theta + h * v) - 2.0 * asked(theta) + asked(theta - h * v)) / h**2
        return float((difference - exact).norm())

    assert 3.5 < error(2e-2) / error(1e-2) < 4.5


def test_the_second_derivative_is_that_of_the_sample_map() -> None:
    model, x, _ = problem()
    asked, sample_map = closure_map(model, lambda: model(x)), gd.SampleMap(model, x)
    v = torch.randn(asked.n_params, dtype=F64)
    ours, theirs = asked.second_derivative(asked.theta, v), sample_map.second_derivative(asked.theta, v)
    assert float((ours - theirs).abs().max()) <= 1e-13 * float(theirs.abs().max())


class Once(torch.autograd.Function):
    """tanh, made to be differentiated once: autograd takes its derivative for a constant, without a word."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        value = torch.tanh(z)
        ctx.slope = (1.0 - value.square()).detach()
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g.detach() * ctx.slope


def test_an_operation_of_one_derivative_gets_the_difference_instead() -> None:
    model, x, _ = problem()
    honest = closure_map(model, lambda: torch.tanh(model(x)))
    once = closure_map(model, lambda: Once.apply(model(x)))
    once.linearise()
    v = torch.randn(once.n_params, dtype=F64)
    ours, theirs = once.second_derivative(once.theta, v), honest.second_derivative(honest.theta, v)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def closure_map(model: nn.Module, closure: Callable[[], Any]) -> ClosureMap:
    own = next(model.parameters())
    return ClosureMap(ClosureRoutes(ModelFunction(model, parameters_of(model), None, own.dtype, own.device)), closure)


# --- Lightning ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lightning() -> Iterator[Any]:
    """Its own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_lightning

        yield pytorch_lightning


def lit(lightning: Any, net: nn.Module, path: list[Tensor], *, automatic: bool = False) -> Any:
    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.automatic_optimization = automatic

        def training_step(self, batch: list[Tensor], index: int) -> Any:
            x, y = batch
            if automatic:
                return (self.net(x) - y).square().mean()
            cost = self.optimizers().step(lambda: (self.net(x), y))
            self.log("cost", cost)
            path.append(theta_of(self.net))
            return None

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return GeoDescent(self)

    return Lit()


def train(lightning: Any, module: Any, x: Tensor, y: Tensor, epochs: int, ckpt: Any = None) -> Any:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **quiet)
        trainer.fit(module, loader, ckpt_path=ckpt)
    return trainer


def test_lightning_walks_the_path_of_fit_also_across_a_checkpoint(lightning: Any, tmp_path: Any) -> None:
    model, x, y = problem(200)
    expected, path = path_of_fit(model, x, y), list[Tensor]()
    trainer = train(lightning, lit(lightning, copy.deepcopy(model), path), x, y, 5)
    assert float(trainer.callback_metrics["cost"]) > 0.0
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    train(lightning, lit(lightning, problem()[0], path), x, y, STEPS, tmp_path / "half.ckpt")
    assert len(path) == STEPS
    assert max(float((a - b).abs().max()) for a, b in zip(path, expected, strict=True)) <= EXACT


def test_lightnings_automatic_optimisation_is_refused_with_the_way_out(lightning: Any) -> None:
    model, x, y = problem()
    with pytest.raises(gd.InputError, match=r"single number, a loss.*automatic_optimization = False"):
        train(lightning, lit(lightning, model, [], automatic=True), x, y, 1)


# --- refusals, and what is left as found ----------------------------------------------------------------------------


class Noisy(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), 1, dtype=F64)


REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor, Tensor], Any], str]] = {
    "loss": (lambda m, x, y: (m(x) - y).square().mean(), r"single number, a loss.*Return \(outputs, targets\)"),
    "nothing": (lambda m, x, y: None, "returned a NoneType, not tensors"),
    "three": (lambda m, x, y: (m(x), y, y), "returned a tuple of 3, not tensors"),
    "detached": (lambda m, x, y: m(x).detach() - y, "depend on none of the optimizer's parameters"),
    "broadcast": (lambda m, x, y: (m(x), y.T), r"shape \(1, 60\).*one row for each sample"),
    "fewer targets": (lambda m, x, y: (m(x), y[:50]), r"60 samples and y has shape \(50, 1\)"),
    "dtype": (lambda m, x, y: m(x).float() - y.float(), "torch.float32 on cpu and the parameters are torch.float64"),
    "random": (lambda m, x, y: m(x) + torch.randn_like(y), "draws random numbers"),
    "no samples": (lambda m, x, y: m(x[:0]), "no samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_closure_that_cannot_be_fitted_is_refused(name: str) -> None:
    model, x, y = problem()
    said, sentence = REFUSED[name]
    start, state = theta_of(model), torch.get_rng_state()
    with pytest.raises(gd.InputError if name != "random" else JacobianError, match=sentence):
        GeoDescent(model).step(lambda: said(model, x, y))
    assert torch.equal(theta_of(model), start)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_closure_that_uses_none_of_the_given_parameters_is_refused() -> None:
    """Though it has a graph, of parameters that belong to somebody else."""
    model, x, y = problem()
    optimizer = GeoDescent(model, model[2].parameters())
    with pytest.raises(gd.InputError, match="depend on none of the optimizer's parameters"):
        optimizer.step(lambda: (model[0](x).sum(1, keepdim=True), y))


def test_a_closure_that_draws_its_batch_is_refused_and_the_parameters_are_put_back() -> None:
    model, x, y = problem()
    batches = iter(range(0, 50))
    start = theta_of(model)

    def closure() -> tuple[Tensor, Tensor]:
        k = next(batches)
        return model(x[k : k + 10]), y[k : k + 10]

    with pytest.raises(gd.InputError, match="every call of one step must see the same batch"):
        GeoDescent(model).step(closure)
    assert torch.equal(theta_of(model), start)


def test_an_interrupt_puts_the_parameters_back() -> None:
    model, x, y = problem()
    start, calls = theta_of(model), []

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return model(x) - y

    with pytest.raises(KeyboardInterrupt):
        GeoDescent(model).step(closure)
    assert torch.equal(theta_of(model), start)


@pytest.mark.parametrize("layer", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(10).double()])
@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_layers_that_mix_or_draw_are_refused_in_training_mode_alone(layer: Callable[[], nn.Module], step: Step) -> None:
    model, x, y = problem()
    model = nn.Sequential(layer(), model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(JacobianError, match=r"Call model.eval\(\)"):
        step(GeoDescent(model), model, x, y)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    model.eval()
    assert step(GeoDescent(model), model, x, y) > cost_of(model, x, y)


def test_the_constructor_and_the_step_say_what_they_need() -> None:
    model, x, y = problem()
    with pytest.raises(gd.InputError, match="the first argument is the model, not generator"):
        GeoDescent(model.parameters())  # type: ignore[arg-type]
    with pytest.raises(gd.InputError, match=r"shape \(1, 3\) that is no parameter of the model \(Sequential\)"):
        GeoDescent(model, nn.Linear(3, 1).parameters())
    with pytest.raises(gd.InputError, match=r"method must be a gd\.Method"):
        GeoDescent(model, method="lm")  # type: ignore[arg-type]
    optimizer = GeoDescent(model)
    with pytest.raises(gd.InputError, match=r"given nothing: call step\(X, y\), or step\(closure\)"):
        optimizer.step()  # type: ignore[call-overload]
    with pytest.raises(gd.InputError, match="given X alone"):
        optimizer.step(x)  # type: ignore[call-overload]
    with pytest.raises(gd.InputError, match=r"y has shape \(1, 60\)"):
        optimizer.step(x, y.T)
    with pytest.raises(gd.InputError, match="one_hot"):
        wide = nn.Linear(10, 3).double()
        GeoDescent(wide).step(lambda: (wide(x), torch.arange(60) % 3))
    model.requires_grad_(False)
    with pytest.raises(gd.InputError, match=r"requires grad: there is nothing to fit"):
        optimizer.step(x, y)


def test_groups_of_different_lr_are_refused() -> None:
    model, x, y = problem()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}]
    with pytest.raises(gd.InputError, match=r"lr = \[0.5, 1.0\]: all parameters take one step together"):
        GeoDescent(model, groups).step(x, y)
    with pytest.raises(gd.InputError, match=r"lr = -1.0"):
        GeoDescent(model, [{"params": model.parameters(), "lr": -1.0}]).step(x, y)


def test_every_form_of_params_is_taken() -> None:
    model, x, y = problem()
    first = model[0]
    forms = (model.parameters(), list(model.parameters()), model.named_parameters(), [{"params": first.weight}])
    for params in forms:
        assert GeoDescent(model, params).step(x, y) > 0.0
    assert GeoDescent(model, [{"params": [first.bias]}, {"params": first.weight}]).step(x, y) > 0.0


@pytest.mark.parametrize("step", STEP.values(), ids=STEP)
def test_gradients_modes_and_parameters_keep_their_identity(step: Step) -> None:
    model, x, y = problem()
    (model(x) - y).square().mean().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    where = [p.data_ptr() for p in model.parameters()]
    step(GeoDescent(model), model, x, y)
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True) if p.grad is not None)
    assert [p.data_ptr() for p in model.parameters()] == where
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_float32_is_walked_in_float32() -> None:
    model, x, y = problem(dtype=torch.float32)
    optimizer, first = GeoDescent(model), cost_of(model, x, y)
    for _ in range(8):
        optimizer.step(lambda: (model(x), y))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert cost_of(model, x, y) < 1e-6 * first
