"""The certificate as a whole: for machines and for people, of one block of rows and of several."""

import json
import math

import pytest
import torch
from support.causes import named_causes, normal
from support.certified import PROBLEMS, tanh_net, wide
from torch import Tensor, nn

import geodescent as gd
from geodescent import Certificate, Problem, RowBlock
from geodescent.certificate import certificate_of, idle_units

# --- for machines, for people ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PROBLEMS, "linear"])
def test_as_dict_is_strict_json_and_the_text_is_narrow(name: str) -> None:
    linear = Problem.of(nn.Linear(40, 1).double(), normal(9, 40), normal(9, 1))
    problem = linear if name == "linear" else PROBLEMS[name]()
    c = certificate_of(problem, target_cost=1e-6, describe_point=True)
    read = json.loads(json.dumps(c.as_dict(), allow_nan=False))
    assert set(read) == set(Certificate.__dataclass_fields__)
    assert read["rank"] == c.rank and read["guaranteed"] is c.guaranteed
    assert read["margin"] == (None if c.margin is None or math.isinf(c.margin) else c.margin)
    assert [cause["kind"] for cause in read["causes"]] == [cause.kind for cause in c.causes]
    assert all(set(cause) >= {"kind", "where", "cost", "sentence"} for cause in read["causes"])
    lines = str(c).splitlines()
    told = "parameters" if c.regime == "underparametrised" else "guaranteed"
    assert max(map(len, lines)) <= 78 and {line.split()[0] for line in lines} >= {told, "rank", "floors", "in"}


def test_the_certificate_leaves_the_model_as_it_was() -> None:
    problem = wide()
    model, before, state = problem.blocks[0].map.model, problem.theta, torch.random.get_rng_state()
    certificate_of(problem, describe_point=True)
    assert torch.equal(problem.theta, before) and torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and model.training


def test_a_point_with_nonfinite_outputs_is_told_and_not_guessed() -> None:
    problem = wide(5)
    c = certificate_of(problem, theta=problem.theta * math.nan, describe_point=True)
    assert (c.level, c.rank, c.guaranteed, c.point.kind) == ("not computed", None, None, "unknown")
    assert "the cost is not finite" in c.reason and "Start at other parameters" in c.point.sentence
    assert c.as_dict()["cost"] is None and str(c)


# --- several blocks of rows ------------------------------------------------------------------------------------------


def two_blocks(weight: float = 3.0) -> Problem:
    """A network on two sets of samples, the second with weights of its own and counted threefold."""
    model, w = tanh_net(3, 6, 2), 0.2 + normal(7, seed=3).abs()
    first = RowBlock("first", gd.SampleMap(model, normal(9, 3)), normal(9, 2, seed=1))
    second = RowBlock("second", gd.SampleMap(model, normal(7, 3, seed=4)), normal(7, 2, seed=5), w, weight)
    return Problem((first, second))


def stacked_system(problem: Problem) -> tuple[Tensor, Tensor]:
    """`√(λ w/N_k)` times D and x − y of each block, one below the other: `C = ½‖r‖²`."""
    rows = []
    for block in problem.blocks:
        outputs, jacobian = block.map.linearise(problem.theta)
        w = torch.ones(len(block.target)).double() if block.weights is None else block.weights
        s = (block.weight * w / w.sum()).sqrt().repeat_interleave(block.n_outputs)
        rows.append((s[:, None] * jacobian.dense(), s * (outputs - block.target).reshape(-1)))
    return torch.cat([d for d, _ in rows]), torch.cat([r for _, r in rows])


def test_rank_cost_and_floor_of_two_blocks_are_those_of_their_rows_stacked() -> None:
    problem = two_blocks()
    d, r = stacked_system(problem)
    c = certificate_of(problem)
    step = torch.linalg.lstsq(d, r[:, None], driver="gelsd").solution[:, 0]
    sigma = torch.linalg.svdvals(d) * problem.n_samples**0.5
    assert (c.n_residuals, c.rank) == (32, int(torch.linalg.matrix_rank(d)))
    assert c.cost == pytest.approx(0.5 * float(r @ r), rel=1e-12)
    assert c.sigma_max == pytest.approx(float(sigma[0]), rel=1e-10)
    assert c.sigma_min == pytest.approx(float(sigma[c.rank - 1]), rel=1e-8)
    assert c.floor == pytest.approx(0.5 * float((r - d @ step).square().sum()), rel=1e-9, abs=1e-25)


def test_a_cause_in_one_block_names_it_with_its_part_of_the_cost() -> None:
    """Two samples with one input: a fit of a model that has parameters enough ends at what they cost."""
    X, w = normal(6, 20, seed=4), 0.2 + normal(6, seed=3).abs()
    X[5] = X[2]
    layer = nn.Linear(20, 1).double()
    problem = Problem(
        (
            RowBlock("clean", gd.SampleMap(layer, normal(4, 20)), normal(4, 1, seed=1)),
            RowBlock("twice", gd.SampleMap(layer, X), normal(6, 1, seed=5), w, 0.3),
        )
    )
    (cause,) = named_causes(problem)["identical_inputs"]
    assert cause.where["block"] == "twice" and cause.where["groups"] == [[2, 5]]
    assert cause.cost == pytest.approx(gd.fit(problem).cost, rel=1e-10)
    assert cause.cost == pytest.approx(certificate_of(problem).floor, rel=1e-10)


def instruments(other_select: bool = False) -> Problem:
    """Two blocks over one module: samples 0 and 3 of the second are samples 2 and 5 of the first; weights and λ."""
    X, w = normal(6, 20, seed=4), 0.2 + normal(5, seed=3).abs()
    Z = normal(5, 20, seed=7)
    Z[0], Z[3] = X[2], X[5]
    layer = nn.Linear(20, 2).double()
    first, second = (lambda x: x[:, :1]), (lambda x: x[:, 1:])
    maps = gd.SampleMap(layer, X, select=first), gd.SampleMap(layer, Z, select=second if other_select else first)
    one = RowBlock("one", maps[0], normal(6, 1, seed=5))
    return Problem((one, RowBlock("two", maps[1], normal(5, 1, seed=6), w, 0.3)))


@pytest.mark.slow
def test_identical_inputs_of_two_blocks_are_named_with_what_a_fit_leaves() -> None:
    problem = instruments()
    (cause,) = named_causes(problem)["identical_inputs"]
    assert cause.where["blocks"] == ["one", "two"] and cause.exact
    assert cause.where["groups"] == [[("one", 2), ("two", 0)], [("one", 5), ("two", 3)]]
    assert "('one' 2, 'two' 0; 'one' 5, 'two' 3)" in cause.sentence and cause.where["conflict"] == [True, True]
    assert cause.cost == pytest.approx(gd.fit(problem).cost, rel=1e-10)
    c = certificate_of(problem)
    assert cause.cost == pytest.approx(c.floor, rel=1e-10) and (c.rank, c.n_residuals) == (9, 11)
    assert json.loads(json.dumps(c.as_dict(), allow_nan=False))["causes"][0]["where"]["groups"][0][1] == ["two", 0]


def test_one_row_in_two_instruments_is_no_conflict_where_they_read_other_outputs() -> None:
    assert "identical_inputs" not in named_causes(instruments(other_select=True))


def test_a_sample_twice_in_one_block_and_once_in_another_is_counted_once() -> None:
    """Three samples of one input in two blocks, and two of another in one of them."""
    X, Z = normal(6, 20, seed=4), normal(5, 20, seed=7)
    X[4] = Z[1] = X[0]
    X[5] = X[3]
    layer = nn.Linear(20, 1).double()
    one = RowBlock("one", gd.SampleMap(layer, X), normal(6, 1, seed=5))
    problem = Problem((one, RowBlock("two", gd.SampleMap(layer, Z), normal(5, 1, seed=6))))
    shared, own = named_causes(problem)["identical_inputs"]
    assert shared.where["groups"] == [[("one", 0), ("one", 4), ("two", 1)]]
    assert own.where["block"] == "one" and own.where["groups"] == [[3, 5]]
    assert shared.cost + own.cost == pytest.approx(gd.fit(problem).cost, rel=1e-10)


def test_the_same_inputs_in_two_modules_are_no_cause() -> None:
    X = normal(4, 20)
    blocks = [RowBlock(n, gd.SampleMap(nn.Linear(20, 1).double(), X), normal(4, 1)) for n in ("a", "b")]
    assert "identical_inputs" not in named_causes(Problem(tuple(blocks)))


def test_a_unit_is_dead_only_if_it_is_on_the_samples_of_all_blocks() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        model[0].weight.abs_(), model[0].bias.fill_(0.1)
        model[0].bias[2] = -50.0
    quiet, loud = gd.SampleMap(model, normal(8, 3).abs()), gd.SampleMap(model, 100.0 * normal(8, 3).abs())
    assert [(u.kind, u.units) for u in idle_units([quiet], quiet.theta)] == [("dead_units", [2])]
    assert idle_units([quiet, loud], quiet.theta) == []
    blocks = tuple(RowBlock(name, part, normal(8, 1)) for name, part in (("quiet", quiet), ("loud", loud)))
    assert "dead_units" in named_causes(Problem(blocks[:1])) and "dead_units" not in named_causes(Problem(blocks))


def test_too_few_parameters_are_counted_against_the_rows_of_all_blocks() -> None:
    layer = nn.Linear(3, 2).double()
    blocks = [RowBlock(name, gd.SampleMap(layer, normal(3, 3)), normal(3, 2, seed=1)) for name in ("a", "b")]
    assert "too_few_parameters" not in named_causes(Problem((blocks[0],)))
    (cause,) = named_causes(Problem(tuple(blocks)))["too_few_parameters"]
    assert cause.where == {"n_params": 8, "n_residuals": 12}


def test_a_formula_has_a_certificate_without_causes_of_samples() -> None:
    """`x = θ₁ exp(−θ₂ t)` at six times: D is known by hand."""
    t = torch.linspace(0.0, 2.0, 6, dtype=torch.float64)
    curve = gd.FunctionMap(
        lambda p: p["size"] * torch.exp(-p["rate"] * t),
        {"size": torch.tensor(2.0, dtype=torch.float64), "rate": torch.tensor(0.7, dtype=torch.float64)},
    )
    problem = Problem.over(curve, normal(6))
    c = certificate_of(problem, describe_point=True)
    d = torch.stack([torch.exp(-0.7 * t), -2.0 * t * torch.exp(-0.7 * t)], 1)
    d = d / d.norm(dim=0)  # σ is that of columns of length 1
    r = 2.0 * torch.exp(-0.7 * t) - normal(6)
    assert (c.regime, c.rank, [cause.kind for cause in c.causes]) == ("underparametrised", 2, ["too_few_parameters"])
    assert c.sigma_min == pytest.approx(float(torch.linalg.svdvals(d)[-1]), rel=1e-10)
    left = r - d @ torch.linalg.lstsq(d, r[:, None]).solution[:, 0]
    assert c.floor == pytest.approx(float(left @ left) / 12.0)
    assert c.point.kind == "moving"
