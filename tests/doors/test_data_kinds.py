"""Arrays, lists, series and frames at every door: the same fit as of tensors, and refusals whose way out works."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import polars
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2))
Y = np.sin(X[:, 0]) * X[:, 1]


def net(q: int = 1, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, q)).to(dtype)


class Column:
    """A series of a library that stands in for pandas: `to_numpy`, and `__array__`."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def to_numpy(self) -> np.ndarray:
        return np.array(self.values, dtype=object)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


class Table:
    """A frame with such columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns, self.held = list(columns), columns

    def __getitem__(self, name: Any) -> Any:
        return Table({n: self.held[n] for n in name}) if isinstance(name, list) else Column(self.held[name])

    def to_numpy(self) -> np.ndarray:
        return np.array(list(self.held.values()), dtype=object).T


def frame() -> polars.DataFrame:
    return polars.DataFrame({"a": X[:, 0], "b": X[:, 1]})


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "array": lambda: (X, Y),
    "array of columns": lambda: (np.asfortranarray(X), Y[:, None]),
    "read-only": lambda: (np.broadcast_to(X, X.shape), Y),
    "reversed twice": lambda: (np.ascontiguousarray(X[::-1])[::-1], Y),
    "list": lambda: (X.tolist(), Y.tolist()),
    "list of rows": lambda: (list(X), list(Y)),
    "objects": lambda: (X.astype(object), Y.astype(object)),
    "polars": lambda: (frame(), polars.Series("y", Y)),
    "polars frame of one target": lambda: (frame(), polars.DataFrame({"y": Y})),
    "another library's frame": lambda: (Table({"a": X[:, 0].tolist(), "b": X[:, 1].tolist()}), Column(Y.tolist())),
    "mixed": lambda: (torch.tensor(X), Y.tolist()),
    "one in a tuple": lambda: ((X,), Y),
    "by name": lambda: ({"input": X}, Y),
}
DOORS: dict[str, Callable[..., Any]] = {
    "fit": lambda *data, **more: gd.fit(*data, max_steps=3, **more).theta,
    "flow": lambda *data, **more: gd.flow(*data, until=0.2, **more).theta,
    "certify": lambda *data, **more: torch.tensor(gd.certify(*data, **more).sigma_max),
    "initialise": lambda *data, **more: torch.tensor(gd.initialise(*data, **more).cost_left_out),
    "Problem": lambda *data, **more: gd.fit(gd.Problem.of(*data, **more), max_steps=3).theta,
    "SampleMap": lambda m, x, y, **more: gd.fit(gd.Problem.over(gd.SampleMap(m, x), y, **more), max_steps=3).theta,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_whatever_holds_the_numbers_is_fitted_as_tensors_are(door: str, kind: str) -> None:
    expected = DOORS[door](net(), torch.tensor(X), torch.tensor(Y)[:, None])
    assert torch.allclose(DOORS[door](net(), *KINDS[kind]()), expected, rtol=1e-9)  # a tuple goes by other products


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_weights_too(door: str) -> None:
    w = np.linspace(0.1, 2.0, 6)
    expected = DOORS[door](net(), torch.tensor(X), torch.tensor(Y), weights=torch.tensor(w))
    for weights in (w, w.tolist(), polars.Series("w", w)):
        assert torch.equal(DOORS[door](net(), X, Y, weights=weights), expected)


@pytest.mark.slow
def test_validation_and_batches_and_an_optimizer_too() -> None:
    more = RNG.normal(size=(7, 2)), RNG.normal(size=7)
    as_tensors = torch.tensor(more[0]), torch.tensor(more[1])
    expected = gd.fit(net(), X, Y, validation=as_tensors, max_steps=3).history["validation_cost"]
    for validation in (more, (more[0].tolist(), more[1].tolist()), (polars.DataFrame(more[0]), more[1])):
        solution = gd.fit(net(), X, Y, validation=validation, max_steps=3)
        assert np.array_equal(solution.history["validation_cost"], expected)
        assert "Validation: Tensors of" in " ".join(map(str, solution.stats["notes"]))
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=3)
    assert np.isfinite(gd.fit(net(), loader, validation=more, max_steps=3).history["validation_cost"]).all()
    costs = [gd.GeoDescent(net()).step(*data) for data in ((torch.tensor(X), torch.tensor(Y)), (X, Y), (frame(), Y))]
    assert costs[0] == costs[1] == costs[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_become_tensors_of_the_models_dtype_which_the_notes_say(dtype: torch.dtype) -> None:
    for solve in (lambda *a, **k: gd.fit(*a, max_steps=1, **k), lambda *a, **k: gd.flow(*a, until=0.1, tol=1e-3, **k)):
        notes = solve(net(dtype=dtype), frame(), Y.tolist(), weights=np.ones(6, dtype=int)).stats["notes"]
        said = f"Tensors of {dtype} on cpu were made of X (polars DataFrame), y (list) and weights (numpy ndarray)."
        assert notes[0] == said
    assert gd.fit(net(), torch.tensor(X), torch.tensor(Y), max_steps=1).stats["notes"] == []


def test_the_users_array_is_copied() -> None:
    mine = X.copy()
    problem = gd.Problem.of(net(), mine, Y)
    mine[:] = 0.0
    assert problem.cost(problem.theta) == gd.Problem.of(net(), X, Y).cost(problem.theta)


def test_integers_are_numbers_unless_the_model_looks_them_up() -> None:
    counts = np.arange(12).reshape(6, 2)
    assert torch.equal(gd.SampleMap(net(), counts).inputs, torch.tensor(counts, dtype=torch.float64))
    tokens = gd.SampleMap(nn.Sequential(nn.Embedding(12, 3), nn.Flatten(), nn.Linear(6, 1)).double(), counts)
    assert tokens.inputs.dtype == torch.int64
    targets = gd.fit(net(), X, [0, 1] * 3, max_steps=1)
    assert targets.cost0 == gd.fit(net(), X, np.array([0.0, 1.0] * 3), max_steps=1).cost0


def test_missing_values_are_counted() -> None:
    holed = frame().with_columns(b=polars.Series([None, *X[1:, 1]]))
    for x in (holed, np.ma.masked_array(X, mask=X[0, 1] == X), Table({"a": [None, 1.0], "b": [1, 2.5]})):
        with pytest.raises(gd.InputError, match=r"X holds 1 NaN or infinite values"):
            gd.SampleMap(net(), x)


# --- refusals, and their ways out -------------------------------------------------------------------------------------

CITIES = ["Bonn", "Ulm", "Trier"] * 2
LABELS = np.arange(6) % 3


def way_of(error: pytest.ExceptionInfo[gd.InputError], pattern: str, **names: Any) -> Any:
    """The value of the expression that a message names."""
    found = re.search(pattern, str(error.value))
    assert found, str(error.value)
    return eval(found[1], {"numpy": np, "torch": torch, **names})


def test_text_columns_are_named_and_both_ways_out_work() -> None:
    x = frame().with_columns(city=polars.Series(CITIES), when=polars.Series(CITIES))
    with pytest.raises(gd.InputError, match=r"column 'city' holds text \('Bonn'\); column 'when' holds text") as error:
        gd.fit(net(), x, Y)
    assert gd.fit(net(), way_of(error, r"leave them out, (X\[\[.*?\]\])", X=x), Y, max_steps=1).steps == 1
    assert way_of(error, r"(X\.to_dummies\(.*?\))", X=x).shape == (6, 8)
    with pytest.raises(gd.InputError, match=r"pandas\.get_dummies\(X, columns=\['city'\]\)") as error:
        gd.fit(net(), Table({"a": [1.0, 2.0], "city": ["x", "y"]}), Y)
    assert way_of(error, r"leave them out, (X\[\[.*?\]\])", X=Table({"a": [1.0], "city": ["x"]})).columns == ["a"]


@pytest.mark.parametrize("x", [
    [[0.5, "Ulm", 1.0]] * 6,
    np.array([[0.5, "Ulm", 1.0]] * 6, dtype=object),
    np.array([["0.5", "Ulm", "1.0"]] * 6),
])  # fmt: skip
def test_text_in_an_array_is_named_by_column(x: Any) -> None:
    with pytest.raises(gd.InputError, match=r"column 1 of X holds text") as error:
        gd.fit(net(), x, Y)
    assert np.array_equal(way_of(error, r"leave it out, (.*)\.$", X=x), [[0.5, 1.0]] * 6)


@pytest.mark.parametrize("y", [CITIES, np.array(CITIES), polars.Series(CITIES)])
def test_text_targets(y: Any) -> None:
    with pytest.raises(gd.InputError, match=r"y holds text \('Bonn'\)") as error:
        gd.fit(net(3), X, y)
    assert gd.fit(net(3), X, way_of(error, r"values, (.*)\.$", y=y), max_steps=1).steps == 1


@pytest.mark.parametrize("y", [LABELS, LABELS.tolist(), polars.Series(LABELS), torch.tensor(LABELS), LABELS[:, None]])
def test_class_labels_still_raise(y: Any) -> None:
    with pytest.raises(gd.InputError, match=r"6 class labels as numbers") as error:
        gd.fit(net(3), X, y)
    one_hot = way_of(error, r"pass (torch\..*)\.$", y=y)
    if one_hot.dim() == 2:
        assert gd.fit(net(3), X, one_hot, max_steps=1).steps == 1
    with pytest.raises(gd.InputError, match=r"If y holds class labels, pass .*one_hot"):
        gd.fit(net(3), X, np.asarray(LABELS, dtype=float))


DATES = np.arange(6).astype("datetime64[D]")
NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "dates": (DATES, r"X holds dates or times"),
    "dates in a frame": (frame().with_columns(b=polars.Series(DATES)), r"column 'b' holds dates or times"),
    "complex": (X + 1j, r"X holds complex numbers: pass both parts, numpy\.stack\(\[X\.real"),
    "ragged": ([[1.0, 2.0], [1.0]], r"X is no array of numbers: its rows need one length"),
    "fields": (np.zeros(6, dtype=[("a", float)]), r"pass plain numbers, one column for each field"),
    "objects": (np.array([[object(), 1.0]] * 6), r"X holds what is no number"),
    "a file": ("prices.csv", r"X is str: pass a tensor"),
    "a function": (len, r"X is builtin_function_or_method: pass a tensor"),
    "no columns": (polars.DataFrame(), r"X has no columns"),
    "too large": (
        np.full((6, 2), 1e300),
        r"12 numbers beyond the range of torch\.float32: call model\.double",
    ),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_holds_no_numbers_is_refused(name: str) -> None:
    x, message = NO_NUMBERS[name]
    with pytest.raises(gd.InputError, match=message):
        gd.fit(net(dtype=torch.float32), x, np.ones(6))


def test_days_and_parts_are_ways_out() -> None:
    with pytest.raises(gd.InputError, match="days since the first") as error:
        gd.fit(net(), X, DATES)
    assert np.array_equal(way_of(error, r"first, (.*)\.$", y=DATES), np.arange(6.0))
    with pytest.raises(gd.InputError, match="both parts") as error:
        gd.fit(net(), X, Y + 2j)
    assert way_of(error, r"parts, (.*)\.$", y=Y + 2j).shape == (6, 2)
