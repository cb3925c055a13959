"""The start chosen by leave-one-out: the closed form against leaving out for real, the choice, what is left alone."""

import copy
import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.laws import assert_close
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.generalisation import (
    Candidate,
    Start,
    _initialise,
    leave_one_out,
    left_out,
    modes_of_gram,
    modes_of_rows,
)
from geodescent.generalisation._initialise import GAINS, _candidates, initialise
from geodescent.outputs import SampleMap


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def mlp(*sizes: int, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers[:-1]).double()


def with_spectrum(m: int, k: int, sigma: Tensor) -> Tensor:
    """D of given singular values."""
    left, _ = torch.linalg.qr(normal(m, len(sigma), seed=1))
    right, _ = torch.linalg.qr(normal(k, len(sigma), seed=2))
    return (left * sigma) @ right.T


def refitted(rows: Tensor, residual: Tensor, ridge: float, out: list[int]) -> Tensor:
    """What the ridge solution of all rows but these misses at these: `r_i + D_i v`, solved in θ with D itself."""
    rest = [i for i in range(len(rows)) if i not in out]
    k = rows.shape[1]
    tall = torch.cat([rows[rest], math.sqrt(ridge) * torch.eye(k, dtype=rows.dtype)])
    aim = torch.cat([-residual[rest], residual.new_zeros(k, residual.shape[1])])
    return residual[out] + rows[out] @ torch.linalg.lstsq(tall, aim, driver="gelsd").solution


# --- the closed form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [5, 24, 40])
@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("route", ["rows", "gram"])
def test_it_is_what_leaving_out_for_real_gives(k: int, block: int, route: str) -> None:
    """A sample's block of rows, for K < m, K = m and K > m, from D and from G, at every ridge."""
    rows, residual = normal(24, k, seed=3), normal(24, 1, seed=4)
    modes = modes_of_rows(rows) if route == "rows" else modes_of_gram(rows @ rows.T)
    ridges = torch.tensor([1e-4, 1e-2, 1.0, 1e2], dtype=torch.float64)
    found = left_out(modes, residual, ridges, block=block)
    for ridge, left in zip(ridges.tolist(), found, strict=True):
        outs = [list(range(i, i + block)) for i in range(0, 24, block)]
        assert_close(left, torch.cat([refitted(rows, residual, ridge, out) for out in outs]), 1e-9)


def test_several_columns_are_several_problems_with_one_kernel() -> None:
    rows, residual = normal(10, 4, seed=5), normal(10, 3, seed=6)
    ridges = torch.tensor([0.1, 3.0], dtype=torch.float64)
    together = left_out(modes_of_rows(rows), residual, ridges, block=1)
    alone = [left_out(modes_of_rows(rows), column[:, None], ridges, block=1) for column in residual.T]
    assert_close(together, torch.cat(alone, 2), 1e-12)


def test_from_the_rows_it_holds_at_ridges_that_the_gram_matrix_cannot_see() -> None:
    """σ from 1 to 1e-11, λ = 1e-20: relative to the oracle, D keeps five digits and G none."""
    rows = with_spectrum(20, 30, 10.0 ** -torch.linspace(0, 11, 20, dtype=torch.float64))
    residual = rows @ normal(30, 1, seed=7) * 1e-3
    ridges = torch.tensor([1e-20], dtype=torch.float64)
    expected = torch.cat([refitted(rows, residual, 1e-20, [i]) for i in range(20)])
    assert_close(left_out(modes_of_rows(rows), residual, ridges, block=1)[0], expected, 1e-5)
    gram = left_out(modes_of_gram(rows @ rows.T), residual, ridges, block=1)[0]
    assert float((gram - expected).norm()) > float(expected.norm())


@pytest.mark.parametrize("block", [1, 2])
def test_a_sample_that_alone_decides_a_direction_has_no_answer_below_rounding(block: int) -> None:
    """Its leverage is 1: refitted without it, the answer at small λ is what no digit of U still holds."""
    rows, residual = normal(30, 5, seed=8), normal(30, 1, seed=9)
    rows[:, 4] = 0.0
    rows[6, 4] = 1.0
    ridges = torch.tensor([1e-2, 1e-24], dtype=torch.float64)
    resolved, lost = left_out(modes_of_rows(rows), residual, ridges, block=block)
    out = list(range(6, 6 + block))
    assert_close(resolved[out], refitted(rows, residual, 1e-2, out), 1e-9)
    assert bool(lost[out].isnan().all()) and not bool(lost[:6].isnan().any())
    found = leave_one_out(modes_of_rows(rows), residual, n_samples=30.0, block=block)
    assert found.ridge > 1e-12


def test_with_fewer_parameters_than_rows_small_ridges_do_not_cancel() -> None:
    """Down to λ = 1e-24 the errors are those of plain least squares."""
    rows, residual = normal(30, 4, seed=8), normal(30, 1, seed=9)
    found = left_out(modes_of_rows(rows), residual, torch.tensor([1e-24], dtype=torch.float64), block=1)[0]
    assert_close(found, torch.cat([refitted(rows, residual, 0.0, [i]) for i in range(30)]), 1e-12)


def test_the_best_ridge_is_the_best_of_all() -> None:
    rows, residual = normal(16, 40, seed=10), normal(16, 1, seed=11)
    modes = modes_of_rows(rows)
    found = leave_one_out(modes, residual, n_samples=16.0, block=1)
    for ridge in 10.0 ** torch.linspace(-12, 0, 13, dtype=torch.float64):
        errors = left_out(modes, residual, ridge[None] * modes.largest, block=1)
        assert found.error <= float(errors.square().sum()) / 32.0 * (1 + 1e-12)
    at = left_out(modes, residual, torch.tensor([found.ridge * modes.largest], dtype=torch.float64), block=1)
    assert found.error == pytest.approx(float(at.square().sum()) / 32.0, rel=1e-12)


@pytest.mark.parametrize("rank", [0, 3, 6])
def test_the_rank_is_that_of_the_spectrum(rank: int) -> None:
    rows = with_spectrum(8, 12, torch.ones(rank, dtype=torch.float64)) if rank else torch.zeros(8, 12).double()
    for modes in (modes_of_rows(rows), modes_of_gram(rows @ rows.T)):
        assert leave_one_out(modes, normal(8, 1), n_samples=8.0, block=1).rank == rank


def test_without_derivatives_all_of_the_residual_is_left_out() -> None:
    residual = normal(8, 1)
    found = leave_one_out(modes_of_rows(torch.zeros(8, 3).double()), residual, n_samples=8.0, block=1)
    assert found.error == pytest.approx(float(residual.square().sum()) / 16.0)


# --- through the door -----------------------------------------------------------------------------------------------


def expected_error(model: nn.Module, x: Tensor, y: Tensor, w: Tensor, candidate: Candidate) -> float:
    """The candidate's error by leaving out every group of identical inputs for real, weighted."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in moved[0].parameters():
            parameter.mul_(candidate.gain)
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    outputs, jacobian = SampleMap(moved, x).linearise()
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
    start = initialise(copy.deepcopy(model), x, y, weights=w)
    assert (start.n_samples, start.n_given) == (7, 12)
    for candidate in start.candidates:
        if candidate.ridge > 1e-9:  # below, the oracle's own rounding shows
            assert candidate.error == pytest.approx(expected_error(model, x, y, w, candidate), rel=1e-6)
    assert any(c.ridge > 1e-9 for c in start.candidates)


def test_many_outputs_go_by_the_mean_gram_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of `K̄ ⊗ I_Q`, written out."""
    monkeypatch.setattr(_initialise, "BLOCK_ROWS", 100)
    x, y, model = normal(34, 3), normal(34, 3, seed=1), mlp(3, 20, 3)
    (candidate,) = initialise(copy.deepcopy(model), x, y, gains=(1.0,)).candidates
    assert candidate.route == "mean gram"
    outputs, jacobian = SampleMap(model, x).linearise()
    one = torch.eye(3, dtype=torch.float64)
    kernel = torch.kron(jacobian.mean_gram().contiguous(), one)
    ridge = candidate.ridge * float(torch.linalg.matrix_norm(kernel, 2))
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(102, dtype=torch.float64))
    blocks = torch.stack([inverse[i : i + 3, i : i + 3] for i in range(0, 102, 3)])
    left = torch.linalg.solve(blocks, (inverse @ (outputs - y).reshape(-1)).reshape(34, 3, 1))
    assert candidate.error == pytest.approx(float(left.square().sum()) / 68.0, rel=1e-6)
    assert initialise(model, x[:33], y[:33], gains=(1.0,)).candidates[0].route == "gram"


def test_fast_functions_get_a_larger_scale_than_smooth_ones() -> None:
    x, z = torch.linspace(-1, 1, 150, dtype=torch.float64)[:, None], uniform(150, 4)
    fast = initialise(mlp(1, 40, 1), x, torch.sinc(10 * x))
    smooth = initialise(mlp(4, 16, 16, 1), z, torch.exp(-(z**2).sum(1)))
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
    start = initialise(model, x, torch.sinc(10 * x))
    assert start.layers == ("0",) and start.gain in GAINS and start.gain > 1.0
    for name, parameter in model.named_parameters():
        factor = start.gain if name.startswith("0.") else 1.0
        assert torch.equal(parameter, before.get_parameter(name) * factor)
        assert parameter.requires_grad == before.get_parameter(name).requires_grad
    assert model.training and model[0].weight.grad is grad and not model[0]._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_the_choice_is_written_and_is_the_table_s_best() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    start = initialise(mlp(1, 20, 1), x, torch.sinc(10 * x), gains=(16.0, 1.0, 4.0, 4.0))
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
    part, whole = initialise(copy.deepcopy(model), x, y, max_samples=30), initialise(copy.deepcopy(model), x, y)
    assert part.gain == min(c.gain for c in part.candidates) == 1.0
    assert whole.gain < 1.0
    assert initialise(model, x, y, max_samples=30, gains=(0.25, 0.5)).gain < 1.0


@pytest.mark.parametrize(("noise", "samples", "gain"), [(0.2, 800, 0.5), (0.0, 800, 1.0), (3.0, 300, 1.0)])
def test_noise_is_looked_at_again_on_more_samples(noise: float, samples: int, gain: float) -> None:
    """A small part may then choose the smoother start; not where 800 see no noise, nor where 300 see nothing else."""
    x = uniform(4000, 10)
    u = 0.5 * (x + 1.0)
    y = 10.0 * torch.sin(math.pi * u[:, 0] * u[:, 1]) + 20.0 * (u[:, 2] - 0.5) ** 2 + 10.0 * u[:, 3] + 5.0 * u[:, 4]
    y = ((y - y.mean()) / y.std())[:, None] + noise * normal(4000, 1, seed=1)
    start = initialise(mlp(10, 64, 64, 1), x, y)
    assert (start.n_samples, start.gain, start.noisy) == (samples, gain, noise > 0.0)
    assert start.cost_of_mean == pytest.approx(0.5 * (1.0 + noise**2), rel=0.2)


def test_a_part_too_small_to_know_noise_is_not_trusted() -> None:
    """And where more may not be looked at, nothing is: noise at 700 samples of 4,000 keeps gain 1."""
    x = uniform(4000, 10)
    y = torch.sin(3.0 * x[:, :1]) * x[:, 1:2] + x[:, 2:3] ** 2 + 0.2 * normal(4000, 1, seed=1)
    start = initialise(mlp(10, 64, 64, 1), x, y, max_samples=700)
    assert start.noisy and start.n_samples == 300 and min(c.gain for c in start.candidates) == 1.0


def test_the_part_is_drawn_by_its_seed() -> None:
    x, y = uniform(90, 2), uniform(90, 1, seed=1)
    first, again, other = (initialise(mlp(2, 8, 1), x, y, max_samples=40, seed=s) for s in (0, 0, 1))
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
    assert initialise(Towers().double(), inputs, normal(20)).layers == ("right", "left")


def test_a_frozen_bias_stays() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    model = mlp(1, 20, 1)
    model[0].bias.requires_grad_(False)
    bias, weight = model[0].bias.clone(), model[0].weight.clone()
    start = initialise(model, x, torch.sinc(10 * x))
    assert start.gain > 1.0
    assert torch.equal(model[0].bias, bias) and torch.equal(model[0].weight, weight * start.gain)


# --- where there is nothing to choose -------------------------------------------------------------------------------


def assert_unchanged(model: nn.Module, inputs: Tensor, y: Tensor, reason: str, **options: Any) -> Start:
    before = copy.deepcopy(model.state_dict())
    start = initialise(model, inputs, y, **options)
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
    start = initialise(model, x, torch.cos(x), gains=(1.0, 1e3))
    assert start.gain == 1.0 and start.candidates[-1].error == math.inf and "inf" in str(start)
    assert json.loads(json.dumps(start.as_dict(), allow_nan=False))["candidates"][-1]["error"] is None
    model[0].weight.data.fill_(0.5)
    assert_unchanged(model, x, torch.cos(x), "no gain gives finite outputs", gains=(16.0,))


def test_a_linear_model_keeps_its_start() -> None:
    """Its kernel knows no scale: every gain promises the same."""
    start = initialise(mlp(3, 1), normal(20, 3), normal(20, 1, seed=1))
    assert start.gain == 1.0


def test_gains_are_tried_as_long_as_the_error_falls() -> None:
    """From 1 upwards to one past the valley, and downwards only where that led nowhere."""
    tried: list[float] = []

    def at(gain: float) -> Candidate:
        tried.append(gain)
        return Candidate(gain, abs(math.log(gain / valley)), 0.0, 1, "rows")

    for valley, expected in ((4.0, [1.0, 2.0, 4.0, 8.0]), (1.0, [1.0, 2.0, 0.5]), (0.25, [1.0, 2.0, 0.5, 0.25, 0.125])):
        tried.clear()
        found = _candidates(at(1.0), at, [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0], small=False)
        assert tried == expected and [c.gain for c in found] == sorted(expected)
        assert min(found, key=lambda c: c.error).gain == valley
    tried.clear()
    _candidates(at(1.0), at, [0.25, 0.5, 1.0, 2.0], small=True)
    assert tried == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_targets_and_float32_are_served(dtype: torch.dtype) -> None:
    model = mlp(2, 10, 1).to(dtype)
    start = initialise(model, uniform(30, 2).to(dtype), torch.full((30,), 0.1, dtype=dtype))
    assert start.cost_of_mean == 0.0 and not start.noisy
    assert start.gain in GAINS and all(math.isfinite(c.error) for c in start.candidates)
    assert model[0].weight.dtype == dtype
    assert min(c.ridge for c in start.candidates) >= 0.1 * torch.finfo(dtype).eps ** 2


def test_a_wrong_question_is_refused_before_any_work() -> None:
    model, x, y = mlp(2, 5, 1), normal(6, 2), normal(6)
    for gains in ((), (1.0, -2.0), (0.0,), (math.inf,)):
        with pytest.raises(InputError, match="positive, finite factors are needed"):
            initialise(model, x, y, gains=gains)
    with pytest.raises(InputError, match="max_samples = 1: at least 2 are needed"):
        initialise(model, x, y, max_samples=1)
    with pytest.raises(InputError, match="y needs one row for each sample"):
        initialise(model, x, y[:5])


def test_the_text_is_short_and_names_the_choice() -> None:
    x = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    start = initialise(mlp(1, 20, 1), x, torch.sinc(10 * x))
    lines = str(start).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= len(GAINS) + 4
    (chosen,) = [line for line in lines if "chosen" in line and line.split()[0] == f"{start.gain:g}"]
    best = next(c for c in start.candidates if c.gain == start.gain)
    assert f"{best.error:.2e}" in chosen and str(best.rank) in chosen
    assert str(start.n_samples) in str(start) and "layer 0" in str(start)
