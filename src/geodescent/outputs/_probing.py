"""Whether a model is a function of θ and of each sample alone: found by calls on two and on three samples."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from geodescent._errors import InputError, JacobianError
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, forward_failed, n_samples_of, take


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
    with torch.no_grad():
        try:
            returned = function.call(views, two_samples)
        except Exception as error:  # whatever a model raises is taken to be caused by its inputs
            raise InputError(forward_failed(two_samples, function.dtype, error)) from error
        outputs = function.selected(returned, 2)
        if outputs.dtype != function.dtype:
            raise InputError(
                f"the model returns {outputs.dtype} but its parameters are {function.dtype}: make them one dtype."
            )
        _refuse_mixing(function, views, (two_samples, three_samples), outputs.reshape(2, -1))
    return outputs.shape[1:]


@contextmanager
def left_as_found(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Buffers and the random state are put back afterwards, also after an exception."""
    with _buffers_kept(model), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _refuse_mixing(
    function: ModelFunction, views: dict[str, Tensor], samples: tuple[Inputs, Inputs], two: Tensor
) -> None:
    state = random_state(function.device)
    again = function.outputs(views, samples[0])
    if not (_near(again, two) and torch.equal(state, random_state(function.device))):
        raise JacobianError(
            "the model draws random numbers, or two identical calls gave different outputs. "
            "Call model.eval(), or take the randomness out of its forward pass."
        )
    three = function.outputs(views, samples[1])
    if not _near(three[:2], two):
        shift = float((three[:2] - two).abs().nan_to_num(nan=0.0).max())
        raise JacobianError(
            f"the outputs of a sample change by {shift:.2g} when another sample joins the batch: the model mixes "
            "samples. Use layers that act on each sample alone, GroupNorm or LayerNorm instead of batch statistics."
        )


def refuse_mixing_layers(model: nn.Module) -> None:
    """Raises JacobianError for layers that use statistics of the batch, or draw random numbers."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise JacobianError(
                f"{name or 'the model'} ({type(module).__name__}) uses the statistics of the batch, so that the "
                "outputs of a sample depend on the others. Call model.eval(), or use GroupNorm or LayerNorm."
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise JacobianError(
                f"{name or 'the model'} ({type(module).__name__}, p = {module.p}) is active: its outputs are random. "
                "Call model.eval(), or set p = 0."
            )


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
            f"a forward pass changes the buffer {changed[0]}: call model.eval() so that x[θ] is a function."
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal entry by entry, NaN equal to NaN."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def random_state(device: torch.device) -> Tensor:
    """The state of the generators that a model on this device draws from."""
    host = torch.get_rng_state()
    return torch.cat([host, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else host


def _near(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding: the order of sums depends on the batch, and outputs may be zero by cancellation.

    NaN equals NaN, and an infinite output itself: whether the outputs are finite is not asked here.
    """
    eps = torch.finfo(a.dtype).eps
    tolerance = eps**0.5
    finite = torch.where(torch.isfinite(b), b, 0.0)
    floor = tolerance * float(finite.abs().max()) + 100.0 * eps
    return bool(torch.allclose(a, b, rtol=tolerance, atol=floor, equal_nan=True))
