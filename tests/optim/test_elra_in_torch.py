"""ELRA as an optimizer of torch: schedulers, saved runs, groups, precision, and losses that are no numbers."""

import io
import math

import pytest
import torch
from support.elra import quadratic, rosenbrock, start, stepper
from torch import Tensor, nn

import geodescent as gd
from geodescent.optim import ELRA

both = pytest.mark.parametrize("variant", ["p2min", "c2min"])


def test_a_scheduler_does_nothing() -> None:
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = gd.optim.ELRA([x])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (x**2).sum()
        loss.backward()
        return loss

    losses = []
    for _ in range(20):
        losses.append(optimizer.step(closure))
        scheduler.step()
    assert losses[-1] < 1e-3 * losses[0]


@both
def test_a_loss_that_is_not_finite_is_taken_back(variant: str) -> None:
    """Beyond a wall there is no loss: the step is taken again, shorter, until it ends before it."""

    def loss(x: Tensor) -> Tensor:
        beyond = float(x.detach().min()) <= -1.0
        return (x * math.nan).sum() if beyond else torch.log1p((x + 2.0).square()).sum()

    p, step, _ = stepper(loss, torch.ones(3, dtype=torch.float64), variant)
    seen = [step() for _ in range(200)]
    assert any(math.isnan(loss) for loss in seen) and bool(torch.isfinite(p).all())
    assert min(loss for loss in seen if not math.isnan(loss)) < seen[0]


@both
def test_a_saved_run_goes_on_as_it_would_have(variant: str) -> None:
    f = quadratic(8, 50.0)
    p, step, optimizer = stepper(f, start(8), variant)
    for _ in range(15):
        step()
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    q, again, loaded = stepper(f, p.detach(), variant)
    loaded.load_state_dict(torch.load(saved, weights_only=True))
    for _ in range(10):
        assert step() == again()
    assert torch.equal(p, q)


@both
def test_parameters_of_several_groups_share_one_rate(variant: str) -> None:
    """Two tensors in two groups walk as one tensor of both; what is frozen stays."""
    whole, step, _ = stepper(rosenbrock, start(6), variant)
    a, b, still = nn.Parameter(start(6)[:2]), nn.Parameter(start(6)[2:]), nn.Parameter(torch.ones(3), False)
    optimizer = ELRA([{"params": [a, still]}, {"params": [b]}], variant)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = rosenbrock(torch.cat([a, b]))
        loss.backward()
        return loss

    for _ in range(20):
        assert step() == pytest.approx(optimizer.step(closure), rel=1e-10)
    assert torch.allclose(whole, torch.cat([a, b]), rtol=1e-10) and torch.equal(still, torch.ones(3))


@both
def test_it_trains_a_network(variant: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    x = torch.rand(100, 2, dtype=torch.float64)
    y = torch.sin(3.0 * x[:, :1])
    optimizer = gd.optim.ELRA(model.parameters(), variant)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    for _ in range(400):
        last = optimizer.step(closure)
    assert last < 0.1 * first


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_low_precision_it_stays_finite(variant: str, dtype: torch.dtype) -> None:
    p, step, _ = stepper(lambda x: (x * x).sum(), torch.ones(5, dtype=dtype), variant)
    losses = [step() for _ in range(150)]
    assert bool(torch.isfinite(p).all()) and min(losses) < 1e-2 * losses[0]


@both
def test_a_gradient_that_is_not_finite_is_taken_back(variant: str) -> None:
    """√|x| has a loss at 0 and no gradient: the first step refuses it, a later one steps back."""
    p, step, _ = stepper(lambda x: x.abs().sqrt().sum() + 1.0, torch.zeros(2).double(), variant)
    with pytest.raises(gd.InputError, match="both must be finite"):
        step()
    assert torch.equal(p.detach(), torch.zeros(2).double())
    calls = iter([1.0, math.nan, 1.0, 1.0])
    q = nn.Parameter(torch.ones(2).double())
    optimizer = ELRA([q], variant)

    def closure() -> float:
        q.grad = torch.full_like(q, next(calls))
        return 1.0

    optimizer.step(closure)
    optimizer.step(closure)
    assert bool(torch.isfinite(q).all()) and float(q.detach()[0]) == pytest.approx(1.0, abs=1e-5)


@both
def test_a_loss_of_zero_from_the_start_stays_where_it_is(variant: str) -> None:
    for n in (3, 30):
        p, step, _ = stepper(lambda x: (x * x).sum(), torch.zeros(n).double(), variant)
        assert [step() for _ in range(200)] == [0.0] * 200 and torch.equal(p.detach(), torch.zeros(n).double())


@both
def test_other_parameters_are_a_new_start(variant: str) -> None:
    """A part that is frozen or unfrozen between steps: what was learnt of the rate is of other parameters."""
    a, b = nn.Parameter(start(3)), nn.Parameter(start(3), False)
    optimizer = ELRA([a, b], variant)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (a * a).sum() + 2.0 * (b * b).sum()
        loss.backward()
        return loss

    for moving in ([a], [a, b], [b]):
        for p in (a, b):
            p.requires_grad_(any(p is q for q in moving))
        optimizer.step(closure)
        assert optimizer.state[a]["rate"] == 1e-5
        before = optimizer.step(closure)
        assert optimizer.step(closure) < before and optimizer.state[a]["rate"] > 1e-5


def test_what_cannot_be_descended_on_is_refused() -> None:
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with pytest.raises(gd.InputError, match="variant = 'c3min': p2min and c2min are known"):
        ELRA([p], "c3min")
    with pytest.raises(gd.InputError, match=r"lr = 0\.0: the first rate must be positive"):
        ELRA([p], lr=0.0)
    with pytest.raises(gd.InputError, match="all take one step together, of one rate"):
        ELRA([{"params": [p], "lr": 1e-3}, {"params": [q]}])
    for p.grad, loss, match in (
        (None, 1.0, "no parameter has a gradient"),
        (torch.ones(2), -1.0, r"the loss is -1\.0: .* must not be negative"),
        (torch.ones(2), math.inf, "the loss at the start is inf"),
    ):
        with pytest.raises(gd.InputError, match=match):
            ELRA([p]).step(lambda loss=loss: loss)
    assert torch.equal(p.detach(), torch.ones(2))
