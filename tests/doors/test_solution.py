"""What a fit and a flow return: blocks in the history, work counted, the certificate that is made when asked for."""

import copy
import pickle
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from support.diabetes import diabetes, theta_of
from support.printed import rows_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

Solved = gd.Solution | gd.Flow
DOORS: dict[str, Callable[..., Solved]] = {
    "fit": lambda *data: gd.fit(*data, max_steps=2),
    "flow": lambda *data: gd.flow(*data, until=0.2),
}


# --- the history ----------------------------------------------------------------------------------------------------


def test_block_rms_is_unweighted() -> None:
    """The root of the mean of (x − y)² in each block, whatever its weights."""
    model, x, y = diabetes()
    weights = torch.linspace(0.5, 2.0, 20, dtype=torch.float64)
    penalty = gd.FunctionMap(lambda theta: theta[:7], theta_of(model))
    blocks = (
        gd.RowBlock("data", gd.SampleMap(model, x[:20]), y[:20], weights=weights, weight=3.0),
        gd.RowBlock("rest", gd.SampleMap(model, x[20:]), y[20:]),
        gd.RowBlock("small", penalty, torch.zeros(7, dtype=torch.float64), weight=0.01),
    )
    rms = gd.fit(gd.Problem(blocks), max_steps=3).history["block_rms"]
    off = (model(x) - y).detach()[:, 0]
    assert list(rms) == ["data", "rest", "small"]
    for name, rows in {"data": off[:20], "rest": off[20:], "small": theta_of(model)[:7]}.items():
        assert rms[name].shape == (4,) and rms[name][-1] == pytest.approx(float(rows.square().mean().sqrt()), rel=1e-9)


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_block_rms_of_one_block_with_several_outputs(weight: float) -> None:
    model, x, _ = diabetes(12)
    model[2] = nn.Linear(12, 3).double()
    y = torch.sin(x[:, :3])
    block = gd.RowBlock("three", gd.SampleMap(model, x), y, weight=weight)
    seen: list[float] = []
    solution = gd.fit(gd.Problem((block,)), max_steps=4, callback=lambda r: seen.append(r.block_rms["three"]))
    rms = solution.history["block_rms"]["three"]
    assert list(rms[1:]) == seen
    assert rms[-1] == pytest.approx(float((model(x) - y).detach().square().mean().sqrt()), rel=1e-9)
    assert np.all(np.isfinite(rms)) and rms[0] > rms[-1]


# --- work counted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 300], ids=["exact steps", "an opening"])
def test_a_fit_of_five_steps_linearises_at_most_seven_times(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As counted by the run, and by the map itself: five steps, and one look at a few samples before."""
    calls: list[int] = []
    linearise = gd.SampleMap.linearise

    def counted(outputs: gd.SampleMap, theta: Tensor | None = None) -> Any:
        calls.append(outputs.n_samples)
        return linearise(outputs, theta)

    monkeypatch.setattr(gd.SampleMap, "linearise", counted)
    solution = gd.fit(*diabetes(n), max_steps=5)
    assert solution.steps == 5 and solution.stats["linearisations"] == 5
    assert len(calls) <= 7 and calls.count(n) == 5
    repr(solution)
    assert (before := len(calls)) <= 7
    assert solution.certificate.n_residuals == n and len(calls) > before  # made when it is asked for
    once = len(calls)
    assert solution.certificate is solution.certificate and len(calls) == once  # and kept


def test_where_no_step_was_taken_there_is_nothing_to_count() -> None:
    solution = gd.fit(*diabetes(), max_steps=0)
    assert "linearisations" not in solution.stats and solution.stats["routes"] == []


# --- the certificate ------------------------------------------------------------------------------------------------


def with_surroundings() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that depends on a mode, on buffers and on parameters outside θ."""
    model, x, y = diabetes(6, hidden=4)
    norm = nn.BatchNorm1d(4).double().requires_grad_(False)
    with torch.no_grad():
        norm.running_mean.copy_(torch.linspace(-0.3, 0.3, 4))
        norm.weight.copy_(torch.linspace(0.5, 1.5, 4))
    return nn.Sequential(model[0], nn.Tanh(), norm, nn.Dropout(0.3), model[2]).eval(), x, y


def zeroed(model: nn.Module) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()


def fitted_elsewhere(model: nn.Module) -> None:
    _, x, y = with_surroundings()
    gd.fit(model, x, -y, max_steps=2)


def another_layer(model: nn.Module) -> None:
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))


SINCE: dict[str, Callable[[nn.Module], object]] = {
    "zeroed": zeroed,
    "fitted to other data": fitted_elsewhere,
    "in training mode": lambda model: model.train(),
    "frozen": lambda model: model.requires_grad_(False),
    "thawed": lambda model: model.requires_grad_(True),
    "its buffers changed": lambda model: model[2].running_mean.fill_(3.0),
    "a parameter put in another's place": another_layer,
    "converted": lambda model: model.float(),
}


@lru_cache
def untouched(door: str) -> dict[str, Any]:
    """The certificate of a run whose module nobody touched since."""
    return DOORS[door](*with_surroundings()).certificate.as_dict()


@pytest.mark.slow
@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("door", DOORS)
def test_the_certificate_is_that_of_the_solution_whatever_happened_since(door: str, since: str) -> None:
    model, x, y = with_surroundings()
    solution = DOORS[door](model, x, y)
    SINCE[since](model)
    before = [t.clone() for t in model.state_dict().values()], [m.training for m in model.modules()]
    assert solution.certificate.as_dict() == untouched(door)
    now = list(model.state_dict().values())
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(now, before[0], strict=True))
    assert [m.training for m in model.modules()] == before[1]


def test_the_certificate_is_at_the_best_point_and_knows_the_target() -> None:
    model, x, y = diabetes(16)
    solution = gd.fit(model, x, y, max_steps=2, target_cost=1e-5)
    certificate = gd.certify(model, x, y, target_cost=1e-5)
    assert solution.certificate.cost == pytest.approx(solution.cost, rel=1e-10)
    assert solution.certificate.stopping_time == certificate.stopping_time
    assert solution.certificate.sigma_min == pytest.approx(certificate.sigma_min, rel=1e-12)
    assert torch.equal(solution.theta, theta_of(model))


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_the_short_form_computes_nothing_and_the_long_one_tells_all(
    door: Callable[..., Solved], monkeypatch: pytest.MonkeyPatch
) -> None:
    solution = door(*diabetes(6, hidden=4))
    with monkeypatch.context() as patched:
        patched.setattr(gd.SampleMap, "linearise", None)
        short = repr(solution)
    assert "\n" not in short and solution.result.name in short
    lines = rows_of(str(solution))
    assert len(lines) == 6 and any(solution.result.value in line for line in lines)
    assert solution.certificate.meaning in lines[3]


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_pickling_keeps_the_certificate_if_it_was_made(door: Callable[..., Solved]) -> None:
    solution = door(*diabetes(6, hidden=4))
    early = pickle.loads(pickle.dumps(solution))
    assert torch.equal(early.theta, solution.theta) and early.result is solution.result
    with pytest.raises(gd.InputError, match=r"pickled before its certificate was made: call gd\.certify"):
        _ = early.certificate
    made = solution.certificate
    assert pickle.loads(pickle.dumps(solution)).certificate == made


def reordered(model: nn.Module) -> None:
    """Another activation: the parameters are the same, what they mean is not."""
    model[1] = nn.ReLU()


def another_first_layer(model: nn.Module) -> None:
    """Its parameters are those of the solution when it is called, but the layer whose inputs were recorded is gone."""
    model[0] = nn.Linear(10, 3).double()


def without_outputs(model: nn.Module) -> None:
    model[1] = nn.Linear(3, 3).double()


UNDONE = {
    "another activation": (
        reordered,
        r"cost at the solution is \S+ and was \S+\. Read solution\.certificate before",
    ),
    "another first layer": (another_first_layer, r"Nothing was computed: JacobianError: the model calls its layers in"),
    "no outputs": (without_outputs, r"have been changed so that there are no outputs at the solution \("),
    "a hook": (lambda model: model[0].register_forward_hook(lambda m, i, o: 2.0 * o), r"the cost at the solution is"),
}


@pytest.mark.slow
@pytest.mark.parametrize("since", UNDONE)
@pytest.mark.parametrize("door", DOORS)
def test_what_cannot_be_undone_is_said_and_nothing_is_raised(door: str, since: str) -> None:
    model, x, y = diabetes(9)
    solution = DOORS[door](model, x, y)
    change, sentence = UNDONE[since]
    change(model)
    certificate = solution.certificate
    assert certificate.rank is None and certificate.level == "not computed" and certificate.causes == ()
    assert re.search(sentence, certificate.reason or "")
    assert certificate.cost == pytest.approx(gd.Problem.of(*diabetes(9)).cost(solution.theta), rel=1e-9)
    assert "Nothing was computed" in " ".join(str(solution).split())


def test_data_changed_in_place_are_noticed() -> None:
    model, x, y = diabetes(9)
    solution = gd.fit(model, x, y, max_steps=2)
    x.mul_(2.0)
    assert "the module, or the data, have been changed" in (solution.certificate.reason or "")


@pytest.mark.parametrize("since", ["in training mode", "its buffers changed", "converted"])
def test_the_certificate_of_a_closure_is_that_of_the_solution_too(since: str) -> None:
    """What the closure reads beside the module's parameters is restored."""
    certificates = []
    for change in (lambda model: None, SINCE[since]):
        model, x, y = with_surroundings()
        outputs = gd.ClosureMap.of(model, lambda model=model, x=x, y=y: (model(x), y))
        solution = gd.fit(gd.Problem.over(outputs, outputs.target), max_steps=2)
        change(model)
        certificates.append(solution.certificate.as_dict())
    assert certificates[0] == certificates[1] and certificates[0]["rank"] is not None


def test_copies_keep_the_certificate() -> None:
    solution = gd.fit(*diabetes(9), max_steps=2)
    for copied in (copy.copy(solution), copy.deepcopy(solution)):
        assert copied.certificate == solution.certificate
    assert solution != copy.deepcopy(solution)  # results are compared as objects, not entry by entry


def test_over_a_loader_the_certificate_is_said_to_be_of_the_first_batch() -> None:
    model, x, y = diabetes(20)
    solution = gd.fit(model, DataLoader(TensorDataset(x, y), batch_size=5), max_steps=4)
    assert solution.stats["notes"] == ["The certificate is that of the first batch, 5 samples."]
    assert solution.certificate.n_residuals == 5
