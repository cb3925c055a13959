"""Model and data on two devices: every door says so before any work, and what it advises works.

Beside the device stands meta, which every machine has: what is on it cannot be computed with.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.device_nets import net
from support.devices import F64, moved

import geodescent as gd

CPU = torch.device("cpu")
DOORS: dict[str, Callable[..., object]] = {
    "fit": lambda model, X, y: gd.fit(model, X, y, max_steps=1),
    "flow": lambda model, X, y: gd.flow(model, X, y, until=0.01, tol=1e-2),
    "certify": gd.certify,
    "initialise": gd.initialise,
    "step": lambda model, X, y: gd.GeoDescent(model).step(X, y),
    "closure": lambda model, X, y: gd.GeoDescent(model).step(lambda: (model(X), y)),
    "problem": lambda model, X, y: gd.fit(gd.Problem.of(model, X, y), max_steps=1),
}


def elsewhere(device: torch.device) -> torch.device:
    return torch.device("meta") if device.type == "cpu" else CPU


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("apart", ["X", "y", "model"])
def test_two_devices_are_refused_and_one_is_not(device: torch.device, door: str, apart: str) -> None:
    model, X, y = moved(net("vectors"), device)
    given: dict[str, Any] = {"model": model, "X": X, "y": y}
    given[apart] = moved(given[apart], elsewhere(device))
    kinds: tuple[type[Exception], ...] = (gd.InputError,)
    if door == "closure" and apart != "y":
        kinds = (gd.InputError, RuntimeError)  # the user's own call of the model, which torch refuses
    with pytest.raises(kinds, match=r"is on (cuda|cpu|meta)|on meta|one device|same device|on device|meta"):
        DOORS[door](given["model"], given["X"], given["y"])
    DOORS[door](model, X, y)


@pytest.mark.parametrize("what", ["validation", "theta0", "weights"])
def test_other_data_elsewhere(device: torch.device, what: str) -> None:
    """Weights follow the targets; validation data and functions are refused with a sentence."""
    if device.type == "cpu":
        pytest.skip("needs a second device")
    model, X, y = moved(net("vectors"), device)
    if what == "weights":
        assert gd.fit(model, X, y, weights=torch.ones(12, dtype=F64), max_steps=1).steps == 1
    elif what == "validation":
        with pytest.raises(gd.InputError, match="move them to one device"):
            gd.fit(model, X, y, validation=(X.cpu(), y.cpu()), max_steps=1)
    else:
        x = torch.linspace(0.0, 1.0, 5, dtype=F64, device=device)
        with pytest.raises((gd.InputError, RuntimeError), match=r"one device|same device"):
            outputs = gd.FunctionMap(lambda theta: theta[0] * x.cpu(), torch.ones(1, dtype=F64, device=device))
            gd.fit(gd.Problem.over(outputs, x))
