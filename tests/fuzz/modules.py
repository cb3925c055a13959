"""Random module trees that act on each sample alone, with inputs for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fuzz.draw import Draw
from fuzz.layers import (
    KINKED,
    MODULES,
    SMOOTH,
    Attends,
    Calls,
    Cell,
    Checkpointed,
    Diagonal,
    Function,
    Gain,
    Hyper,
    Joined,
    Matrix,
    Mean,
    Remembers,
    Residual,
    Squares,
    TiedPair,
    Twice,
    Unused,
)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

N_WORDS = 6
KINKS = (nn.PReLU, nn.ReLU, nn.LeakyReLU, nn.SELU, nn.ReLU6, nn.MaxPool1d, nn.MaxPool2d)
"""Layers with a kink where their input is zero, or where two are equal."""


@dataclass(frozen=True)
class Net:
    """A module, the shapes of its inputs for one sample, and how many samples it needs at least."""

    module: nn.Module
    inputs: Any
    least: int

    @property
    def is_at_kinks(self) -> bool:
        """Whether a single number, normalised, may meet a kink: then the sign of a rounding error decides D."""
        kinked = any(
            isinstance(m, KINKS) or (isinstance(m, Calls) and m.function in KINKED.values())
            for m in self.module.modules()
        )
        return self.least > 1 and kinked


def function(draw: Draw) -> Function:
    return draw.choice(list(SMOOTH.values()) if draw.chance(0.7) else list(KINKED.values()))


def activation(draw: Draw, d: int) -> nn.Module:
    kind = draw.pick({"module": 5, "function": 5, "prelu": 1, "prelu of channels": 1})
    if kind == "module":
        return draw.choice(MODULES)()
    return Calls(function(draw)) if kind == "function" else nn.PReLU(d if kind != "prelu" else 1)


def divisor(draw: Draw, d: int) -> int:
    return draw.choice([k for k in range(1, d + 1) if d % k == 0])


def groups_of(draw: Draw, channels: int) -> int:
    """Groups of a norm; seldom one for each channel, where a vector becomes rounding errors."""
    return channels if draw.chance(0.03) else draw.choice([k for k in range(1, channels) if channels % k == 0] or [1])


# --- features on the last axis --------------------------------------------------------------------------------------


def dense(draw: Draw, d: int, out: int) -> nn.Module:
    """A layer from d to `out` features, of one of the kinds that there are."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "plain": lambda: nn.Linear(d, out, bias=draw.chance(0.7)),
        "matrix": lambda: Matrix(d, out, draw.choice(["linear", "einsum", "product"])),
        "weight norm": lambda: weight_norm(nn.Linear(d, out)),
        "spectral norm": lambda: spectral_norm(nn.Linear(d, out)).eval(),
        "orthogonal": lambda: orthogonal(nn.Linear(d, out), orthogonal_map=draw.choice(["matrix_exp", "cayley"])),
        "hyper": lambda: Hyper(d, out),
        "deep": lambda: nn.Sequential(nn.Linear(d, 3), nn.Tanh(), nn.Linear(3, out)),
    }
    common = {
        "plain": 10,
        "matrix": 2,
        "weight norm": 1,
        "spectral norm": 0.5,
        "orthogonal": 0.5,
        "hyper": 1,
        "deep": 1,
    }
    return kinds[draw.pick(common)]()


def same_width(draw: Draw, d: int) -> nn.Module:
    """A layer of d features that keeps their number."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "activation": lambda: activation(draw, 1),
        "layer norm": lambda: nn.LayerNorm(
            d, elementwise_affine=draw.chance(0.8) or d == 1, bias=draw.chance(0.7) or d == 1
        ),
        "rms norm": lambda: nn.RMSNorm(d),
        "residual": lambda: Residual(nn.Sequential(dense(draw, d, d), activation(draw, 1)), draw.choice([1.0, 0.1])),
        "twice": lambda: Twice(dense(draw, d, d), function(draw)),
        "checkpoint": lambda: Checkpointed(nn.Sequential(dense(draw, d, d), nn.Tanh())),
        "gain": lambda: Gain(draw.choice(["factor", "exponential", "shift"])),
        "diagonal": lambda: Diagonal(d),
        "tied": lambda: TiedPair(d, 3, bias=False),
    }
    common = {"activation": 8, "layer norm": 2, "rms norm": 1, "residual": 2, "twice": 1, "checkpoint": 0.5}
    return kinds[draw.pick({**common, "gain": 1, "diagonal": 1, "tied": 1})]()


def on_vectors(draw: Draw, d: int, out: int) -> list[nn.Module]:
    """Layers from d features to `out`."""
    layers = list[nn.Module]()
    for _ in range(draw.randint(0, 3)):
        kind = draw.pick(
            {"dense": 5, "same": 5, "group norm": 1, "batch norm": 0.5, "squares": 0.5, "glu": 0.5, "tied": 0.5}
        )
        if kind == "dense":
            width = draw.randint(1, 6)
            layers, d = [*layers, dense(draw, d, width), activation(draw, width)], width
        elif kind == "squares":
            layers, d = [*layers, Squares(d, 3), nn.Tanh()], 3
        elif kind == "glu":
            layers, d = [*layers, nn.Linear(d, 4), nn.GLU()], 2
        elif kind == "tied":
            layers, d = [*layers, TiedPair(d, 4, bias=True)], 4
        elif kind == "group norm":
            layers.append(nn.GroupNorm(groups_of(draw, d), d))
        else:
            layers.append(nn.BatchNorm1d(d) if kind == "batch norm" else same_width(draw, d))
    return [*layers, dense(draw, d, out)]


# --- sequences, (T, d) ----------------------------------------------------------------------------------------------


def on_sequences(draw: Draw, t: int, d: int, out: int) -> list[nn.Module]:
    """Layers from (T, d) to `out` features."""
    layers = list[nn.Module]()
    for _ in range(draw.randint(0, 2)):
        layers.append(same_width(draw, d) if draw.chance(0.6) else mixing(draw, d))
    kind = draw.pick({"flat": 4, "mean": 3, "last": 2, "cell": 1})
    if kind == "flat":
        return [*layers, nn.Flatten(), *on_vectors(draw, t * d, out)]
    if kind == "mean":
        return [*layers, Mean(1), *on_vectors(draw, d, out)]
    if kind == "cell":
        cell = draw.choice([nn.RNNCell, nn.GRUCell])(d, 3)
        return [*layers, Cell(cell, 3), *on_vectors(draw, 3, out)]
    return [*layers, Remembers(memory(draw, d, 3), last=True), *on_vectors(draw, 3, out)]


def memory(draw: Draw, d: int, hidden: int) -> nn.RNNBase:
    return draw.choice([nn.RNN, nn.GRU, nn.LSTM])(d, hidden, batch_first=True, bias=draw.chance(0.8))


def mixing(draw: Draw, d: int) -> nn.Module:
    """A layer of (T, d) in which positions see each other."""
    heads = divisor(draw, d)
    kind = draw.pick({"attention": 2, "transformer": 1, "memory": 2})
    if kind == "attention":
        return Attends(d, heads, batch_first=draw.chance(0.5))
    if kind == "memory":
        return Remembers(memory(draw, d, d), last=False)
    return nn.TransformerEncoderLayer(
        d, heads, 4, dropout=draw.choice([0.0, 0.1]), batch_first=True, norm_first=draw.chance(0.5)
    )


# --- pictures -------------------------------------------------------------------------------------------------------


def on_pictures(draw: Draw, channels: int, side: int, dims: int, out: int) -> list[nn.Module]:
    """Layers from (C, L) or (C, L, L) to `out` features."""
    layers, convolution = list[nn.Module](), (nn.Conv1d, nn.Conv2d)[dims - 1]
    upwards = (nn.ConvTranspose1d, nn.ConvTranspose2d)[dims - 1]
    for _ in range(draw.randint(1, 2)):
        groups, width = divisor(draw, channels), draw.randint(1, 3)
        mode = draw.choice(["zeros", "circular", "replicate", "reflect"])
        if draw.chance(0.2):
            layers.append(upwards(channels, groups * width, 2, groups=groups, bias=draw.chance(0.7)))
            side += 1
        elif side > 2:
            same = draw.chance(0.5)
            padding: Any = "same" if same else 0
            layers.append(
                convolution(
                    channels, groups * width, 3, padding=padding, groups=groups, padding_mode=mode if same else "zeros"
                )
            )
            side = side if same else side - 2
        else:
            layers.append(convolution(channels, groups * width, 1, groups=groups, bias=draw.chance(0.7)))
        channels = groups * width
        layers.append(activation(draw, channels))
        if draw.chance(0.3):
            batch = (nn.BatchNorm1d, nn.BatchNorm2d)[dims - 1]
            norm = draw.choice([lambda c: nn.GroupNorm(groups_of(draw, c), c), batch])
            layers.append(norm(channels))
    if draw.chance(0.3) and side > 1:
        pool = draw.choice([(nn.AvgPool1d, nn.AvgPool2d), (nn.MaxPool1d, nn.MaxPool2d)])[dims - 1]
        layers.append(pool(side))
        side = 1
    return [*layers, nn.Flatten(), *on_vectors(draw, channels * side**dims, out)]


# --- words ----------------------------------------------------------------------------------------------------------


def on_words(draw: Draw, t: int, out: int) -> list[nn.Module]:
    """Layers from (T,) words to `out` features."""
    d, padding = draw.randint(1, 4), 0 if draw.chance(0.3) else None
    if draw.chance(0.3):
        mode = draw.choice(["mean", "sum"])
        bag = nn.EmbeddingBag(N_WORDS, d, mode=mode, padding_idx=padding, sparse=draw.chance(0.2))
        return [bag, *on_vectors(draw, d, out)]
    table = nn.Embedding(N_WORDS, d, padding_idx=padding, sparse=draw.chance(0.2))
    return [table, *on_sequences(draw, t, d, out)]


# --- the whole ------------------------------------------------------------------------------------------------------


def body(draw: Draw, out: int) -> tuple[list[nn.Module], torch.Size | int]:
    """Layers to `out` features and the shape of one sample; a number for so many words."""
    kind = draw.pick({"vector": 6, "sequence": 2, "line": 1.5, "picture": 1, "words": 1.5})
    if kind == "vector":
        d = draw.randint(1, 5)
        return on_vectors(draw, d, out), torch.Size((d,))
    if kind == "sequence":
        t, d = draw.randint(1, 3), draw.randint(1, 4)
        return on_sequences(draw, t, d, out), torch.Size((t, d))
    if kind == "words":
        t = draw.randint(1, 4)
        return on_words(draw, t, out), t
    channels, side, dims = draw.randint(1, 3), draw.randint(1, 4), 1 if kind == "line" else 2
    return on_pictures(draw, channels, side, dims, out), torch.Size((channels, *(side,) * dims))


def joined(draw: Draw, out: int) -> tuple[nn.Module, Any]:
    """A module of two inputs, and the shapes of these, in a tuple or by name."""
    width = draw.randint(1, 4)
    (left, a), (right, b) = body(draw, width), body(draw, width)
    how = draw.choice(["sum", "product", "beside"])
    rest = nn.Sequential(*on_vectors(draw, 2 * width if how == "beside" else width, out))
    module = Joined(nn.Sequential(*left), nn.Sequential(*right), rest, how)
    return module, (a, b) if draw.chance(0.5) else {"b": b, "a": a}


def net(draw: Draw) -> Net:
    """A random module, as it was made: in float32, at the start that torch gives it, but for changes of weights."""
    out = draw.randint(1, 4)
    if draw.chance(0.15):
        module, shape = joined(draw, out)
    else:
        layers, shape = body(draw, out)
        if out % 2 == 0 and draw.chance(0.15):
            layers.append(nn.Unflatten(1, (2, out // 2)))
        elif out == 1 and draw.chance(0.3):
            layers.append(Calls(lambda x: x.squeeze(-1)))
        module = layers[0] if len(layers) == 1 and draw.chance(0.5) else nn.Sequential(*layers)
    module = Unused(module) if draw.chance(0.03) else module
    _change(draw, module)
    return Net(module, shape, 2 if any(map(_is_single, module.modules())) else 1)


def _change(draw: Draw, module: nn.Module) -> None:
    """Weights off their start, zeros, frozen parts, gradients and hooks that were there, and the mode."""
    parameters = list(module.parameters())
    off = 0.1 if draw.chance(0.7) else 0.0
    with torch.no_grad():
        for p in parameters:
            p.add_(off * draw.normal(*p.shape).to(p.dtype))
            if draw.chance(0.05):
                p.mul_((draw.normal(*p.shape) > 0.0).to(p.dtype) if draw.chance(0.7) else 0.0)
        for buffer in module.buffers():
            if buffer.dtype.is_floating_point and buffer.dim() and draw.chance(0.5):
                buffer.add_(0.3 * draw.normal(*buffer.shape).abs().to(buffer.dtype))
    if draw.chance(0.2):
        for p in draw.sample(parameters, draw.randint(0, len(parameters) - 1)):
            p.requires_grad_(False)
    if draw.chance(0.1):
        first = parameters[0]
        first.grad = torch.ones_like(first)
    if draw.chance(0.05):
        draw.choice([m for m in module.modules() if not list(m.children())]).register_forward_hook(_doubled)
    training = not any(isinstance(m, _BY_MODE) for m in module.modules()) and draw.chance(0.5)
    module.train(training)


def _is_single(module: nn.Module) -> bool:
    """Whether each group of a norm may hold a single number, which torch refuses for one sample."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == module.num_channels
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.normalized_shape == (1,)


_BY_MODE = (nn.modules.batchnorm._BatchNorm, nn.TransformerEncoderLayer, nn.utils.parametrizations._SpectralNorm)
"""Layers that compute something else while they are trained."""


def _doubled(module: nn.Module, inputs: Any, output: Any) -> Any:
    return 2.0 * output if isinstance(output, Tensor) else output


def inputs_of(draw: Draw, shape: Any, n: int, scale: float, dtype: torch.dtype) -> Any:
    """Inputs for n samples of these shapes."""
    if isinstance(shape, dict):
        return {name: inputs_of(draw, part, n, scale, dtype) for name, part in shape.items()}
    if isinstance(shape, int):
        return draw.words((n, shape), N_WORDS)
    if not isinstance(shape, torch.Size):
        return tuple(inputs_of(draw, part, n, scale, dtype) for part in shape)
    x = draw.normal(n, *shape)
    if draw.chance(0.1):
        x[n // 2 :] = x[: n - n // 2].clone()
    if draw.chance(0.1):
        x = x * (x > 0.0)
    return (scale * x).to(dtype)
