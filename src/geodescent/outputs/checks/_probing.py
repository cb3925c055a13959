"""Whether a model is a function of θ and of each sample alone: found by calls on two and on three samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from geodescent._errors import InputError, JacobianError
from geodescent.outputs._autograd import random_rows
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, forward_failed, leaves_of, n_samples_of, take
from geodescent.outputs.checks._attributes import Attributes

NUDGES = (1.0, -2.0, 4.0)  # Times eps of each parameter, and a random number.
AMPLIFIED = 10.0  # Times the change by a few rounding errors: what others may do, in a network that amplifies them.


def probe(inputs: Inputs, n: int) -> Inputs:
    """The first n samples, from the start again where there are fewer."""
    return take(inputs, [i % n_samples_of(inputs) for i in range(n)])


def output_shape(function: ModelFunction, two_samples: Inputs, three_samples: Inputs) -> torch.Size:
    """The shape of one sample's outputs, found by a call on two samples and one on these and a third.

    Raises:
        InputError: the model cannot be called, or does not return one real tensor with the samples first.
        JacobianError: the outputs mix samples, or change between two calls.
    """
    refuse_mixing_layers(function.model)
    views = function.views(function.theta)
    versions = [leaf._version for leaf in leaves_of(two_samples)]
    with torch.no_grad():
        try:
            returned = function.call(views, two_samples)
        except Exception as error:  # whatever a model raises is taken to be caused by its inputs
            raise InputError(forward_failed(two_samples, function.dtype, error)) from error
        if [leaf._version for leaf in leaves_of(two_samples)] != versions:
            raise InputError(
                "the model changes its input in place, so that a second call sees another one: write x = x - 1 for "
                "x -= 1 in its forward pass, and inplace=False in a layer that is called on the input."
            )
        outputs = function.selected(returned, 2)
        if outputs.dtype != function.dtype:
            raise InputError(
                f"the model returns {outputs.dtype} but its parameters are {function.dtype}: make them one dtype."
            )
        if outputs.numel() == 0:
            raise InputError(
                f"the model returns shape {tuple(outputs.shape)} for 2 samples, no numbers: at least one output is "
                "needed."
            )
        _refuse_mixing(function, views, (two_samples, three_samples), outputs.reshape(2, -1))
    return outputs.shape[1:]


@contextmanager
def left_as_found(model: nn.Module, device: torch.device) -> Iterator[Attributes]:
    """Buffers, plain attributes and the random state are put back afterwards, also after an exception."""
    attributes = Attributes.of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _buffers_kept(model):
        try:
            yield attributes
        finally:
            attributes.put_back()


def _refuse_mixing(
    function: ModelFunction, views: dict[str, Tensor], samples: tuple[Inputs, Inputs], two: Tensor
) -> None:
    state = random_state(function.device)
    again = function.outputs(views, samples[0])
    drawn = not torch.equal(state, random_state(function.device)) and _draws(function, views, samples[0])
    if drawn or not near(again, two):
        raise JacobianError(
            "the model draws random numbers, or two identical calls gave different outputs. Take the randomness out "
            f"of its forward pass{or_eval(function.model, 'draws')}."
        )
    three = function.outputs(views, samples[1])
    shift = float((three[:2] - two).abs().nan_to_num(nan=0.0).max())
    if not near(three[:2], two) and not shift <= AMPLIFIED * _moved_by_rounding(function, views, samples[0], two):
        raise JacobianError(
            f"the outputs of a sample change by {shift:.2g} when another sample joins the batch: the model mixes "
            "samples. Use layers that act on each sample alone, GroupNorm or LayerNorm instead of batch statistics."
        )


def _moved_by_rounding(function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, outputs: Tensor) -> float:
    """The most by which an output changes where each parameter does by some rounding errors."""
    largest, eps = 0.0, torch.finfo(outputs.dtype).eps
    for times in NUDGES:
        nudged = {name: v * (1.0 + times * eps * random_rows(v.shape, v)) for name, v in views.items()}
        moved = function.outputs(nudged, inputs) - outputs
        largest = max(largest, float(moved.abs().nan_to_num(nan=0.0).max()))
    return largest


def refuse_mixing_layers(model: nn.Module) -> None:
    """Raises JacobianError for layers that use statistics of the batch, or draw random numbers."""
    for name, module in model.named_modules():
        label = f"{name or 'the model'} ({type(module).__name__}"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            way = "Use" if module.running_mean is None else "Call model.eval(), or use"
            raise JacobianError(
                f"{label}) uses the statistics of the batch, so that the outputs of a sample depend on the others. "
                f"{way} GroupNorm or LayerNorm."
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise JacobianError(
                f"{label}, p = {module.p}) is active: its outputs are random. Call model.eval(), or set p = 0."
            )


def or_eval(model: nn.Module, does: str) -> str:
    """The end of a sentence that advises model.eval(), where the model is not in that mode already."""
    training = any(module.training for module in model.modules())
    return f", or, where it {does} in training mode alone, call model.eval()" if training else ""


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Puts the buffers back if a forward pass changes them, also after an exception, and raises JacobianError."""
    buffers = dict(model.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    changed = list[str]()
    try:
        yield
    finally:
        after = dict(model.named_buffers())
        for name, old in before.items():
            if after.get(name) is buffers[name] and _same(buffers[name], old):
                continue
            changed.append(name)
            owner, _, own = name.rpartition(".")
            model.get_submodule(owner)._buffers[own] = buffers[name].copy_(old)
    if changed:
        raise JacobianError(
            f"a forward pass changes the buffer {changed[0]}, so that x[θ] is no function of θ. Take that out of the "
            f"forward pass{or_eval(model, 'does so')}."
        )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Notices operations that draw random numbers, in this thread alone."""

    drawn = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.drawn |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def _draws(function: ModelFunction, views: dict[str, Tensor], inputs: Inputs) -> bool:
    """Whether the model itself draws: the generator's state may have been changed by another thread."""
    watch: Any = _Watch
    with watch() as seen:
        function.outputs(views, inputs)
    return bool(seen.drawn)


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal entry by entry, NaN equal to NaN."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def random_state(device: torch.device) -> Tensor:
    """The state of the generators that a model on this device draws from."""
    host = torch.get_rng_state()
    return torch.cat([host, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else host


def near(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding: the order of sums depends on the batch, and outputs may be zero by cancellation.

    NaN equals NaN, and an infinite output itself: whether the outputs are finite is not asked here.
    """
    eps = torch.finfo(a.dtype).eps
    tolerance = eps**0.5
    a, b = a.detach(), b.detach()  # a model may record a graph of its own
    finite = torch.where(torch.isfinite(b), b, 0.0)
    floor = tolerance * float(finite.abs().max()) + 100.0 * eps
    return bool(torch.allclose(a, b, rtol=tolerance, atol=floor, equal_nan=True))
