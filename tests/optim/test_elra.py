"""ELRA against twenty-line references written from the formulas, and the identities that hold whatever the code."""

import pytest
import torch
from support.elra import Loss, gradient_of, quadratic, rosenbrock, run, start, stepper
from torch import Tensor

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
        taken, back = optimizer.state[p]["rate"], not torch.equal(optimizer.state[p]["gradient"], gradient)
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
        assert taken == pytest.approx(expected, rel=1e-10)
        rate = taken
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
    path = run(f, start(10), "p2min", 30)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(path, expected, strict=True)) < 1e-8


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
    path, (expected, back) = run(f, start(n), "p2min", steps), p2min_by_the_line(f, start(n), steps)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(path, expected, strict=True)) < 1e-7
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
    path, (expected, back) = run(f, start(n), "c2min", 100), c2min_by_the_line(f, start(n), 100)
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(path, expected, strict=True)) < 1e-7
    assert back > 0


def test_c2min_comes_down() -> None:
    f = quadratic(30, 100.0)
    path = run(f, start(30), "c2min", 400)
    assert float(f(path[-1])) < 1e-4 * float(f(path[0]))


# --- both rules ------------------------------------------------------------------------------------------------------

both = pytest.mark.parametrize("variant", ["p2min", "c2min"])


@both
@pytest.mark.parametrize("n", [6, 30])
def test_the_path_does_not_depend_on_the_coordinates(variant: str, n: int) -> None:
    turn = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    path = run(rosenbrock, start(n), variant, 30)
    turned = run(lambda x: rosenbrock(turn.T @ x), turn @ start(n), variant, 30)
    assert max(float((turn @ a - b).norm() / b.norm()) for a, b in zip(path, turned, strict=True)) < 1e-8
