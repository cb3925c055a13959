"""Inputs of a model: a tensor, tuple or dict of tensors with the samples first; and checks of them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from geodescent._conversion import Frame, Values, converted_name, tensor_of
from geodescent._errors import InputError
from geodescent.outputs.graph import without_a_graph

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""A tensor, or tensors as positional or named arguments of the model; samples on the first axis of each."""
RawInputs = Inputs | Values
"""The same as people hold it: arrays, lists, series and frames in the place of tensors too."""
Select = Callable[[Any], Tensor]
"""Picks the outputs from what a model returns."""


def require_function(function: object, name: str, example: str) -> None:
    """Raises InputError for what is neither None nor callable.

    Args:
        example: of the argument, as it is written.
    """
    if function is not None and not callable(function):
        raise InputError(f"{name} is a {type(function).__name__}: a function is needed, for example {example}.")


def as_inputs(inputs: RawInputs, model: nn.Module) -> Inputs:
    """Tensors of the model's dtype and device for whatever holds the numbers; tensors stay as they are.

    A tuple, a dict, and a list of tensors or frames are several inputs; any other list is one array. Integers stay
    integers where the model looks them up in an embedding.
    """
    like = next((p for p in model.parameters() if p.dtype.is_floating_point), torch.empty(0, device="cpu"))
    keep = any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in model.modules())

    def converted(value: object, what: str) -> Tensor:
        return tensor_of(value, like, what, keep_integers=keep)

    if isinstance(inputs, dict):
        return {name: converted(value, f"X[{name!r}]") for name, value in inputs.items()}
    if _are_several(inputs):
        return tuple(converted(value, f"X[{i}]") for i, value in enumerate(inputs))
    return converted(inputs, "X")


def converted_names(before: RawInputs) -> list[str]:
    """Which of the inputs were no tensors."""
    if isinstance(before, dict):
        named = [(f"X[{name!r}]", value) for name, value in before.items()]
    elif _are_several(before):
        named = [(f"X[{i}]", value) for i, value in enumerate(before)]
    else:
        named = [("X", before)]
    return [name for what, value in named for name in converted_name(what, value)]


def _are_several(inputs: RawInputs) -> TypeGuard[Sequence[object]]:
    """Whether these are several positional inputs, and not one array."""
    if isinstance(inputs, tuple):
        return True
    return isinstance(inputs, list) and any(isinstance(value, Tensor | Frame) for value in inputs)


def leaves_of(inputs: Inputs) -> list[Tensor]:
    """The tensors of the inputs."""
    if isinstance(inputs, dict):
        values = list(inputs.values())
    else:
        values = list(inputs) if isinstance(inputs, tuple) else [inputs]
    for value in values:
        if not isinstance(value, Tensor):
            raise InputError(f"X must hold tensors, not {type(value).__name__}: convert with torch.as_tensor.")
    return values


def map_inputs(f: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The inputs with f applied to each tensor."""
    if isinstance(inputs, Tensor):
        return f(inputs)
    if isinstance(inputs, dict):
        return {key: f(value) for key, value in inputs.items()}
    return tuple(f(value) for value in inputs)


def take(inputs: Inputs, samples: list[int] | Tensor) -> Inputs:
    """These samples alone."""
    return map_inputs(lambda t: t[samples], inputs)


def n_samples_of(inputs: Inputs) -> int:
    """N, the same for every tensor."""
    leaves = leaves_of(inputs)
    if not leaves or any(t.dim() == 0 for t in leaves):
        raise InputError("X must be a tensor, tuple or dict of tensors with the samples on the first axis.")
    sizes = {len(t) for t in leaves}
    if len(sizes) > 1 or 0 in sizes:
        raise InputError(f"the tensors of X hold {sorted(sizes)} samples: all need the same number, at least one.")
    return sizes.pop()


def require_plain(what: str, tensor: Tensor, name: str, *, again: str) -> None:
    """Raises InputError for tensors without numbers, or of a kind that derivatives are not made of.

    Args:
        what: names the tensor at the beginning of a sentence.
        name: names it in code.
        again: code for a copy of it that torch can differentiate.
    """
    if is_lazy(tensor):
        raise InputError(f"{what} has no size yet: call the model once before, model(X).")
    if tensor.is_nested:
        raise InputError(f"{what} is a nested tensor: pad its parts to one size, {name}.to_padded_tensor(0.0).")
    if tensor.layout != torch.strided:
        raise InputError(f"{what} is {str(tensor.layout).removeprefix('torch.')}: make it dense, {name}.to_dense().")
    if tensor.is_meta:
        raise InputError(f"{what} is on meta, where tensors hold no numbers: make it on the cpu or another device.")
    if torch.is_inference_mode_enabled():
        raise InputError(
            "under torch.inference_mode() nothing can be differentiated: make this call in a block of "
            "torch.inference_mode(False)."
        )
    if tensor.is_inference():
        raise InputError(
            f"{what} was made under torch.inference_mode() and cannot be differentiated: outside of it pass {again}."
        )


def kind_of(model: nn.Module, inputs: Inputs, *, is_known: bool = False) -> tuple[torch.dtype, torch.device]:
    """The one floating dtype and device of the parameters and inputs.

    Args:
        is_known: whether the parameters were looked at before: the first of them stands for all.
    """
    for tensor in leaves_of(inputs):
        require_plain("X", tensor, "X", again="X.clone()")
    parameters = ((name, p) for name, p in model.named_parameters() if not is_known or p.dtype.is_floating_point)
    tensors: list[tuple[str, Tensor]] = [
        (f"parameter {name}", p) for name, p in islice(parameters, 1 if is_known else None)
    ]
    tensors += [("an input", t) for t in leaves_of(inputs)]
    floating = [(what, t) for what, t in tensors if t.dtype.is_floating_point or t.dtype.is_complex]
    what0, first = floating[0]
    if first.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"{what0} is {first.dtype}; float32 and float64 are supported. Convert the model: model.double()."
        )
    for what, tensor in floating:
        if tensor.dtype != first.dtype:
            raise InputError(
                f"{what} is {tensor.dtype} but {what0} is {first.dtype}: model and data need one floating dtype. "
                "Convert one, for example model.double() or X.double()."
            )
    for what, tensor in tensors:
        if tensor.device != first.device:
            raise InputError(f"{what} is on {tensor.device} but {what0} is on {first.device}: move them to one device.")
    for tensor in leaves_of(inputs):
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(f"X holds {bad} NaN or infinite values of {tensor.numel()}. Remove or impute them.")
    for what, tensor in tensors:
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{what} holds NaN or infinite values: start from finite parameters.")
    return first.dtype, first.device


def chosen(select: Select, returned: object) -> object:
    """What `select` picks. Raises InputError, where it cannot be applied."""
    try:
        return select(returned)
    except Exception as error:  # whatever a function of other people raises
        kind = type(returned).__name__
        raise InputError(f"select could not be applied to the {kind} that the model returns: {error!r}") from error


def require_tensor(outputs: Any, n_samples: int, *, selected: bool = False) -> Tensor:
    """What a model returned, or what was selected of it, if it is one real tensor with the samples first."""
    if not isinstance(outputs, Tensor):
        where = _path_of(outputs)
        way = "return the outputs as one tensor, samples first."
        if where is not None and not selected:
            way = f"say which part is meant, select=lambda out: out{where}."
        elif where is not None:
            way = f"go on to a tensor in it, {where}."
        what = "select returns" if selected else "the model returns"
        raise InputError(f"{what} {type(outputs).__name__}, not a tensor: {way}")
    if outputs.dtype.is_complex:
        raise InputError(f"the model returns {outputs.dtype}: stack real and imaginary parts, torch.view_as_real.")
    if outputs.dim() == 0 or len(outputs) != n_samples:
        lost = " A squeeze() at its end drops the axis of a single sample: write squeeze(-1)." if n_samples == 1 else ""
        raise InputError(
            f"the model returns shape {tuple(outputs.shape)} for {n_samples} samples: samples must come first.{lost}"
        )
    return outputs


def _path_of(returned: object) -> str | None:
    """Where the first tensor of floating point stands in what a model returned: `[0]`, `['logits']`, `.logits`."""
    if isinstance(returned, Tensor):
        return "" if returned.dtype.is_floating_point and returned.dim() > 0 else None
    if isinstance(returned, tuple | list):
        parts = [(f"[{i}]", value) for i, value in enumerate(returned)]
    elif isinstance(returned, Mapping):
        parts = [(f"[{key!r}]", value) for key, value in returned.items()]
    else:
        parts = [(f".{name}", value) for name, value in getattr(returned, "__dict__", {}).items()]
    inside = ((part, _path_of(value)) for part, value in parts)
    return next((part + rest for part, rest in inside if rest is not None), None)


def forward_failed(inputs: Inputs, dtype: torch.dtype, error: Exception) -> str:
    """Why the first call of a model failed, in words."""
    inside = without_a_graph(error)
    if inside is not None:
        return inside
    integer = [t for t in leaves_of(inputs) if not t.dtype.is_floating_point]
    if integer and "dtype" in str(error):
        return (
            f"the model could not be called on X of {integer[0].dtype}, and its parameters are {dtype}: "
            f"convert X, for example X.to({dtype}). ({error})"
        )
    columns = [t for t in leaves_of(inputs) if t.dim() == 1 and t.dtype.is_floating_point]
    way = " X has one axis, (N,): as a column it is numpy.reshape(X, (-1, 1))." if columns else ""
    if isinstance(inputs, tuple | list) and len(inputs) > 1:
        way = (
            f" X holds {len(inputs)} tensors, which are {len(inputs)} inputs of the model: where they are samples, "
            "pass torch.stack(X)."
        )
    return f"the model could not be called on two samples of X: {str(error).rstrip('.')}.{way}"
