"""Models that return tuples, dicts or objects: the refusal names a `select` that works, at every door."""

import re
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

X = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.sin(X[:, :1])
Pair = namedtuple("Pair", "logits hidden")


@dataclass
class Output:
    loss: Any
    logits: Tensor


class Returns(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.wrap = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.body(x))


RETURNED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple": (lambda out: (out, 2.0 * out), "[0]"),
    "list, the second": (lambda out: [torch.tensor(3), out], "[1]"),
    "dict": (lambda out: {"loss": None, "logits": out}, "['logits']"),
    "ordered dict": (lambda out: OrderedDict(a=out), "['a']"),
    "named tuple": (lambda out: Pair(out, None), "[0]"),
    "dataclass": (lambda out: Output(None, out), ".logits"),
    "object": (lambda out: SimpleNamespace(value=out), ".value"),
    "nested": (lambda out: ({"state": None}, {"heads": [out]}), "[1]['heads'][0]"),
}
DOORS: dict[str, Callable[..., Any]] = {
    "fit": lambda m, **more: gd.fit(m, X, Y, max_steps=2, **more).cost0,
    "fit over batches": lambda m, **more: gd.fit(m, loader(), max_steps=1, **more).cost0,
    "fit over all batches": lambda m, **more: (
        gd.fit(m, loader(), max_steps=1, method=gd.Method(lift=gd.NormalLift()), **more).cost0
    ),
    "flow": lambda m, **more: gd.flow(m, X, Y, until=1.0, max_seconds=0.0, **more).cost0,
    "certify": lambda m, **more: gd.certify(m, X, Y, **more).cost,
    "initialise": lambda m, **more: gd.initialise(m, X, Y, **more).cost_of_mean,
    "GeoDescent": lambda m, **more: gd.GeoDescent(m, **more).step(X, Y),
    "Problem": lambda m, **more: gd.Problem.of(m, X, Y, **more).cost(gd.SampleMap(m, X, **more).theta),
}


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), batch_size=6)


def model(wrap: Callable[[Tensor], Any]) -> nn.Module:
    torch.manual_seed(0)
    return Returns(wrap).double()


@pytest.mark.slow
@pytest.mark.parametrize("name", RETURNED)
@pytest.mark.parametrize("door", DOORS)
def test_the_refusal_names_a_select_that_works(door: str, name: str) -> None:
    wrap, where = RETURNED[name]
    with pytest.raises(gd.InputError, match=r"the model returns \w+, not a tensor: say which part is meant") as error:
        DOORS[door](model(wrap))
    found = re.search(r"select=(lambda out: out.*)\.$", str(error.value))
    assert found and found[1] == f"lambda out: out{where}"
    assert DOORS[door](model(wrap), select=eval(found[1])) == DOORS[door](model(lambda out: out))


def test_where_nothing_can_be_selected_the_model_is_to_return_it() -> None:
    for wrap in (lambda out: None, lambda out: "text", lambda out: {"n": torch.tensor(3)}, lambda out: out.tolist()):
        with pytest.raises(gd.InputError, match=r"not a tensor: return the outputs as one tensor"):
            gd.fit(model(wrap), X, Y)


def test_a_select_that_is_no_way_out_is_refused() -> None:
    with pytest.raises(gd.InputError, match=r"select returns dict, not a tensor: go on to a tensor in it, \['b'\]"):
        gd.fit(model(lambda out: ({"b": out},)), X, Y, select=lambda out: out[0])
    with pytest.raises(gd.InputError, match=r"select is a str: a function is needed, for example select=lambda"):
        gd.fit(model(lambda out: {"b": out}), X, Y, select="b")
    with pytest.raises(gd.InputError, match=r"select could not be applied to the tuple .*range"):
        gd.fit(model(lambda out: (out,)), X, Y, select=lambda out: out[3])
    with pytest.raises(gd.InputError, match=r"a closure returns the outputs themselves"):
        gd.GeoDescent(model(lambda out: (out,)), select=lambda out: out[0]).step(lambda: (X, Y))
