"""The zoo: every kind of architecture the Jacobian must serve, small enough for a naive dense D."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = tuple[nn.Module, Any]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class Given(nn.Module):
    """`x = f(θ)`, (m,), whatever the one sample is: a function of θ alone, as a module."""

    def __init__(self, f: Callable[[Tensor], Tensor], theta: Tensor) -> None:
        super().__init__()
        self.f, self.theta = f, nn.Parameter(theta.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.theta)[None] + 0.0 * x


class Embedded(nn.Module):
    """Embedding, linear, layer norm, linear over a short text."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6, padding_idx=0)
        self.hidden = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 2)

    def forward(self, text: Tensor) -> Tensor:
        return self.out(self.norm(torch.tanh(self.hidden(self.words(text)))).mean(1))


class TiedEmbedding(nn.Module):
    """One matrix, used as an embedding and as the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.words.weight

    def forward(self, text: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(text)).sum(1))


class Positions(nn.Module):
    """A second embedding that is called without a sample axis."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.places = nn.Embedding(3, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, text: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(text) + self.places(torch.arange(3))).sum(1))


class Shared(nn.Module):
    """One layer called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return self.out(x)


class SharedEmbedding(nn.Module):
    """One embedding called on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(left).sum(1) * self.words(right).sum(1)))


class SharedBias(nn.Module):
    """Two layers whose biases are one parameter, their weights are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class SequenceFirst(nn.Module):
    """A transformer encoder block that sees (position, sample, feature)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=False)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(x.transpose(0, 1)).mean(0))


class Custom(nn.Module):
    """Parameters of its own, and a layer that is called and used by `F.linear` besides."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(6, 6))
        self.gain = nn.Parameter(torch.randn(6))
        self.layer = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.sin(x @ self.matrix * self.gain)) + F.linear(x, self.layer.weight)


class ByHand(nn.Module):
    """SiLU as a product: torch's own has no second forward derivative."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(z)


class Scaled(nn.Module):
    """`y = W a / 2`: a layer that no rule is known for."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_out, d_in))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, 0.5 * self.weight)


def with_scaled() -> nn.Module:
    """A layer without a rule between two that have one."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), Scaled(5, 5), nn.Tanh(), nn.Linear(5, 2)).double()


class Applied(nn.Module):
    """A linear layer, and whatever is asked for after it."""

    def __init__(self, after: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.after = after or (lambda y: y)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layer(x))


class Counting(nn.Module):
    """Its forward pass changes a buffer, and may fail afterwards."""

    def __init__(self, *, rebind: bool = False, fail: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.rebind, self.fail = rebind, fail
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1 if self.rebind else self.count.add_(1)
        if self.fail:
            raise ArithmeticError("no luck")
        return self.layer(x)


class Uncalled(nn.Module):
    """A layer whose call is thrown away, and whose weight is used by `F.linear` as often as it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.idle = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(2.0 * x), self.idle(x)
        return torch.tanh(F.linear(x, self.layer.weight))


class ThrownAway(nn.Module):
    """A layer called twice, once in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(2.0 * x)
        return torch.tanh(self.layer(x))


class Merged(nn.Module):
    """Samples and positions merged into one axis, sample-major or position-major."""

    def __init__(self, *, position_major: bool = False) -> None:
        super().__init__()
        self.position_major = position_major
        self.hidden = nn.Linear(4, 5)
        self.norm = nn.RMSNorm(5)
        self.out = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        x = x.transpose(0, 1) if self.position_major else x
        out = self.out(torch.tanh(self.norm(self.hidden(x.reshape(n * t, d)))))
        return out.view(t, n).T if self.position_major else out.view(n, t)


class MergedImages(nn.Module):
    """A convolution over several pictures of each sample at once."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(2, 3, 2)
        self.upwards = nn.ConvTranspose1d(3, 2, 2)
        self.norm = nn.GroupNorm(1, 2)
        self.out = nn.Linear(2 * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        pictures = torch.tanh(self.upwards(torch.tanh(self.filters(x.flatten(0, 1)))))
        return self.out(self.norm(pictures).flatten(1)).view(len(x), -1)


class SamplesAsPixels(nn.Module):
    """A convolution of one pixel whose pixels are the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.filters(x.T[None])[0].T)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(3, 4, batch_first=True)
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.memory(x)[0][:, -1])


class Unvectorisable(nn.Module):
    """A parameter outside the rules behind a step that vmap cannot take."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(5))
        self.layer = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.stack([torch.tanh(row * self.gain) * row[0].item() for row in x]))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(2, 4, bias=False)
        self.out = nn.Linear(4, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.out(torch.tanh(self.left(input=left) * self.right(right)))


class OneNumber(nn.Module):
    """Outputs of shape (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, 0]


def hooked() -> nn.Module:
    """A hook of the user doubles what a layer returns."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    model[0].register_forward_hook(lambda module, inputs, output: 2.0 * output)
    return model


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    model[2].weight.requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return model


def batch_norm() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2))
    model[1].running_mean.uniform_(-1.0, 1.0)
    model[1].running_var.uniform_(0.5, 2.0)
    return model.eval()


def perturbed(model: nn.Module) -> nn.Module:
    """Norms start with weights of one and biases of zero, where wrong rules look right."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def conv_groups() -> Made:
    model = nn.Sequential(
        nn.Conv2d(2, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        nn.GroupNorm(2, 6),
        nn.GELU(),
        nn.Conv2d(6, 4, 3, dilation=(1, 2), padding="same"),
        nn.Conv2d(4, 2, 2, padding="valid", bias=False),
        nn.Flatten(),
        nn.Linear(2 * 3 * 5, 3),
    )
    return model, normal(4, 2, 8, 7)


def conv_padding(mode: str) -> Made:
    layers = [nn.Conv1d(2, 4, 3, padding=2, padding_mode=mode), nn.Tanh(), nn.Conv1d(4, 3, 4, padding="same")]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 8, 2)), normal(4, 2, 6)


def conv_volume() -> Made:
    return nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Tanh(), nn.Linear(54, 2)), normal(3, 1, 4, 4, 4)


def transposed_plane() -> Made:
    up = nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), padding=1, output_padding=(1, 0), groups=2)
    return nn.Sequential(up, nn.Tanh(), nn.Flatten(), nn.Linear(6 * 6 * 4, 2)), normal(4, 4, 3, 4)


def transposed_line() -> Made:
    return nn.Sequential(nn.ConvTranspose1d(4, 6, 3, dilation=2), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)), normal(
        4, 4, 4
    )


def transposed_volume() -> Made:
    return nn.Sequential(nn.ConvTranspose3d(1, 2, 2, bias=False), nn.Flatten(), nn.Linear(54, 1)), normal(3, 1, 2, 2, 2)


def transformer(*, norm_first: bool = False) -> Made:
    block = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    return nn.Sequential(block, nn.Flatten(), nn.Linear(40, 2)), normal(5, 5, 8)


def text(n: int, length: int, words: int) -> Tensor:
    return torch.randint(0, words, (n, length))


def mlp() -> Made:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 3)), normal(9, 5)


def wide() -> Made:
    """Wide enough for contraction to be chosen, with ReLU in place."""
    inplace = nn.ReLU(inplace=True)
    return nn.Sequential(nn.Linear(5, 40), inplace, nn.Linear(40, 40), inplace, nn.Linear(40, 2)), normal(9, 5)


def sequence() -> Made:
    """Few samples, few positions, wide layers: positions are contracted."""
    return nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 1)), normal(3, 2, 20)


def norms() -> Made:
    layers = [nn.Linear(4, 6), nn.RMSNorm(6, eps=1e-3), nn.Tanh(), nn.LayerNorm((3, 6), bias=False), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(18, 2)), normal(5, 3, 4)


@dataclass(frozen=True)
class Specimen:
    """A kind of model: how to make it with its inputs, and the parameters that no rule accounts for."""

    name: str
    make: Callable[[], Made]
    per_sample: tuple[str, ...] = ()


ZOO = [
    Specimen("mlp", mlp),
    Specimen("one layer", lambda: (nn.Linear(4, 2), normal(6, 4))),
    Specimen("one sample", lambda: (mlp()[0], normal(1, 5))),
    Specimen("wide relu in place", wide),
    Specimen("sequence", sequence),
    Specimen(
        "sequence relu in place",
        lambda: (nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)), normal(6, 3, 4)),
    ),
    Specimen("conv groups", conv_groups),
    Specimen("conv reflect", lambda: conv_padding("reflect")),
    Specimen("conv replicate", lambda: conv_padding("replicate")),
    Specimen("conv circular", lambda: conv_padding("circular")),
    Specimen("conv zeros", lambda: conv_padding("zeros")),
    Specimen("conv volume", conv_volume),
    Specimen("transposed plane", transposed_plane),
    Specimen("transposed line", transposed_line),
    Specimen("transposed volume", transposed_volume),
    Specimen("embedding", lambda: (Embedded(), text(7, 5, 11))),
    Specimen("tied embedding", lambda: (TiedEmbedding(), text(5, 4, 11))),
    Specimen(
        "sparse embedding",
        lambda: (nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2)), text(6, 2, 5)),
    ),
    Specimen("shared embedding", lambda: (SharedEmbedding(), (text(6, 4, 9), text(6, 3, 9)))),
    Specimen("positions", lambda: (Positions(), text(5, 3, 7)), ("places.weight",)),
    Specimen("shared layer", lambda: (Shared(), normal(7, 6))),
    Specimen("shared bias", lambda: (SharedBias(), normal(7, 4))),
    Specimen("transformer", transformer),
    Specimen("transformer norm first", lambda: transformer(norm_first=True)),
    Specimen("transformer sequence first", lambda: (SequenceFirst(), normal(5, 4, 8))),
    Specimen("custom layer", lambda: (Custom(), normal(6, 6)), ("gain",)),
    Specimen("uncalled", lambda: (Uncalled(), normal(6, 4))),
    Specimen("thrown away", lambda: (ThrownAway(), normal(6, 4))),
    Specimen(
        "weight norm",
        lambda: (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 1)),
            normal(6, 6),
        ),
        ("0.parametrizations.weight.original0", "0.parametrizations.weight.original1"),
    ),
    Specimen("batch norm eval", lambda: (batch_norm(), normal(6, 1, 4, 4))),
    Specimen("norms", norms),
    Specimen("merged", lambda: (Merged(), normal(6, 3, 4))),
    Specimen(
        "merged position-major",
        lambda: (Merged(position_major=True), normal(6, 3, 4)),
        ("norm.weight",),
    ),
    Specimen("merged pictures", lambda: (MergedImages(), normal(4, 3, 2, 4))),
    Specimen("samples as pixels", lambda: (SamplesAsPixels(), normal(5, 4)), ("filters.weight", "filters.bias")),
    Specimen("lstm", lambda: (Recurrent(), normal(5, 4, 3))),
    Specimen("unvectorisable", lambda: (Unvectorisable(), normal(5, 5)), ("gain",)),
    Specimen(
        "prelu", lambda: (nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 1)), normal(5, 4)), ("1.weight",)
    ),
    Specimen("frozen", lambda: (frozen(), normal(6, 4))),
    Specimen("hooked", lambda: (hooked(), normal(6, 4))),
    Specimen("tuple", lambda: (TwoInputs(), (normal(6, 3), normal(6, 2)))),
    Specimen("dict", lambda: (TwoInputs(), {"right": normal(6, 2), "left": normal(6, 3)})),
    Specimen("one number", lambda: (OneNumber(), normal(7, 3))),
    Specimen("output (2, 3)", lambda: (nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3))), normal(5, 4))),
]


def made(specimen: Specimen, dtype: torch.dtype) -> Made:
    """The specimen in one dtype, perturbed off the special values of its initialisation; the same every time."""
    torch.manual_seed(0)
    model, inputs = specimen.make()
    return perturbed(model.to(dtype)), cast(inputs, dtype)


def cast(inputs: Any, dtype: torch.dtype) -> Any:
    if isinstance(inputs, dict):
        return {key: cast(value, dtype) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(cast(value, dtype) for value in inputs)
    return inputs.to(dtype) if inputs.dtype.is_floating_point else inputs


def taken(inputs: Any, samples: Any) -> Any:
    """The inputs of some samples, in this order."""
    if isinstance(inputs, dict):
        return {key: value[samples] for key, value in inputs.items()}
    return tuple(value[samples] for value in inputs) if isinstance(inputs, tuple) else inputs[samples]
