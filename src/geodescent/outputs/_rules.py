"""One rule per layer: from a call's inputs and output cotangents to columns of the Jacobian.

A rule is a function `(module, inputs, cotangents, index, label) -> columns` with

- inputs `(N, c, …)`: what the layer was called on, c copies a sample where samples and positions were merged, else 1;
- cotangents `(N, Q, c, …)`: the derivative of the Q outputs by what the layer returned;
- index: for each parameter of the module that goes by rule, where its entries stand in θ, in the parameter's shape.

`register_rule` adds a rule for a user's own layer. A rule is used for exactly the type it was registered for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.jacobian import (
    Columns,
    Cotangents,
    DenseColumns,
    DenseCotangents,
    DenseInputs,
    IndexInputs,
    OuterColumns,
    require_room,
)

Index = dict[str, Tensor]
Apply = Callable[[Any, Tensor, Tensor, Index, str], list[Columns]]


@dataclass(frozen=True)
class Rule:
    """How a layer enters the Jacobian.

    Attributes:
        apply: the rule.
        parameters: the names of the parameters it accounts for.
        any_axis: whether samples may stand on any leading axis (true where the layer acts on the last axes alone).
        fits: whether the rule holds for a layer's options, and for a call with this many arguments.
    """

    apply: Apply
    parameters: tuple[str, ...] = ("weight", "bias")
    any_axis: bool = False
    fits: Callable[[Any, int], bool] = lambda module, n_arguments: True


def linear(module: nn.Linear, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """`y = Wa + b`: one outer product with `[a, 1]`."""
    n, q = cotangents.shape[:2]
    a = inputs.reshape(n, math.prod(inputs.shape[1:-1]), inputs.shape[-1])  # of no features too
    g = DenseCotangents(cotangents.reshape(n, q, a.shape[1], -1))
    return affine_columns(a, g, index.get("weight"), index.get("bias"), label)


def convolution(module: Any, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """A convolution is a linear layer on patches, one piece of columns a group."""
    n = len(cotangents)
    g = _positions_last_but_one(cotangents)
    groups, pieces = module.groups, list[Columns]()
    padded = _padded(module, inputs.flatten(0, 1))
    for k, channels in enumerate(padded.chunk(groups, 1)):
        weight = index["weight"].chunk(groups)[k].flatten(1) if "weight" in index else None
        bias = index["bias"].chunk(groups)[k] if "bias" in index else None
        part = DenseCotangents(g.chunk(groups, 3)[k])
        if weight is None:
            pieces += affine_columns(channels, part, None, bias, label)
            continue
        windows = _windows(channels, module.kernel_size, module.stride, module.dilation)
        a = _as_rows(windows, len(module.kernel_size), with_ones=bias is not None)
        pieces.append(_outer(a.reshape(n, g.shape[2], -1), part, weight, bias, label))
    return pieces


def transposed_convolution(module: Any, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """A convolution with inputs and cotangents exchanged: the patches are those of the cotangents."""
    n, q, c = cotangents.shape[:3]
    pieces = list[Columns]()
    if "bias" in index:
        pieces.append(DenseColumns(_positions_last_but_one(cotangents).sum(2), index["bias"], label))
    if "weight" not in index:
        return pieces
    sizes, dims = inputs.shape[3:], range(len(module.kernel_size))
    pad = list[int]()
    for i in reversed(dims):
        reach = (sizes[i] - 1) * module.stride[i] + module.dilation[i] * (module.kernel_size[i] - 1) + 1
        pad += [module.padding[i], reach - module.padding[i] - cotangents.shape[4 + i]]
    require_room(cotangents.numel(), cotangents, "a copy of the cotangents")
    padded = F.pad(cotangents.flatten(0, 2), pad)
    a = torch.unflatten(inputs.flatten(3), 2, (module.groups, -1))
    for k, channels in enumerate(padded.chunk(module.groups, 1)):
        windows = _windows(channels, module.kernel_size, module.stride, module.dilation)
        rows = _as_rows(windows, len(module.kernel_size), with_ones=False)
        g = rows.view(n, q, c * rows.shape[1], -1)
        inputs_k = a[:, :, k].transpose(2, 3).flatten(1, 2)
        weight = index["weight"].chunk(module.groups)[k].flatten(1).T
        pieces.append(OuterColumns(DenseInputs(inputs_k), DenseCotangents(g), weight, label))
    return pieces


def embedding(module: nn.Embedding, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """A linear layer on one-hot inputs; autograd's convention for `padding_idx` (no gradient) is kept."""
    n, q = cotangents.shape[:2]
    indices = inputs.reshape(n, -1)
    g = cotangents.reshape(n, q, indices.shape[1], -1)
    if module.padding_idx is not None:
        g = g * (indices != module.padding_idx)[:, None, :, None]
    one_hot = IndexInputs(indices, module.num_embeddings, g.dtype)
    return [OuterColumns(one_hot, DenseCotangents(g), index["weight"].T, label)]


def embedding_bag(
    module: nn.EmbeddingBag, inputs: Tensor, cotangents: Tensor, index: Index, label: str
) -> list[Columns]:
    """A linear layer on how often each word is in a bag, or on its share of the bag."""
    n, q = cotangents.shape[:2]
    words = inputs.reshape(n, -1, inputs.shape[-1]).long()
    g = cotangents.reshape(n, q, words.shape[1], -1)
    counted = torch.ones_like(words, dtype=g.dtype)
    if module.padding_idx is not None:
        counted = (words != module.padding_idx).to(g.dtype)
    if module.mode == "mean":
        counted = counted / counted.sum(2, keepdim=True).clamp(min=1.0)
    require_room(words.shape[0] * words.shape[1] * module.num_embeddings, g, "the bags of an embedding")
    bags = g.new_zeros(*words.shape[:2], module.num_embeddings).scatter_add_(2, words, counted)
    return [OuterColumns(DenseInputs(bags), DenseCotangents(g), index["weight"].T, label)]


def are_plain_bags(module: nn.EmbeddingBag, n_arguments: int) -> bool:
    """Whether an embedding adds up or averages bags of one size, without weights or offsets, nor touches its own."""
    plain = module.max_norm is None and not module.scale_grad_by_freq
    return plain and module.mode != "max" and n_arguments == 1


def layer_norm(module: nn.LayerNorm, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """Elementwise affine over the last axes."""
    normalised = F.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    return _affine(normalised, cotangents, index, label, axes=len(module.normalized_shape))


def rms_norm(module: nn.RMSNorm, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """Elementwise scale over the last axes."""
    normalised = F.rms_norm(inputs, list(module.normalized_shape), eps=module.eps)
    return _affine(normalised, cotangents, index, label, axes=len(module.normalized_shape))


def group_norm(module: nn.GroupNorm, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """Affine by channel."""
    normalised = F.group_norm(inputs.flatten(0, 1), module.num_groups, eps=module.eps).reshape(inputs.shape)
    return _affine(_channels_last(normalised, 2), _channels_last(cotangents, 3), index, label, axes=1)


def batch_norm(module: Any, inputs: Tensor, cotangents: Tensor, index: Index, label: str) -> list[Columns]:
    """Affine by channel, with the running statistics: evaluation mode is the only one whose samples do not mix."""
    flat = inputs.flatten(0, 1)
    normalised = F.batch_norm(flat, module.running_mean, module.running_var, eps=module.eps).reshape(inputs.shape)
    return _affine(_channels_last(normalised, 2), _channels_last(cotangents, 3), index, label, axes=1)


class LinearUse(nn.Module):
    """Stands for a product with a weight, or a sum with a bias, in a model's own code."""


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Rule(linear, any_axis=True),
    LinearUse: Rule(linear, any_axis=True),
    nn.Conv1d: Rule(convolution),
    nn.Conv2d: Rule(convolution),
    nn.Conv3d: Rule(convolution),
    nn.ConvTranspose1d: Rule(transposed_convolution),
    nn.ConvTranspose2d: Rule(transposed_convolution),
    nn.ConvTranspose3d: Rule(transposed_convolution),
    nn.Embedding: Rule(embedding, ("weight",), any_axis=True),
    nn.EmbeddingBag: Rule(embedding_bag, ("weight",), fits=are_plain_bags),
    nn.LayerNorm: Rule(layer_norm, any_axis=True),
    nn.RMSNorm: Rule(rms_norm, ("weight",), any_axis=True),
    nn.GroupNorm: Rule(group_norm),
    nn.BatchNorm1d: Rule(batch_norm),
    nn.BatchNorm2d: Rule(batch_norm),
    nn.BatchNorm3d: Rule(batch_norm),
}
GIVEN = dict(RULES)  # Those of the package, whose columns are of its own kinds.


def register_rule(
    layer: type[nn.Module], apply: Apply, *, parameters: tuple[str, ...] = ("weight", "bias"), any_axis: bool = False
) -> None:
    """Registers how a user's own layer enters the Jacobian; the rule is used for exactly this type.

    The Jacobian of every new map is compared with autograd's, so that a wrong rule is refused. Layers without a rule
    work too: weights that they multiply rows with go by rule, all others through derivatives of single samples.

    Args:
        layer: the class of the layer.
        apply: `(module, inputs, cotangents, index, label) -> columns`. Inputs (N, c, …) are what the layer was called
            on, c copies a sample where samples and positions were merged, else 1; cotangents (N, Q, c, …) are the
            derivative of the Q outputs by what the layer returned; `index[name]` says where the entries of a parameter
            stand in θ, in its shape. The parameters of `module` are those at which D is taken. Make columns with
            `gd.affine_columns` and `gd.DenseColumns`.
        parameters: names of the parameters that the rule accounts for.
        any_axis: whether samples may stand on any leading axis, as where the layer acts on the last axes alone.

    Raises: InputError, where the first argument is no layer or the second is no function.
    """
    if not (isinstance(layer, type) and issubclass(layer, nn.Module) and callable(apply)):
        raise InputError(f"register_rule takes the class of a layer and a function, not {layer!r} and {apply!r}.")
    RULES[layer] = Rule(apply, parameters, any_axis)


def affine_columns(
    a: Tensor, g: Cotangents | Tensor, weight: Tensor | None, bias: Tensor | None, label: str
) -> list[Columns]:
    """The columns of `Wa + b = [W b][a; 1]` for W, b or both.

    Args:
        a: inputs of the layer, (N, P, d): P positions (tokens, pixels) a sample.
        g: the derivative of the outputs by what it returned, (N, Q, P, o).
        weight: where the entries of W stand in θ, (o, d); None for no columns of W.
        bias: the same for b, (o,).
        label: name of the layer, for messages and statistics.
    """
    g = DenseCotangents(g) if isinstance(g, Tensor) else g
    if weight is None:
        return [] if bias is None else [DenseColumns(g.dense().sum(2), bias, label)]
    if bias is not None:
        require_room(a.numel() + a.shape[0] * a.shape[1], a, "a copy of the inputs of a layer")
        a = torch.cat([a, a.new_ones(*a.shape[:2], 1)], 2)
    return [_outer(a, g, weight, bias, label)]


def _outer(a: Tensor, g: Cotangents, weight: Tensor, bias: Tensor | None, label: str) -> OuterColumns:
    """The columns of W, or of [W b] where ones are appended to a already."""
    index = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
    return OuterColumns(DenseInputs(a), g, index, label)


def _affine(normalised: Tensor, cotangents: Tensor, index: Index, label: str, *, axes: int) -> list[Columns]:
    """`y = w ∘ z + b` over the last `axes` axes: both derivatives are sums over positions."""
    n, q = cotangents.shape[:2]
    size = math.prod(cotangents.shape[-axes:])
    g = cotangents.reshape(n, q, -1, size)
    z = normalised.reshape(n, 1, -1, size)
    require_room(g.numel() + z.numel(), g, "a copy of the cotangents")
    parts = {"weight": lambda: (g * z).sum(2), "bias": lambda: g.sum(2)}
    return [DenseColumns(parts[name](), where.reshape(-1), label) for name, where in index.items()]


def _channels_last(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, -1)


def _positions_last_but_one(cotangents: Tensor) -> Tensor:
    """`(N, Q, c, C, …) → (N, Q, P, C)`."""
    n, q = cotangents.shape[:2]
    last = cotangents.movedim(3, -1)
    if not last.is_contiguous():
        require_room(last.numel(), last, "a copy of the cotangents")
    return last.reshape(n, q, -1, cotangents.shape[3]).contiguous()  # many products follow


def _padded(module: Any, inputs: Tensor) -> Tensor:
    """The inputs with the padding of the convolution."""
    if module.padding == "valid":
        return inputs
    pad = list[int]()
    for i in reversed(range(len(module.kernel_size))):
        whole = module.dilation[i] * (module.kernel_size[i] - 1)
        left, right = (whole // 2, whole - whole // 2) if module.padding == "same" else (module.padding[i],) * 2
        pad += [left, right]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(inputs, pad, mode=mode)


def _windows(inputs: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """`(B, C, …) → (B, C, places…, kernel…)`: what the kernel sees at each of its places, without a copy."""
    for i in range(len(kernel)):
        reach = dilation[i] * (kernel[i] - 1) + 1
        inputs = inputs.unfold(2 + i, reach, stride[i])[..., :: dilation[i]]
    return inputs


def _as_rows(windows: Tensor, dims: int, *, with_ones: bool) -> Tensor:
    """`(B, C, places…, kernel…) → (B, L, C·∏kernel)`, one copy; ones appended as a last column where they are asked."""
    by_place = windows.movedim(1, 1 + dims)  # (B, places…, C, kernel…)
    seen, places = by_place.shape[1 + dims :], by_place.shape[1 : 1 + dims]
    width = math.prod(seen)
    require_room(len(windows) * math.prod(places) * (width + with_ones), windows, "the patches of a convolution")
    rows = windows.new_ones(len(windows), math.prod(places), width + with_ones)
    rows[..., :width].view(len(windows), *places, *seen).copy_(by_place)
    return rows
