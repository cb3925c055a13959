"""Arguments that people bring from elsewhere: a sentence says what takes their place, and that works."""

import inspect
from typing import Any

import pytest
import torch
from support.diabetes import diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent.doors._call import ANSWERS

DOORS = [gd.fit, gd.plan, gd.flow, gd.certify, gd.initialise, gd.GeoDescent]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", [name for names, _, _ in ANSWERS for name in names])
def test_every_door_answers_and_names_no_argument_that_it_lacks(door: Any, name: str) -> None:
    model, _, _ = diabetes(8)
    known = set(inspect.signature(door).parameters)
    if name in known:
        pytest.skip("an argument of this door")
    with pytest.raises(gd.InputError, match=f"gd.{door.__name__} has no {name}=") as error:
        door(model, **{name: 1})
    told = next(argument for names, argument, _ in ANSWERS if name in names)
    assert ("; it takes " in str(error.value)) == (told is not None and told not in known)


def test_what_takes_their_place_works() -> None:
    model, x, y = diabetes(12)
    assert gd.fit(model, x, y, max_steps=3).steps == 3  # epochs
    assert gd.fit(model, DataLoader(TensorDataset(x, y), batch_size=4), max_steps=2).steps == 2  # batch_size
    assert gd.fit(model, x, y, validation=(x, y), max_steps=1).steps == 1  # validation_data
    assert gd.fit(model, x, y, method=gd.Method(lift=gd.GramLift()), max_steps=1).steps == 1  # optimizer
    assert gd.GeoDescent(model).step(x, y) > 0.0
    three, labels = nn.Linear(10, 3).double(), torch.arange(12) % 3
    assert gd.fit(three, x, torch.nn.functional.one_hot(labels).to(x), max_steps=1).steps == 1  # loss
    assert callable(gd.geometry.cost_flow)


def test_a_slip_of_the_pen_is_understood() -> None:
    model, x, y = diabetes(8)
    with pytest.raises(gd.InputError, match=r"gd\.fit has no max_step=; it takes .*Did you mean max_steps=\?"):
        gd.fit(model, x, y, max_step=3)
    with pytest.raises(gd.InputError, match=r"gd\.flow has no method=; it takes model, X, y, until.*Leave it out"):
        gd.flow(model, x, y, method=None)
    with pytest.raises(gd.InputError, match=r"no lr=: there is no learning rate.* gd\.fit has no epochs=: every step"):
        gd.fit(model, x, y, lr=0.1, epochs=3)
    with pytest.raises(gd.InputError, match=r"gd\.fit: too many positional arguments\. .*\(model, X, y, …\)"):
        gd.fit(model, x, y, 100)
    with pytest.raises(gd.InputError, match=r"gd\.fit: missing a required argument: 'model'"):
        gd.fit()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_the_signature_can_be_looked_at(door: Any) -> None:
    names = list(inspect.signature(door).parameters)
    assert names[0] == "model" and len(names) <= 15 and "select" in names and (door.__doc__ or "").strip()
