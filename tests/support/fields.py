"""Networks whose derivatives by coordinates are wanted, and these derivatives by torch.func."""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from geodescent.outputs import Derivative, Equation, ResidualMap, Streams

Fields = Callable[[Tensor], Tensor]


class Function(nn.Module):
    """An elementwise function as a layer."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, z: Tensor) -> Tensor:
        return self.f(z)


def perceptron(f: Callable[[Tensor], Tensor], d: int = 2, n_fields: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 7), Function(f), nn.Linear(7, 6), Function(f), nn.Linear(6, n_fields))


class Skips(nn.Module):
    """Two residual blocks, the second of a layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 6)
        self.third, self.out = nn.Linear(6, 6, bias=False), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        h = h + torch.sin(self.second(h))
        return self.out(h - 0.5 * self.third(h).tanh())


class Gates(nn.Module):
    """Half of the units open the other half, as in a gated linear unit; a division by what is above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(2, 10), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.first(x).chunk(2, -1)
        return self.out(value * torch.sigmoid(gate) / (1.0 + gate**2))


class Twice(nn.Module):
    """One layer that is used three times, and a factor and a shift of each unit."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.out = nn.Linear(2, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.factor, self.shift = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        for _ in range(3):
            h = torch.tanh(self.shared(h)) * self.factor + self.shift
        return self.out(h)


class Fourier(nn.Module):
    """Sines and cosines of fixed frequencies, and the coordinates beside them."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, 3))
        self.inner = perceptron(torch.tanh, 8)

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.frequencies
        return self.inner(torch.cat([torch.sin(angles), torch.cos(angles), x], -1))


class Around(nn.Module):
    """The first coordinate is periodic, and single columns are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = perceptron(F.silu, 3)

    def forward(self, x: Tensor) -> Tensor:
        angle = 3.0 * x[:, 0]
        return self.inner(torch.stack([torch.cos(angle), torch.sin(angle), x[:, 1]], 1))


class Matrices(nn.Module):
    """Parameters that are no layers: a matrix that is multiplied from the right, a factor of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(5, 2))
        self.size = nn.Parameter(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-((x @ self.first) ** 2)) @ self.second * self.size


class Normed(nn.Module):
    """A norm over the units: torch's own layer, or the same written in sums and products."""

    def __init__(self, *, written_out: bool, root: bool) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(2, 6), nn.Linear(6, 2)
        self.norm: nn.Module = nn.RMSNorm(6, eps=1e-5) if root else nn.LayerNorm(6)
        self.written_out, self.root = written_out, root

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.out(torch.sin(self._written_out(h) if self.written_out else self.norm(h)))

    def _written_out(self, h: Tensor) -> Tensor:
        h = h if self.root else h - h.mean(-1, keepdim=True)
        unit = h / torch.sqrt((h * h).mean(-1, keepdim=True) + 1e-5)
        return unit * self.norm.weight + (0.0 if self.root else self.norm.bias)


class Attending(nn.Module):
    """A softmax over the units: torch's own, or written out."""

    def __init__(self, *, written_out: bool) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(2, 6), nn.Linear(6, 2)
        self.written_out = written_out

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        if self.written_out:
            return self.out(torch.exp(z) / torch.exp(z).sum(-1, keepdim=True))
        return self.out(torch.softmax(z, -1))


class Paired(nn.Module):
    """A bilinear layer, for which there is no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.pair = nn.Linear(2, 3), nn.Linear(2, 3), nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(torch.tanh(self.left(x)), torch.sin(self.right(x)))


class Computed(nn.Module):
    """A matrix that is computed from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(3, 5))
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(x @ (self.left @ self.right)))


def weight_normed() -> nn.Module:
    weight_norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(weight_norm(nn.Linear(2, 5)), nn.Tanh(), weight_norm(nn.Linear(5, 2)))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "gelu": F.gelu,
    "gelu by tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "softplus": lambda z: F.softplus(z, beta=2.0),
    "sigmoid": torch.sigmoid,
    "exp": lambda z: torch.exp(0.3 * z),
    "mish": F.mish,
    "erf": torch.erf,
    "atan": torch.atan,
    "sinh": lambda z: torch.sinh(0.5 * z),
    "log": lambda z: torch.log(3.0 + z.square()),
    "root": lambda z: torch.sqrt(2.0 + z * z),
    "cube": lambda z: 0.2 * z**3,
}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda f=f: perceptron(f) for name, f in ACTIVATIONS.items()},
    "skips": Skips,
    "gates": Gates,
    "shared": Twice,
    "Fourier features": Fourier,
    "periodic": Around,
    "matrices": Matrices,
}
WRITTEN_OUT: dict[str, Callable[[bool], nn.Module]] = {
    "layer norm": lambda out: Normed(written_out=out, root=False),
    "norm by the root": lambda out: Normed(written_out=out, root=True),
    "softmax": lambda out: Attending(written_out=out),
}
WITHOUT_RULES: dict[str, Callable[[], nn.Module]] = {
    "bilinear": Paired,
    "computed": Computed,
    "weight norm": weight_normed,
}


def made(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """In float64, from one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build()
    return model.double().to(dtype)


def coordinates(n: int, d: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (2.0 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 1.0).to(dtype)


def fields_of(model: nn.Module, theta: Tensor) -> Fields:
    """The model as a function of points, with these parameters."""
    places = [(name, p.shape, p.numel()) for name, p in model.named_parameters()]
    parts = theta.split([size for _, _, size in places])
    parameters = {name: part.view(shape) for (name, shape, _), part in zip(places, parts, strict=True)}
    return lambda points: functional_call(model, parameters, (points,))


def by_func(fields: Fields, points: Tensor, derivatives: list[Derivative]) -> dict[Derivative, Tensor]:
    """Derivatives of all fields at points, each (N, F), by jacobians of jacobians, point by point."""
    found, function = dict[Derivative, Tensor](), lambda point: fields(point[None])[0]
    for order in range(max(map(len, derivatives)) + 1):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            tensor = vmap(function)(points)
        for derivative in derivatives:
            if len(derivative) == order:
                found[derivative] = tensor[(..., *derivative)]
        function = jacrev(function)
    return found


def streams_map(model: nn.Module, points: Tensor, streams: Streams, *, total: bool = False) -> ResidualMap:
    """The streams of all fields as the rows of an equation, (N, S·P·F)."""
    points = points if points.dim() == 3 else points[None]
    n_fields = model(points[0]).shape[1]
    rows = streams.n_points * len(points) * n_fields
    return ResidualMap(model, points, Equation(lambda s, _: s.permute(2, 0, 1, 3).flatten(1), streams, rows, (), total))


def every_derivative(d: int, order: int) -> Streams:
    """All derivatives by d coordinates up to this order."""
    found: list[Derivative] = [()]
    for _ in range(order):
        found = [(*derivative, k) for derivative in found for k in range(d)]
    return Streams.of(found)
