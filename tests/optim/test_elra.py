"""ELRA against twenty-line references written from the formulas, and the identities that hold whatever the code."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.optim import ELRA

Loss = Callable[[Tensor], Tensor]


def quadratic(n: int, condition: float, seed: int = 0) -> Loss:
    """`½ xᵀAx`, A of a given condition in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    matrix = (q * torch.logspace(0.0, math.log10(condition), n, dtype=torch.float64)) @ q.T
    return lambda x: 0.5 * x @ matrix @ x


def rosenbrock(x: Tensor) -> Tensor:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def start(n: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def gradient_of(f: Loss, x: Tensor) -> tuple[float, Tensor]:
    leaf = x.clone().requires_grad_()
    loss = f(leaf)
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


def stepper(f: Loss, x: Tensor, variant: str) -> tuple[nn.Parameter, Callable[[], float], ELRA]:
    """A parameter at x, and one step of ELRA on f."""
    p = nn.Parameter(x.clone())
    optimizer = ELRA([p], variant)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = f(p)
        loss.backward()
        return loss

    return p, lambda: optimizer.step(closure), optimizer


def run(f: Loss, x: Tensor, variant: str, steps: int) -> list[Tensor]:
    p, step, _ = stepper(f, x, variant)
    path = [x.clone()]
    for _ in range(steps):
        step()
        path.append(p.detach().clone())
    return path


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


# --- p2min -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("f", [quadratic, None], ids=["quadratic", "rosenbrock"])
def test_p2min_is_the_capped_barzilai_borwein_rate_of_the_same_two_gradients(f, n: int) -> None:
    """At each of 300 steps; where a step is taken back, the minimum of the parabola through losses and slope."""
    f = rosenbrock if f is None else quadratic(n, 1e3)
    p, step, optimizer = stepper(f, start(n), "p2min")
    d, losses, gradients, rate, compared = 855000.0, [], [], None, 0
    for _ in range(301):
        here = p.detach().clone()
        loss, gradient = gradient_of(f, here)
        if loss < 1e-250:  # squares of gradients are no numbers any more
            break
        step()
        found, back = optimizer.state[p]["rate"], not torch.equal(optimizer.state[p]["gradient"], gradient)
        if rate is None:
            expected = 1e-5
        else:
            s, y = -rate * gradients[-1], gradient - gradients[-1]
            if back:
                slope = rate * float(gradients[-1] @ gradients[-1])
                factor = 0.5 * slope / (loss - losses[-1] + slope)
                expected = rate * (factor if 0.0 < factor < 1.0 else 0.01)
                d = d + 16.0 if d <= 1.0 else 16.0 * d if d < 62500.0 else 855000.0
            else:
                d /= 3.9
                cap = 1e6 / (1.0 + d)
                rise = float(s @ y) / float(s @ s) if float(s @ s) > 0.0 else 0.0
                expected = min(max(rate * cap if cap * rate * rise < 1.0 else 1.0 / rise, 1e-8), 1e6)
                compared += rise > 0.0
        assert found == pytest.approx(expected, rel=1e-10)
        rate = found
        if not back:
            losses.append(loss)
            gradients.append(gradient)
    assert compared > 20


def test_p2min_walks_as_barzilai_and_borwein_do() -> None:
    """Thirty steps of an independent code, on a quadratic where no step is taken back and growth is capped at first."""
    f, x = quadratic(10, 5.0), start(10)
    expected, rate, previous, d = [x], 1e-5, None, 855000.0
    for _ in range(30):
        _, g = gradient_of(f, x)
        if previous is not None:
            d /= 3.9
            s, y = x - previous[0], g - previous[1]
            bb = float(s @ s / (s @ y))
            rate = min(bb, rate * 1e6 / (1.0 + d))
        previous = (x, g)
        x = x - rate * g
        expected.append(x)
    found = run(f, start(10), "p2min", 30)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)) < 1e-8


def p2min_by_the_line(f: Loss, x: Tensor, steps: int) -> tuple[list[Tensor], int]:
    """The published rule, line by line, and how many steps it took back."""
    f_last, g_prev = gradient_of(f, x)
    rate, d, e, f_best, f_init, few, back = 1e-5, 855000.0, 500000.0, f_last, f_last, len(x) <= 20, 0
    x_prev, x = x, x - rate * g_prev
    path = [x_prev, x]
    for _ in range(steps - 1):
        loss, g = gradient_of(f, x)
        tol = 25.0 + (2500.0 + 71.0 * f_best**0.5) / (1.0 + e**0.5)
        accepted = loss < 1.1 * f_best * tol and (few or loss < 1.1 * f_init)
        if loss < f_last:
            e /= 1.69
        elif e < 1.0:
            e += 16.0
        else:
            e = 16.0 * e if e < 5e5 else 5e5
        squared = float(g_prev @ g_prev)
        if accepted:
            d /= 3.9
            f_best = min(f_best, loss)
            cap, h = 1e6 / (1.0 + d), float((g_prev - g) @ g_prev) / squared
            if cap * h < 1.0:
                rate *= cap
            elif few:
                rate /= h
            else:
                rate /= h * (1.0 - 0.14 * min(max((2.35 / f_init) ** 1.6 * f_best**0.8, 0.0), 0.7))
            rate = min(max(rate, 1e-8), 1e6)
            x_prev, g_prev, f_last = x, g, loss
            x = x - rate * g
        else:
            back += 1
            factor = 0.5 * rate * squared / ((loss - f_last) + rate * squared)
            rate *= factor if 0.0 < factor < 1.0 else 0.01
            d = d + 16.0 if d <= 1.0 else 16.0 * d if d < 62500.0 else 855000.0
            x = x_prev - rate * g_prev
        path.append(x)
    return path, back


@pytest.mark.parametrize(
    ("f", "n", "steps"), [(rosenbrock, 2, 40), (rosenbrock, 30, 40), (quadratic(30, 50.0), 30, 40)]
)
def test_p2min_is_the_published_rule(f: Loss, n: int, steps: int) -> None:
    """Few parameters and many, steps taken and steps taken back."""
    found, (expected, back) = run(f, start(n), "p2min", steps), p2min_by_the_line(f, start(n), steps)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)) < 1e-7
    assert 0 < back < steps / 2


@pytest.mark.parametrize("n", [2, 30])
def test_p2min_comes_down(n: int) -> None:
    """Beyond 20 parameters too, where a parabola is not trusted as it is."""
    f = quadratic(n, 100.0)
    path = run(f, start(n), "p2min", 300)
    assert float(f(path[-1])) < 1e-8 * float(f(path[0]))


# --- c2min -----------------------------------------------------------------------------------------------------------


def c2min_by_the_line(f: Loss, x: Tensor, steps: int) -> tuple[list[Tensor], int]:
    """The published rule, line by line, and how many steps it took back."""
    loss, g_prev = gradient_of(f, x)
    rate, m, f_best, f_mean, n_mean, f_init, back = 1e-5, g_prev, loss, loss, 0.0, loss, 0
    shift = -rate * g_prev
    path = [x, x + shift]
    x = x + shift
    for _ in range(steps - 1):
        loss, g = gradient_of(f, x)
        if loss < 25.0 * f_best:
            m = 0.8 * m + 0.2 * g_prev
            c = float(g @ g_prev / (g.norm() * g_prev.norm()))
            rate *= 1.0 + 0.5 * c if c <= 0.0 else 1.0 + 0.6 * c
            f_mean = 0.9 * f_mean + 0.1 * loss
            n = min(1.06, (f_init / 2.35) * 1.5 * abs(loss / f_mean - 1.0))
            n_mean = min(max(0.9 * n_mean + 0.1 * n, 0.065), 1.06)
            beta = 0.85 - 0.8 * n_mean
            shift = -rate * ((1.0 - beta) * g + beta * m)
            g_prev = g
        else:
            back += 1
            x = x - shift
            rate /= 3.0
            shift = shift / 3.0
        f_best = loss if loss < f_best else 1.1 * f_best
        x = x + shift
        path.append(x)
    return path, back


@pytest.mark.parametrize(
    ("f", "n"),
    [(quadratic(6, 40.0), 6), (quadratic(10, 1e4), 10), (rosenbrock, 2)],
    ids=["six", "steep", "rosenbrock"],
)
def test_c2min_is_the_published_rule_for_a_hundred_steps(f: Loss, n: int) -> None:
    """Steps taken and steps taken back; what remains between two codes is rounding, grown along the path."""
    found, (expected, back) = run(f, start(n), "c2min", 100), c2min_by_the_line(f, start(n), 100)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)) < 1e-7
    assert back > 0


def test_c2min_comes_down() -> None:
    f = quadratic(30, 100.0)
    path = run(f, start(30), "c2min", 400)
    assert float(f(path[-1])) < 1e-4 * float(f(path[0]))


# --- both ------------------------------------------------------------------------------------------------------------

both = pytest.mark.parametrize("variant", ["p2min", "c2min"])


@both
@pytest.mark.parametrize("n", [6, 30])
def test_the_path_does_not_depend_on_the_coordinates(variant: str, n: int) -> None:
    turn = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    path = run(rosenbrock, start(n), variant, 30)
    turned = run(lambda x: rosenbrock(turn.T @ x), turn @ start(n), variant, 30)
    assert max(float((turn @ a - b).norm() / b.norm()) for a, b in zip(path, turned, strict=True)) < 1e-8


@both
def test_a_loss_that_is_not_finite_is_taken_back(variant: str) -> None:
    """Beyond a wall there is no loss: the step is taken again, shorter, until it ends before it."""
    p, step, _ = stepper(lambda x: torch.log1p((x + 2.0).square()).sum() if float(x.detach().min()) > -1.0
                         else (x * math.nan).sum(), torch.ones(3, dtype=torch.float64), variant)  # fmt: skip
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
