"""The function that D belongs to, looked at off the module's own parameters: is it the module, and is D its derivative?

At the module's own parameters much looks right that is not: what reads them during the backward pass, or kept them
from an earlier call, or holds them in a closure, has the right numbers there and nowhere else.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from geodescent._errors import JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian
from geodescent.outputs._autograd import gradient_of, random_rows
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, map_inputs
from geodescent.outputs.checks._agreement import Gradients, Rounding, check_agreement, disagreeing
from geodescent.outputs.checks._attributes import Attributes
from geodescent.outputs.checks._probing import near
from geodescent.outputs.checks._slopes import NAMED, SlopeCheck, point_of_check

CLOSE = (1.0, -1.0, 2.0, -2.0, 3.0, -3.0)
"""Times `eps^¾` of each parameter and input: points so near that rounding is another there, and D is the same."""

MULTIPLES = (2.0, 3.0, 0.7, 11.0, -1.9)  # Times u; only the first is a power of two.


class FewSamples(Protocol):
    """A map of a module on a few samples."""

    function: ModelFunction
    inputs: Inputs

    @property
    def shape(self) -> tuple[int, int]: ...

    def on(self, inputs: Inputs) -> "FewSamples": ...

    def __call__(self, theta: Theta) -> Outputs: ...

    def with_columns(self, theta: Theta) -> tuple[Outputs, BlockJacobian]: ...


def check_elsewhere(few: FewSamples, before: Attributes, *, products: bool = True) -> bool:
    """Whether a graph of the outputs may be differentiated after the call; raises JacobianError where D is not theirs.

    Args:
        few: the map on a few samples.
        before: the attributes of the module before its first call.
        products: whether `D v` and `G u` are compared with Dᵀu too, as those of columns made by rules of the user's.

    Cost: some twelve forward passes of these samples.
    """
    function, own = few.function, few.function.theta
    u, way = random_rows(few.shape, own), random_rows(own.shape, own)
    theta, passed = point_of_check(few, own, u, way)
    _refuse_memory(few, theta, passed, before)
    here, afterwards = _gradients(few, theta, u)

    def nearby() -> Iterator[Gradients]:
        for step in (multiple * torch.finfo(theta.dtype).eps ** 0.75 for multiple in CLOSE):
            moved = few.on(map_inputs(partial(_scaled_by, step), few.inputs))
            yield _gradients(moved, theta + step * here.sizes * way, u)[0]

    def multiples() -> Iterator[Theta]:
        return (_by_autograd(function, few.inputs, theta, c * u)[1] / c for c in MULTIPLES)

    rounding = Rounding(nearby, multiples, lambda: _in_double(few, theta, u))
    for where in check_agreement(function, here, rounding, products=products):
        way[where] = 0.0
    _refuse_slopes(few, replace(here, outputs=passed), way)
    return not disagreeing([("", slice(None))], afterwards, here.theirs, theta)


def _in_double(few: FewSamples, theta: Theta, u: Outputs) -> Theta | None:
    """Dᵀu of a copy in float64; None for a model in float64, and for one that cannot be copied or converted."""
    if theta.dtype == torch.float64:
        return None
    try:
        function = replace(few.function, model=copy.deepcopy(few.function.model).double(), dtype=torch.float64)
        inputs = map_inputs(lambda x: x.double() if x.is_floating_point() else x, few.inputs)
        return _by_autograd(function, inputs, theta.double(), u.double())[1]
    except Exception:  # modules of the user's may raise anything
        return None


def _scaled_by(step: float, x: Tensor) -> Tensor:
    """Inputs near these, each moved by another share of itself; words stay."""
    return x + step * x * random_rows(x.shape, x) if x.is_floating_point() else x


def _gradients(few: FewSamples, theta: Theta, u: Outputs) -> tuple[Gradients, Theta]:
    """Dᵀu while the model's parameters are θ, and by the same graph after they are its own again."""
    x, theirs, afterwards = _by_autograd(few.function, few.inputs, theta, u)
    jacobian = few.with_columns(theta)[1]
    return Gradients(theta, jacobian, x, u, jacobian.rmv(u), theirs), afterwards


def _by_autograd(function: ModelFunction, inputs: Inputs, theta: Theta, u: Outputs) -> tuple[Outputs, Theta, Theta]:
    """x[θ], Dᵀu while the model's parameters are θ, and Dᵀu by the same graph afterwards."""
    leaves = function.leaves(theta)
    wanted = list(leaves.values())

    def inside() -> tuple[Outputs, list[torch.Tensor]]:
        with torch.enable_grad():
            x = function.rows(inputs)
        return x, gradient_of(x, wanted, u)

    x, gradients = function.standing_at(leaves, inside)
    theirs, afterwards = (torch.cat([g.reshape(-1) for g in found]) for found in (gradients, gradient_of(x, wanted, u)))
    return x.detach(), theirs, afterwards


def _refuse_memory(few: FewSamples, theta: Theta, passed: Outputs, before: Attributes) -> None:
    """Raises JacobianError where x[θ] depends on earlier calls, or is not what the module returns at θ.

    Args:
        passed: x[θ] after earlier calls.
        before: the attributes of the module before its first call.
    """
    function, kept = few.function, before.changed()
    before.put_back()
    fresh = few(theta)
    if not near(passed, fresh):
        name = next((name for name in kept if name in before.changed()), kept[0] if kept else "something")
        raise JacobianError(
            f"the model keeps {name} from an earlier call: at other parameters its outputs differ by "
            f"{_apart(passed, fresh):.2g} from those of a first call. Compute it anew in every forward pass."
        )
    before.put_back()
    with torch.no_grad(), function.written(theta):
        written = function.rows(few.inputs)
    if not near(written, fresh):
        raise JacobianError(
            f"with other parameters written into it the model's outputs differ by {_apart(written, fresh):.2g} from "
            "those with the same parameters in the place of its own: a closure, a hook or a list holds some of them. "
            "Read them in the forward pass as attributes, self.weight."
        )


def _apart(a: Outputs, b: Outputs) -> float:
    return float((a - b).abs().nan_to_num(nan=0.0).max())


def _refuse_slopes(few: FewSamples, here: Gradients, way: Theta) -> None:
    """Raises JacobianError where Dᵀu does not belong to the change of the outputs near θ."""
    places, silent = few.function.parameters, _silent_by_convention(few.function)
    function = few if silent is None else lambda at: few(torch.where(silent, here.theta, at))
    edges = [*(p.offset for p in places), len(here.theta)]
    check = SlopeCheck(function, here.theta, here.outputs, here.u, here.theirs, here.jacobian.mv, edges, way)
    wrong = check.wrong()
    if not wrong:
        return
    off, size = check.sizes(wrong)
    names = ", ".join(places[i].name for i in wrong[:NAMED]) + ", …" * (len(wrong) > NAMED)
    raise JacobianError(
        f"{names}: D v by torch differs by {off:.2g} (of {size:.2g}) from the change of the model's outputs along v. "
        "Torch does not follow these parameters through the forward pass, or a hook changes what goes backwards: keep "
        "them tensors, without .item(), .detach(), .data or no_grad, and give a function of your own its derivative."
    )


def _silent_by_convention(function: ModelFunction) -> Tensor | None:
    """Which entries of θ have no derivative by torch's convention: rows of embeddings for padding; None for none."""
    padded = [m for m in function.model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    if not padded:
        return None
    silent = torch.zeros(function.n_params, dtype=torch.bool, device=function.device)
    places = {id(tensor): place for tensor, place in zip(function.own().values(), function.parameters, strict=True)}
    for module in padded:
        if module.padding_idx is not None:
            place = places.get(id(module.weight))
            if place is not None:
                silent[place.entries].view(place.shape)[module.padding_idx] = True
    return silent
