"""The start chosen by leave-one-out: its table, the choice, and what is left alone."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from support.left_out import mlp, normal, refitted, uniform
from torch import Tensor, nn

import geodescent as gd
from geodescent.generalisation import GAINS, GainCandidate


def expected_error(model: nn.Module, x: Tensor, y: Tensor, w: Tensor, candidate: GainCandidate) -> float:
    """The candidate's error by leaving out every group of identical inputs for real, weighted."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in moved[0].parameters():
            parameter.mul_(candidate.gain)
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    outputs, jacobian = gd.SampleMap(moved, x).linearise()
    q = y.shape[1]
    scale = w.sqrt().repeat_interleave(q)[:, None]
    rows, residual = jacobian.dense() * scale, (outputs - y).reshape(-1, 1) * scale
    ridge = candidate.ridge * float(torch.linalg.matrix_norm(rows, 2)) ** 2
    groups = {tuple(sample.tolist()): list[int]() for sample in x}
    for i, sample in enumerate(x):
        groups[tuple(sample.tolist())] += range(i * q, i * q + q)
    errors = torch.cat([refitted(rows, residual, ridge, out) for out in groups.values()])
    return float(errors.square().sum() / (2.0 * w.sum()))


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("width", [1, 12])
def test_the_table_holds_for_weights_and_for_identical_inputs(q: int, width: int) -> None:
    """Groups of two and three identical inputs with other targets, weights, two of them zero; K < m and K > m."""
    x, w = normal(12, 2, seed=1), torch.rand(12, dtype=torch.float64) + 0.5
    x[4], x[7], x[9], w[[2, 11]] = x[1].clone(), x[1].clone(), x[3].clone(), 0.0
    y = normal(12, q, seed=2)
    model = mlp(2, width, q)
    start = gd.initialise(copy.deepcopy(model), x, y, weights=w)
    assert (start.n_samples, start.n_given) == (7, 12)
    for candidate in start.candidates:
        if candidate.ridge > 1e-9:  # below, the oracle's own rounding shows
            assert candidate.error == pytest.approx(expected_error(model, x, y, w, candidate), rel=1e-6)
    assert any(c.ridge > 1e-9 for c in start.candidates)


def test_many_outputs_go_by_the_mean_gram_and_say_so() -> None:
    """Above 300 rows the error is that of `K̄ ⊗ I_Q`, written out."""
    x, y, model = normal(101, 3), normal(101, 3, seed=1), mlp(3, 60, 3)
    (candidate,) = gd.initialise(copy.deepcopy(model), x, y, gains=(1.0,)).candidates
    assert candidate.route == "mean gram"
    outputs, jacobian = gd.SampleMap(model, x).linearise()
    one = torch.eye(3, dtype=torch.float64)
    kernel = torch.kron(jacobian.mean_gram().contiguous(), one)
    ridge = candidate.ridge * float(torch.linalg.matrix_norm(kernel, 2))
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(303, dtype=torch.float64))
    blocks = torch.stack([inverse[i : i + 3, i : i + 3] for i in range(0, 303, 3)])
    left = torch.linalg.solve(blocks, (inverse @ (outputs - y).reshape(-1)).reshape(101, 3, 1))
    assert candidate.error == pytest.approx(float(left.square().sum()) / 202.0, rel=1e-6)
    assert gd.initialise(model, x[:100], y[:100], gains=(1.0,)).candidates[0].route == "gram"


def test_fast_functions_get_a_larger_scale_than_smooth_ones() -> None:
    x, z = torch.linspace(-1, 1, 150, dtype=torch.float64)[:, None], uniform(150, 4)
    fast = gd.initialise(mlp(1, 40, 1), x, torch.sinc(10 * x))
    smooth = gd.initialise(mlp(4, 16, 16, 1), z, torch.exp(-(z**2).sum(1)))
    assert fast.gain >= 4.0 and smooth.gain <= 2.0
    errors = [c.error for c in fast.candidates]
    assert min(errors) < 1e-6 * errors[1]
    ranks = [c.rank for c in fast.candidates]
    assert ranks == sorted(ranks)


def test_only_the_first_layer_changes() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    model = mlp(1, 20, 20, 1).train()
    model[2].bias.requires_grad_(False)
    before, state, grad = copy.deepcopy(model), torch.get_rng_state(), torch.ones_like(model[0].weight)
    model[0].weight.grad = grad
    start = gd.initialise(model, x, torch.sinc(10 * x))
    assert start.layers == ("0",) and start.gain in GAINS and start.gain > 1.0
    for name, parameter in model.named_parameters():
        factor = start.gain if name.startswith("0.") else 1.0
        assert torch.equal(parameter, before.get_parameter(name) * factor)
        assert parameter.requires_grad == before.get_parameter(name).requires_grad
    assert model.training and model[0].weight.grad is grad and not model[0]._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_the_choice_is_written_and_is_the_table_s_best() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    start = gd.initialise(mlp(1, 20, 1), x, torch.sinc(10 * x), gains=(16.0, 1.0, 4.0, 4.0))
    assert [c.gain for c in start.candidates] == [1.0, 4.0, 16.0]
    assert start.gain == min(start.candidates, key=lambda c: c.error).gain


def test_gains_below_one_are_not_taken_on_the_word_of_a_small_part() -> None:
    """A few samples make every function look smooth: 30 of 150, and of all 150."""
    x = uniform(150, 3)
    y = torch.exp(-(x**2).sum(1))
    model = mlp(3, 20, 1)
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(4.0)
    part, whole = gd.initialise(copy.deepcopy(model), x, y, max_samples=30), gd.initialise(copy.deepcopy(model), x, y)
    assert part.gain == min(c.gain for c in part.candidates) == 1.0
    assert whole.gain < 1.0
    assert gd.initialise(model, x, y, max_samples=30, gains=(0.25, 0.5)).gain < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "samples", "gain"), [(0.2, 800, 0.5), (0.0, 800, 1.0), (3.0, 300, 1.0)])
def test_noise_is_looked_at_again_on_more_samples(noise: float, samples: int, gain: float) -> None:
    """A small part may then choose the smoother start; not where 800 see no noise, nor where 300 see nothing else."""
    x = uniform(4000, 10)
    u = 0.5 * (x + 1.0)
    y = 10.0 * torch.sin(math.pi * u[:, 0] * u[:, 1]) + 20.0 * (u[:, 2] - 0.5) ** 2 + 10.0 * u[:, 3] + 5.0 * u[:, 4]
    y = ((y - y.mean()) / y.std())[:, None] + noise * normal(4000, 1, seed=1)
    start = gd.initialise(mlp(10, 64, 64, 1), x, y)
    assert (start.n_samples, start.gain, start.noisy) == (samples, gain, noise > 0.0)
    assert start.cost_of_mean == pytest.approx(0.5 * (1.0 + noise**2), rel=0.2)


def test_a_part_too_small_to_know_noise_is_not_trusted() -> None:
    """And where more may not be looked at, nothing is: noise at 700 samples of 4,000 keeps gain 1."""
    x = uniform(4000, 10)
    y = torch.sin(3.0 * x[:, :1]) * x[:, 1:2] + x[:, 2:3] ** 2 + 0.2 * normal(4000, 1, seed=1)
    start = gd.initialise(mlp(10, 64, 64, 1), x, y, max_samples=700)
    assert start.noisy and start.n_samples == 300 and min(c.gain for c in start.candidates) == 1.0


def test_the_part_is_drawn_by_its_seed() -> None:
    x, y = uniform(90, 2), uniform(90, 1, seed=1)
    first, again, other = (gd.initialise(mlp(2, 8, 1), x, y, max_samples=40, seed=s) for s in (0, 0, 1))
    assert first == again != other
    assert (first.n_samples, first.n_given) == (40, 90)


class Towers(nn.Module):
    """Two layers on the inputs, one of them called on what comes later as well."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(2, 5), nn.Conv1d(1, 4, 2), nn.Linear(9, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        hidden = self.right(right[:, None]).amax(2)
        return self.last(torch.tanh(torch.cat([self.left(left), hidden], 1)))


def test_every_layer_on_the_inputs_is_the_first_layer() -> None:
    inputs = {"left": normal(20, 2), "right": normal(20, 3, seed=1)}
    assert gd.initialise(Towers().double(), inputs, normal(20)).layers == ("right", "left")


def test_a_frozen_bias_stays() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    model = mlp(1, 20, 1)
    model[0].bias.requires_grad_(False)
    bias, weight = model[0].bias.clone(), model[0].weight.clone()
    start = gd.initialise(model, x, torch.sinc(10 * x))
    assert start.gain > 1.0
    assert torch.equal(model[0].bias, bias) and torch.equal(model[0].weight, weight * start.gain)


# --- where there is nothing to choose -------------------------------------------------------------------------------


def assert_unchanged(model: nn.Module, inputs: Tensor, y: Tensor, reason: str, **options: Any) -> gd.ChosenStart:
    before = copy.deepcopy(model.state_dict())
    start = gd.initialise(model, inputs, y, **options)
    assert start.gain == 1.0 and start.layers == () and reason in (start.reason or "") and reason in str(start)
    assert math.isnan(start.cost_left_out) and json.dumps(start.as_dict(), allow_nan=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return start


def test_a_network_without_a_first_layer_is_left_alone() -> None:
    words = torch.randint(7, (9, 2), generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 1)).double()
    assert_unchanged(model, words, normal(9), "no linear or convolutional layer")


def test_one_sample_leaves_nothing_to_learn_from() -> None:
    assert_unchanged(mlp(2, 5, 1), normal(1, 2), normal(1), "1 distinct sample")
    assert_unchanged(mlp(2, 5, 1), normal(1, 2).repeat(6, 1), normal(6), "1 distinct sample")
    weights = torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64)
    assert_unchanged(mlp(2, 5, 1), normal(3, 2), normal(3), "1 distinct sample", weights=weights)


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x * x)


def test_gains_that_overflow_are_passed_over() -> None:
    model = nn.Sequential(nn.Linear(1, 4), Exponential(), nn.Linear(4, 1)).double()
    x = torch.linspace(-10, 10, 20, dtype=torch.float64)[:, None]
    with torch.no_grad():
        model[0].weight.fill_(0.5)
        model[0].bias.zero_()
    start = gd.initialise(copy.deepcopy(model), x, torch.cos(x), gains=(1.0, 1e3))
    assert start.gain == 1.0 and start.candidates[-1].error == math.inf and "inf" in str(start)
    assert json.loads(json.dumps(start.as_dict(), allow_nan=False))["candidates"][-1]["error"] is None
    assert_unchanged(model, x, torch.cos(x), "no gain gives finite outputs", gains=(1e3,))


def test_a_linear_model_keeps_its_start() -> None:
    """Its kernel knows no scale: every gain promises the same."""
    start = gd.initialise(mlp(3, 1), normal(20, 3), normal(20, 1, seed=1))
    assert start.gain == 1.0


ALL = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@pytest.mark.parametrize(
    ("valley", "options", "expected"),
    [
        (4.0, {"gains": ALL}, [1.0, 2.0, 4.0, 8.0]),
        (1.0, {"gains": ALL}, [1.0, 2.0, 0.5]),
        (0.25, {"gains": ALL}, [1.0, 2.0, 0.5, 0.25, 0.125]),
        (0.25, {"gains": (0.25, 0.5, 1.0, 2.0), "max_samples": 30}, [1.0, 2.0]),
    ],
)
def test_gains_are_tried_as_long_as_the_error_falls(
    valley: float, options: dict[str, Any], expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 1 upwards to one past the valley, and downwards only where that led nowhere, and not from a small part.

    The error of this network has its one valley where its first layer is four times its own.
    """
    x, model, tried = torch.linspace(-1, 1, 150, dtype=torch.float64)[:, None], mlp(1, 40, 1), list[float]()
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(4.0 / valley)
    outputs, linearise = gd.SampleMap(model, x), gd.SampleMap.linearise
    own = float(outputs.theta[0])

    def noted(there: gd.SampleMap, theta: Tensor | None = None) -> Any:
        if theta is not None:
            tried.append(float(theta[0]) / own)
        return linearise(there, theta)

    problem = gd.Problem.over(outputs, torch.sinc(10 * x))
    monkeypatch.setattr(gd.SampleMap, "linearise", noted)
    start = gd.initialise(problem, **options)
    assert tried == expected and [c.gain for c in start.candidates] == sorted(expected)
    assert "max_samples" in options or start.gain == min(start.candidates, key=lambda c: c.error).gain == valley


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_targets_and_float32_are_served(dtype: torch.dtype) -> None:
    model = mlp(2, 10, 1).to(dtype)
    start = gd.initialise(model, uniform(30, 2).to(dtype), torch.full((30,), 0.1, dtype=dtype))
    assert start.cost_of_mean == 0.0 and not start.noisy
    assert start.gain in GAINS and all(math.isfinite(c.error) for c in start.candidates)
    assert model[0].weight.dtype == dtype
    assert min(c.ridge for c in start.candidates) >= 0.1 * torch.finfo(dtype).eps ** 2


def test_a_wrong_question_is_refused_before_any_work() -> None:
    model, x, y = mlp(2, 5, 1), normal(6, 2), normal(6)
    for gains in ((), (1.0, -2.0), (0.0,), (math.inf,)):
        with pytest.raises(gd.InputError, match="positive, finite factors are needed"):
            gd.initialise(model, x, y, gains=gains)
    with pytest.raises(gd.InputError, match="max_samples = 1: at least 2 are needed"):
        gd.initialise(model, x, y, max_samples=1)
    with pytest.raises(gd.InputError, match="y needs one row for each sample"):
        gd.initialise(model, x, y[:5])


def test_the_text_is_short_and_names_the_choice() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    start = gd.initialise(mlp(1, 20, 1), x, torch.sinc(10 * x))
    lines = str(start).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= len(GAINS) + 4
    (chosen,) = [line for line in lines if "chosen" in line and line.split()[0] == f"{start.gain:g}"]
    best = next(c for c in start.candidates if c.gain == start.gain)
    assert f"{best.error:.2e}" in chosen and str(best.rank) in chosen
    assert str(start.n_samples) in str(start) and "layer 0" in str(start)
