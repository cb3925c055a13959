"""Settings that mean nothing are refused where they are given, and the example in the sentence is one that works."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent import costs

F64 = torch.float64
NAMES = {"gd": gd, "math": math, "np": np, "torch": torch}
NAN, INF = math.nan, math.inf
PAIR = torch.ones(2)


def problem() -> gd.Problem:
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(10, n, generator=generator, dtype=F64) for n in (3, 2))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return gd.Problem((gd.RowBlock("data", gd.SampleMap(model, X), y),))


def fit(**settings: Any) -> object:
    return gd.fit(problem(), **{"max_steps": 1, **settings})


def flow(**settings: Any) -> object:
    return gd.flow(problem(), **({"until": 0.1, "tol": 1e-3} | settings if "target_cost" not in settings else settings))


def certify(**settings: Any) -> object:
    return gd.certify(problem(), **settings)


def initialise(**settings: Any) -> object:
    return gd.initialise(problem(), **{"gains": (1.0, 2.0), **settings})


def block(**settings: Any) -> object:
    return gd.RowBlock(
        "rows", gd.FunctionMap(lambda theta: theta, PAIR.double()), torch.zeros(2, dtype=F64), **settings
    )


def by(control: Callable[..., gd.Control[Any]]) -> Callable[..., object]:
    """A fit of one step under a control with these settings."""
    return lambda **settings: fit(method=gd.Method(control=control(**settings)))


def over(lift: Callable[..., gd.Lift]) -> Callable[..., object]:
    return lambda **settings: fit(method=gd.Method(lift=lift(**settings)))


def along(walk: Callable[..., gd.Walk]) -> Callable[..., object]:
    return lambda **settings: fit(method=gd.Method(walk=walk(**settings)))


def spring(**settings: Any) -> object:
    data, model = TensorDataset(torch.ones(4, 3, dtype=F64), torch.ones(4, 2, dtype=F64)), nn.Linear(3, 2).double()
    return gd.fit(model, DataLoader(data, 2), max_steps=2, method=gd.Method(control=gd.Spring(**settings)))


def stage(**settings: Any) -> object:
    here = problem()
    return gd.Stage(gd.FixedSource(here), gd.GramLift(), gd.EulerWalk(), gd.GainRatio(), **settings)


def optimizer(**settings: Any) -> object:
    model = nn.Linear(3, 2).double()
    made = gd.GeoDescent(model, [{"params": model.parameters(), **settings}])
    return made.step(torch.ones(4, 3, dtype=F64), torch.zeros(4, 2, dtype=F64))


def elra(**settings: Any) -> object:
    return gd.optim.ELRA(nn.Linear(3, 2).parameters(), **settings)


def predicted(**settings: Any) -> object:
    return gd.predicted_cost(**{"cost0": 1.0, "time": 1.0, **settings})


def stopping(**settings: Any) -> object:
    return gd.stopping_time(**{"cost0": 1.0, "target_cost": 1e-3, **settings})


def smoothed(**settings: Any) -> object:
    return costs.smoothed(torch.tensor([0, 1]), **{"n_classes": 3, "smoothing": 0.1, **settings})


def combined(**settings: Any) -> object:
    return gd.geometry.combined_flow(problem(), **{"until": 0.1, "tol": 1e-3, **settings})


def refined(**settings: Any) -> object:
    here = problem()
    gd.fit(here, target_cost=1e-25) if "highest_cost" in settings else None
    return gd.geometry.refine(here, **{"highest_cost": 1e6, "max_steps": 1, **settings})


def planted(**settings: Any) -> object:
    return gd.geometry.deep_relu(torch.arange(6.0)[:, None], **{"n_outputs": 2, "depth": 3, **settings})


NO_NUMBERS: tuple[Any, ...] = ("1", True, [1.0], PAIR, NAN, {}, 1j, np.ones(2), torch.ones((), device="meta"))
"""What is a number nowhere; NaN neither."""
MEANINGLESS: list[tuple[Callable[..., object], str, tuple[Any, ...]]] = [
    (fit, "target_cost", (-1.0, INF)),
    (fit, "max_steps", (-1, 1.5, INF, "10")),
    (fit, "max_seconds", (-1.0, -INF)),
    (fit, "stop", ("late", 1, ["cost"])),
    (fit, "callback", (1, "print")),
    (fit, "checkpoint", (1, True, "")),
    (flow, "until", (0.0, -1.0, INF)),
    (flow, "tol", (0.0, 1.0, -1e-9, None)),
    (flow, "target_cost", (0.0, -1.0, INF)),
    (flow, "max_seconds", (-1.0,)),
    (flow, "callback", (1,)),
    (certify, "target_cost", (-1.0, INF)),
    (certify, "rcond", (-1.0, 1.0, 2.0)),
    (certify, "lipschitz", (0.0, -1.0, INF)),
    (certify, "max_seconds", (-1.0,)),
    (initialise, "gains", ((), 2.0, (1.0, -1.0), (1.0, NAN), ("1",), None)),
    (initialise, "max_samples", (1, 2.5, None)),
    (initialise, "seed", (-1, 0.5, None, 2**64)),
    (block, "weight", (0.0, -1.0, INF, None)),
    (over(gd.GramLift), "rcond", (-1.0, 1.0, 2.0)),
    (over(gd.NormalLift), "rcond", (-1.0, 1.0, 2.0)),
    (over(gd.KrylovLift), "tol", (0.0, 1.0, -1.0, None)),
    (over(gd.KrylovLift), "max_iterations", (0, -1, 1.5, INF, None)),
    (over(gd.KrylovLift), "slack", (-1.0, INF, None)),
    (over(gd.KrylovLift), "products", (torch.float16, torch.int64, "float32")),
    (over(gd.geometry.HomotopyLift), "alpha", (-0.1, 1.1, None)),
    (along(gd.EulerWalk), "step_size", (0.0, -1.0, INF, None)),
    (along(gd.GeodesicWalk), "step_size", (0.0, -1.0, INF, None)),
    (by(gd.GainRatio), "initial_damping", (0.0, -1.0, INF)),
    (by(gd.GainRatio), "least_damping", (0.0, -1.0, INF)),
    (by(gd.GainRatio), "largest_damping", (0.0, -1.0, INF)),
    (by(gd.GainRatio), "accept", (-0.1, 1.0)),
    (by(gd.GainRatio), "fall", (0.0, -0.1, 1.1)),
    (by(gd.GainRatio), "rise", (0.0, 1.0, -4.0, INF)),
    (by(gd.GainRatio), "largest_bend", (0.0, -1.0)),
    (by(gd.NaturalControl), "initial_damping", (0.0, -1.0, INF)),
    (by(gd.NaturalControl), "allowance", (0.0, -1.0, INF)),
    (by(gd.NaturalControl), "share", (-1.0, INF)),
    (by(gd.NaturalControl), "patience", (-1.0, INF)),
    (by(gd.NaturalControl), "corrections", (-1, 0.5)),
    (by(gd.NaturalControl), "attempts", (0, -1, 0.5)),
    (by(gd.NaturalControl), "descent", (None, 1, gd.GainRatio)),
    (spring, "momentum", (1.0, -0.1, 2.0, None)),
    (spring, "rule", (None, gd.GainRatio, gd.NaturalControl())),
    (stage, "solve_dtype", (torch.float16, torch.int64, "float64", None)),
    (stage, "leave", (None, (1,), [gd.AfterSteps(1)], gd.AfterSteps(1))),
    (lambda **settings: fit(method=gd.Method(**settings)), "solve_dtype", (torch.float16, torch.bfloat16, float, None)),
    (gd.AfterSteps, "steps", (-1, 0.5, None)),
    (lambda **settings: gd.AfterSteps(10, **settings), "stages", (0, -1, 0.5)),
    (lambda **settings: gd.AfterSteps(10, **settings), "least_fall", (-1.0, INF)),
    (gd.PartEnds, "stages", (0, -1)),
    (gd.OpeningEnds, "exact", (None, gd.GramLift, gd.KrylovLift())),
    (optimizer, "lr", (-1.0, INF, None)),
    (elra, "lr", (0.0, -1.0, INF, None)),
    (predicted, "cost0", (-1.0, INF, None)),
    (predicted, "time", (-1.0, np.array([0.0, -1.0]), np.array([0.0, NAN]), "1", None, 1j, [0.0, 1.0], True)),
    (predicted, "floor", (-1.0, INF)),
    (stopping, "cost0", (-1.0, INF, None)),
    (stopping, "target_cost", (INF, None)),
    (stopping, "floor", (-1.0, INF)),
    (costs.Huber, "delta", (0.0, -1.0, INF, None)),
    (smoothed, "smoothing", (0.0, 1.0, -0.1, None)),
    (smoothed, "n_classes", (0, -1, 1.5, None)),
    (combined, "strength", (-1.0, INF, None)),
    (combined, "until", (0.0, -1.0, INF, None)),
    (combined, "tol", (0.0, 1.0, None)),
    (combined, "max_seconds", (-1.0, None)),
    (refined, "highest_cost", (-1.0, INF, None)),
    (refined, "max_steps", (-1, 1.5, None)),
    (refined, "max_seconds", (-1.0, None)),
    (planted, "n_outputs", (0, -1, 1.5, None)),
    (planted, "depth", (-1, 1.5, None)),
    (planted, "seed", (-1, 0.5, None)),
]
TAKE_OTHERS = {
    "stop",
    "callback",
    "checkpoint",
    "gains",
    "products",
    "descent",
    "rule",
    "solve_dtype",
    "leave",
    "exact",
    "time",
}
"""Settings that are no numbers."""
CASES = [
    pytest.param(call, name, (*values, *(() if name in TAKE_OTHERS else NO_NUMBERS)), id=f"{i}-{name}")
    for i, (call, name, values) in enumerate(MEANINGLESS)
]


def way_out(sentence: str, name: str) -> str:
    """The code of the example in a sentence."""
    found = re.search(rf"(?<![\w.]){name}=(.+?)\.$", sentence) or re.search(r"for example (\(.+\))\.$", sentence)
    assert found, sentence
    return found[1]


@pytest.mark.parametrize(("call", "name", "values"), CASES)
def test_meaningless_settings_are_refused_with_one_that_works(
    call: Callable[..., object], name: str, values: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = set[str]()
    for value in values:
        with pytest.raises(gd.InputError) as refused:
            call(**{name: value})
        sentence = str(refused.value)
        assert name in sentence and "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400
        examples.add(way_out(sentence, name))
    for code in examples:
        call(**{name: eval(code, NAMES | {"time": [0.0, 1.0]})})


def of(value: float) -> list[Any]:
    """The same number in the forms that it comes in."""
    return [value, np.float64(value), np.float32(value), np.array(value), torch.tensor(value, dtype=F64)]


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        (fit, "target_cost", 0.5),
        (fit, "max_seconds", 8.0),
        (flow, "tol", 0.125),
        (block, "weight", 0.5),
        (elra, "lr", 0.5),
    ],
)
def test_a_number_is_a_number_in_whatever_form(call: Callable[..., object], name: str, value: float) -> None:
    for same in of(value):
        call(**{name: same})


@pytest.mark.parametrize("same", [*of(2.0), 2, np.int64(2), torch.tensor(2), torch.tensor(2.0)])
def test_a_whole_number_is_one_in_whatever_form(same: Any) -> None:
    assert gd.AfterSteps(same) == gd.AfterSteps(2)
    assert type(gd.AfterSteps(same).steps) is int
    assert fit(max_steps=same).steps <= 2  # type: ignore[attr-defined]


def test_what_is_kept_is_a_plain_number() -> None:
    """So that a method is equal to another, hashable, and can be saved."""
    lift = gd.GramLift(rcond=torch.tensor(0.5))  # type: ignore[arg-type]
    assert lift == gd.GramLift(rcond=0.5) and hash(lift) == hash(gd.GramLift(rcond=0.5))


def test_seconds_without_bound_may_be_given() -> None:
    assert fit(max_seconds=INF).steps == 1  # type: ignore[attr-defined]


def test_dampings_stand_in_their_order() -> None:
    with pytest.raises(gd.InputError, match=r"does not lie between .*: pass three numbers in this order") as refused:
        gd.GainRatio(initial_damping=1.0, largest_damping=1e-3)
    (code,) = re.findall(r"gd\.GainRatio\(.*\)", str(refused.value))
    by(lambda: eval(code, NAMES))()


def test_a_floor_above_the_start_is_no_floor() -> None:
    with pytest.raises(gd.InputError, match=r"floor = 2 is above cost0 = 1: pass a floor from 0 to cost0"):
        gd.predicted_cost(1.0, 1.0, floor=2.0)
    assert gd.predicted_cost(1.0, 1.0, floor=1.0) == 1.0
