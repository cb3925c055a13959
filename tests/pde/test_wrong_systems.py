"""Systems that cannot be: each is refused when it is made, in one sentence, and what that tells to do works."""

import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent import pde

F64 = torch.float64
BOX = pde.Box(x=(0.0, 1.0), y=(0.0, 2.0))
INSIDE = BOX.inside(20)
PLACES = torch.rand(10, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
VALUES = torch.ones(10, dtype=F64)


def net(n_inputs: int = 2, n_fields: int = 1) -> nn.Module:
    return pde.mlp(n_inputs, [5], n_fields)


def poisson(u):
    return u.laplacian - 1.0


def system(*terms: Any, net: Any = None, **settings: Any) -> pde.System:
    terms = terms or (pde.Term("poisson", poisson, INSIDE),)
    module = pde.mlp(2, [5], len(settings.get("fields", "u"))) if net is None else net
    return pde.System(module, list(terms), **{"coordinates": ("x", "y"), **settings})


def term(equation: Any = poisson, points: Any = INSIDE, **settings: Any) -> pde.Term:
    return pde.Term("poisson", equation, points, **settings)


def sensors(**settings: Any) -> pde.Term:
    return pde.Term("sensors", lambda u: u, PLACES, **settings)


def of_layers(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), *layers, nn.Linear(5, 1)).double()


class Drawing:
    """A geometry of somebody else."""

    def __init__(self, draw: Callable[[int], Any]) -> None:
        self.sample = draw


@dataclass
class Wrong:
    """A system that is none.

    Attributes:
        made: makes it.
        says: what its sentence must hold.
        mended: the same as the sentence would have it; None where it says no more than what is needed.
    """

    made: Callable[[], Any]
    says: list[str] = field(default_factory=list)
    mended: Callable[[], Any] | None = None


def both(equation: Callable[..., Any], says: list[str], mended: Callable[..., Any], **settings: Any) -> Wrong:
    """An equation, and what it should be."""
    return Wrong(lambda: system(term(equation), **settings), says, lambda: system(term(mended), **settings))


MIXES = ["term 'poisson': its equation mixes points", "each row must be that of one point", "pde.Total"]
NEEDED = ["a tensor (7,) for 7 points is needed, or a tuple of them"]
IGNORES = [
    "term 'poisson': its equation depends on no field and no unknown",
    "return what is to vanish, such as u - 1.0",
]

EQUATIONS: dict[str, Wrong] = {
    "a coordinate that no term knows": both(
        lambda u, z: u - z,
        ["term 'poisson' asks for z; coordinates are x, y; fields u."],
        lambda u, y: u - y,
    ),
    "a field misspelt": both(lambda v: v.xx, ["asks for v;", "fields u."], lambda u: u.xx),
    "an unknown misspelt": both(
        lambda u, kapa: kapa * u.xx, ["asks for kapa;", "unknowns kappa."], lambda u, kappa: kappa * u.xx,
        unknowns={"kappa": 1.0},
    ),
    "a derivative misspelt": both(
        lambda u: u.xz, ["term 'poisson': u has no 'xz', its derivatives are by x, y: for example u.x"], lambda u: u.xy
    ),
    "a method of tensors": both(
        lambda u: u.xx + u.sin(), ["u has no 'sin'", "write torch.sin(u)"], lambda u: u.xx + torch.sin(u)
    ),
    "an order above 4": both(
        lambda u: u.xxxxx,
        ["u.xxxxx is a derivative of order 5: orders up to 4", "Give the lower derivative a field of its own"],
        lambda u, v: (v.xxxx, v - u.x),
        fields=("u", "v"),
    ),
    "the derivative of an expression": both(
        lambda u: (u * u).x, ["attributes of fields, not of expressions: 2*u*u.x in place of (u*u).x"],
        lambda u: 2 * u * u.x,
    ),
    "autograd in an equation": both(
        lambda u, x: torch.autograd.grad(u.value.sum(), x)[0],
        ["Derivatives are attributes of fields: u.x, u.xx, in place of torch.autograd.grad"],
        lambda u: u.x,
    ),
    "NaN": both(
        lambda u, x: u.xx + torch.log(x - 2.0),
        ["its equation is NaN or infinite at 20 of its 20 points", "first at x = 0.06943, y = 0.09382"],
        lambda u, x: u.xx + torch.log(x),
    ),
    "infinite at one row of points": both(
        lambda u, x: u.xx + 1.0 / (x - INSIDE.points[0, 0]), ["infinite at 5 of its 20 points"],
        lambda u, x: u.xx + 1.0 / (x + 1.0),
    ),
    "no field": both(lambda x: x**2, IGNORES, lambda u, x: u - x**2),
    "a field that is not used": both(lambda u, x: x**2, IGNORES, lambda u, x: u - x**2),
    "one of two equations without a field": both(
        lambda u, x: (u.xx, x - 1.0), ["equation 2 of 2 it returns depends on no field"], lambda u, x: (u.xx, u - x)
    ),
    "a field that is cut off": both(lambda u: u.xx.value.detach(), [*IGNORES, "without detach()"], lambda u: u.xx),
    "numpy": both(
        lambda u: torch.as_tensor(np.sin(u.value.numpy())), ["Compute by torch in place of numpy"],
        lambda u: torch.sin(u),
    ),
    "a derivative by its usual name": both(
        lambda u: u.yy + u_x, ["NameError: name 'u_x' is not defined. Write u.x."], lambda u: u.yy + u.x  # noqa: F821
    ),
    "a derivative without a dot": both(lambda u: uxy, ["Write u.xy."], lambda u: u.xy),  # noqa: F821
    "a quotient": both(lambda u: du_dx, ["Write u.x."], lambda u: u.x),  # noqa: F821
    "a quotient of second order": both(lambda u: d2u_dx2, ["Write u.xx."], lambda u: u.xx),  # noqa: F821
    "a derivative among the arguments": both(
        lambda u, u_xx: u_xx, ["asks for u_xx; ", "Write u.xx."], lambda u: u.xx
    ),
    "a coordinate that is not among the arguments": both(
        lambda u: u.xx - y, ["name 'y' is not defined. Add y to the arguments of the equation."],  # noqa: F821
        lambda u, y: u.xx - y,
    ),
    "a field that is not among the arguments": both(
        lambda u: u.xx - v, ["Add v to the arguments of the equation."],  # noqa: F821
        lambda u, v: (u.xx - v, v - u.y), fields=("u", "v"),
    ),
    "an unknown that is not among the arguments": both(
        lambda u: kappa * u.xx, ["Add kappa to the arguments of the equation."],  # noqa: F821
        lambda u, kappa: kappa * u.xx, unknowns={"kappa": 1.0},
    ),
    "math of a field": both(
        lambda u: u.xx + math.sin(u), ["write torch.sin(x) in place of math.sin(x)"], lambda u: u.xx + torch.sin(u)
    ),
    "math of a coordinate": both(
        lambda u, x: u.xx + math.sin(x), ["write torch.sin(x) in place of math.sin(x)"],
        lambda u, x: u.xx + torch.sin(x),
    ),
    "numpy of a field": both(
        lambda u: u.xx + np.sin(u), ["write torch.sin(x) in place of np.sin(x)"],
        lambda u: np.float64(2.0) * u.xx + torch.sin(u),
    ),
    "a single number": both(
        lambda u: u.xx.value.item(), ["These are values at all points", "leave float() and item() out"], lambda u: u.xx
    ),
    "in place": both(lambda u: u.xx.value.add_(1.0), ["Write u + 1.0 in place of u.add_(1.0)"], lambda u: u.xx + 1.0),
    "cases": both(
        lambda u: u.xx if u > 0 else u, ["torch.where(condition, a, b) in place of if"],
        lambda u: torch.where(u > 0, u.xx, u),
    ),
    "complex": both(
        lambda u: u.xx + 1j * u, ["complex numbers: return real and imaginary part as a tuple"], lambda u: (u.xx, u)
    ),
    "a comparison": both(
        lambda u: u.xx < u, ["returns torch.bool: return the difference of both sides"], lambda u: u.xx - u
    ),
    "a number": both(lambda u: 0.5, ["the equation returns float", *NEEDED], lambda u: u - 0.5),
    "nothing": both(lambda u: None, ["the equation returns NoneType", *NEEDED], lambda u: u.xx),
    "a dict": both(lambda u: {"a": u.xx, "b": u}, ["returns dict", *NEEDED], lambda u: (u.xx, u)),
    "an empty tuple": both(lambda u: (), ["returns nothing: return what is to vanish"], lambda u: (u,)),
    "equations in rows": both(
        lambda u: torch.stack([u.xx.value, u.yy.value]),
        ["returns shape (2, 7) for 7 points: (7,) is needed, or a tuple of as many tensors as there are equations"],
        lambda u: (u.xx, u.yy),
    ),
    "a mean over points": both(
        lambda u: torch.mean(u.xx), ["returns one number for 7 points: return one for each, without sum() and mean()"],
        lambda u: u.xx,
    ),
    "less the mean over points": both(lambda u: u.xx - torch.mean(u.xx), MIXES, lambda u: u.xx),
    "an index": both(lambda u: u[0] * u.xx, MIXES, lambda u: u * u.xx),
    "a sum so far": both(lambda u: u.xx - torch.cumsum(u.value, 0), MIXES, lambda u: u.xx),
    "the mean of a coordinate": both(lambda u, x: u.xx - x.mean(), MIXES, lambda u: u.xx - 0.5),
    "a tensor of fixed length": both(
        lambda u: u.xx - torch.ones(20, dtype=F64), ["is called at any number of points: compute all of it from coord"],
        lambda u, x: u.xx - torch.ones_like(x),
    ),
    "random": both(lambda u, x: u.xx + torch.rand_like(x), ["draws random numbers"], lambda u: u.xx),
    "arguments without names": both(
        lambda *a: a[0], ["takes *args or **kwargs: name the fields, coordinates and unknowns"], lambda u: u
    ),
    "no function": Wrong(lambda: system(term(3)), ["is no function but 3: a function of fields and coordinates"]),
    "a total with two values": Wrong(
        lambda: system(term(), pde.Total("size", lambda u: (u**2, u), INSIDE, 1.0)),
        ["total 'size': the integrand returns 2 values a point: one is needed"],
        lambda: system(term(), pde.Total("size", lambda u: u**2, INSIDE, 1.0)),
    ),
}  # fmt: skip

POINTS: dict[str, Wrong] = {
    "of another length than y": Wrong(
        lambda: system(sensors(target=VALUES[:9])), ["its target has shape (9,) for 10 points: (10,) is needed"],
        lambda: system(sensors(target=VALUES)),
    ),
    "y of two columns": Wrong(
        lambda: system(sensors(target=PLACES)), ["its target has shape (10, 2) for 10 points"],
        lambda: system(sensors(target=PLACES[:, :1])),
    ),
    "y with NaN": Wrong(
        lambda: system(sensors(target=torch.where(PLACES[:, 0] > 0.5, math.nan, VALUES))),
        ["term 'sensors': its target holds", "NaN or infinite values of 10: leave these points and values out"],
    ),
    "y of one number": Wrong(
        lambda: system(sensors(target=1.0)), ["an exact value belongs into the equation, lambda u: u - 1.0"],
        lambda: system(pde.Term("sensors", lambda u: u - 1.0, PLACES)),
    ),
    "y of text": Wrong(lambda: system(sensors(target="a")), ["term 'sensors': its target is str: pass a tensor"]),
    "y that is complex": Wrong(lambda: system(sensors(target=VALUES.cfloat())), ["real numbers are needed"]),
    "outside the box": Wrong(
        lambda: system(term(), pde.Term("walls", lambda u: u, PLACES + torch.tensor([0.0, 1.9], dtype=F64))),
        ["term 'walls':", "of its 10 points lie outside the box, where y is from 0 to 2"],
        lambda: system(
            term(points=pde.Box(x=(0.0, 1.0), y=(0.0, 3.0)).inside(20)),
            pde.Term("walls", lambda u: u, PLACES + torch.tensor([0.0, 1.9], dtype=F64)),
        ),
    ),
    "integers": Wrong(
        lambda: system(term(points=torch.ones(5, 2, dtype=torch.int64))), ["torch.int64", "points.double()"],
        lambda: system(term(points=torch.ones(5, 2, dtype=torch.int64).double())),
    ),
    "integers of numpy": Wrong(
        lambda: system(term(points=np.ones((5, 2), dtype=np.int64))), ["torch.as_tensor(points).double()"],
        lambda: system(term(points=torch.as_tensor(np.ones((5, 2), dtype=np.int64)).double())),
    ),
    "integers for a solution": Wrong(
        lambda: system()([[0, 1], [1, 1]]),
        ["system(points): its points are torch.int64", "torch.as_tensor(points).double()"],
        lambda: system()(torch.as_tensor([[0, 1], [1, 1]]).double()),
    ),
    "of another shape for a solution": Wrong(
        lambda: system()(PLACES[0]), ["system(points): its points have shape (2,): (N, 2) is needed"],
        lambda: system()(PLACES[:1]),
    ),
    "complex": Wrong(
        lambda: system(term(points=PLACES.cdouble())), ["torch.complex128", "points.real"],
        lambda: system(term(points=PLACES.cdouble().real)),
    ),
    "of another box": Wrong(
        lambda: system(term(points=pde.Box(x=(0, 1), z=(0, 1)).inside(9))),
        ["its points have the coordinates x, z, the system has x, y: name the same in pde.Box and in coordinates="],
        lambda: system(term(points=pde.Box(y=(0, 1), x=(0, 1)).inside(9))),
    ),
    "the box itself": Wrong(
        lambda: system(term(points=BOX)), ["its points are a Box: say how many are taken, box.inside(1000)"],
        lambda: system(term(points=BOX.inside(1000))),
    ),
    "a side itself": Wrong(
        lambda: system(term(points=BOX.side(x=0))), ["box.side(x=0).points(100)"],
        lambda: system(term(points=BOX.side(x=0).points(100))),
    ),
    "none": Wrong(lambda: system(term(points=PLACES[:0])), ["has no points: pass at least one"]),
    "no tensor": Wrong(lambda: system(term(points=None)), ["pass a tensor (N, d), box.inside(1000)"]),
    "drawn as text": Wrong(
        lambda: system(term(points=Drawing(lambda n: ["a"] * n))), ["an object with random_points(n) or sample(n)"],
        lambda: system(term(points=Drawing(lambda n: torch.rand(n, 2)))),
    ),
    "with one column": Wrong(
        lambda: system(term(points=PLACES[:, :1])), ["have shape (10, 1): (N, 2) is needed, a column for each of x, y"]
    ),
    "with NaN": Wrong(lambda: system(term(points=PLACES * math.nan)), ["10 of its 10 points are NaN or infinite"]),
    "pairs of different numbers": Wrong(
        lambda: system(term(lambda u: u[0] - u[1], (PLACES, PLACES[:5]))),
        ["its tuple of points has [5, 10] points: each must have as many"],
        lambda: system(term(lambda u: u[0] - u[1], (PLACES[5:], PLACES[:5]))),
    ),
    "pairs without an index": Wrong(
        lambda: system(term(lambda u: u.x, (PLACES, PLACES))), ["each field is a tuple: u[0], u[1]"],
        lambda: system(term(lambda u: u[0].x - u[1].x, (PLACES, PLACES))),
    ),
    "weights of another length": Wrong(
        lambda: system(sensors(weights=VALUES[:3])), ["its weights have shape (3,)", "(10,) is needed, one a point"],
        lambda: system(sensors(weights=VALUES)),
    ),
    "weights below zero": Wrong(lambda: system(sensors(weights=-VALUES)), ["0 or above", "the smallest is -1"]),
    "weights of zero": Wrong(lambda: system(sensors(weights=0.0 * VALUES)), ["some above 0"]),
    "a weight below zero": Wrong(
        lambda: system(term(weight=-1.0)), ["a positive, finite number is needed, for example weight=100.0"],
        lambda: system(term(weight=100.0)),
    ),
    "none of a crowd": Wrong(lambda: BOX.inside(9, crowd={"z": (0.0, 3.0)}), ["coordinates that vary here are x, y"]),
    "half a point": Wrong(lambda: BOX.inside(1.5), ["n = 1.5: a whole number of points from 1 on"]),
    "by no rule": Wrong(lambda: BOX.inside(9, rule="uniform"), ["'gauss'"], lambda: BOX.inside(9, rule="gauss")),
    "a box upside down": Wrong(lambda: pde.Box(x=(1, 0)), ["the lower end must be below the upper one"]),
    "a box of one number": Wrong(lambda: pde.Box(x=1), ["x=(0, 1)"], lambda: pde.Box(x=(0, 1))),
    "a side outside": Wrong(lambda: BOX.side(x=3), ["side(x=3) lies outside the box, where x is from 0 to 1"]),
    "a side of nothing": Wrong(lambda: BOX.side(z=3), ["the coordinates are x, y"], lambda: BOX.side(y=2)),
}  # fmt: skip

NETS: dict[str, Wrong] = {
    "a kink": Wrong(
        lambda: system(net=of_layers(nn.ReLU())), ["relu has a kink", "take tanh, sin, GELU, SiLU or softplus"],
        lambda: system(net=of_layers(nn.GELU())),
    ),
    "a kink with a parameter": Wrong(lambda: system(net=of_layers(nn.PReLU())), ["prelu has a kink"]),
    "a kink without a rule": Wrong(
        lambda: system(net=of_layers(nn.Softshrink())), ["all derivatives of the network of second order are zero"],
        lambda: system(net=of_layers(nn.Softplus())),
    ),
    "too few inputs": Wrong(
        lambda: system(net=net(3)), ["net cannot be called on 2 inputs a point", "pde.mlp(2, [20, 20], 1)"],
        lambda: system(net=pde.mlp(2, [20, 20], 1)),
    ),
    "too many outputs": Wrong(
        lambda: system(net=net(2, 2)), ["net returns (5, 2) for 5 points: (5, 1) is needed", "pde.mlp(2, [20, 20], 1)"]
    ),
    "too few outputs": Wrong(
        lambda: system(term(lambda u, v: u.x - v.y), net=net(), fields=("u", "v")), ["pde.mlp(2, [20, 20], 2)"],
        lambda: system(term(lambda u, v: u.x - v.y), net=pde.mlp(2, [20, 20], 2), fields=("u", "v")),
    ),
    "complex": Wrong(
        lambda: system(net=nn.ParameterList([torch.zeros(1, dtype=torch.complex128)])),
        ["the net is torch.complex128: float64 is needed, net.double()"],
    ),
    "half precision": Wrong(
        lambda: system(net=net().half()), ["float64 is needed, net.double()"], lambda: system(net=net().half().double())
    ),
    "frozen": Wrong(
        lambda: system(net=net().requires_grad_(False)), ["Call requires_grad_(True)"],
        lambda: system(net=net().requires_grad_(False).requires_grad_(True)),
    ),
    "a function": Wrong(lambda: system(net=lambda x: x[:, :1]), ["net is of type function: a module is needed"]),
    "without parameters": Wrong(lambda: system(net=nn.Tanh()), ["the net has no parameters", "pass pde.mlp("]),
    "means over points": Wrong(
        lambda: system(net=of_layers(nn.BatchNorm1d(5), nn.Tanh())), ["depend on the other points: call net.eval()"],
        lambda: system(net=of_layers(nn.BatchNorm1d(5), nn.Tanh()).eval()),
    ),
    "random": Wrong(
        lambda: system(net=of_layers(nn.Dropout(), nn.Tanh())), ["draws random numbers: call net.eval()"],
        lambda: system(net=of_layers(nn.Dropout(), nn.Tanh()).eval()),
    ),
    "a dict without a field": Wrong(
        lambda: system(term(lambda u, v: u.x - v.y), net={"u": net()}, fields=("u", "v")),
        ["net is a dict of u, the fields are u, v: a module of one output is needed for each"],
        lambda: system(term(lambda u, v: u.x - v.y), net={"v": net(), "u": net()}, fields=("u", "v")),
    ),
    "a dict of a wide one": Wrong(lambda: system(net={"u": net(2, 2)}), ["net['u'] returns (5, 2)"]),
    "a dict of numbers": Wrong(lambda: system(net={"u": 3}), ["net['u'] is of type int: a module is needed"]),
    "periodic by another name": Wrong(
        lambda: system(net=net(3), periodic={"z": 1.0}), ["coordinates are x, y"],
        lambda: system(net=net(3), periodic={"y": 1.0}),
    ),
    "periodic by less than nothing": Wrong(lambda: system(net=net(3), periodic={"x": -1.0}), ["period, above 0"]),
    "periodic without a period": Wrong(
        lambda: system(net=net(3), periodic=("x",)), ["{'y': 2.0}"], lambda: system(net=net(3), periodic={"y": 2.0})
    ),
    "periodic with too few inputs": Wrong(
        lambda: system(periodic={"x": 1.0}), ["two for a periodic one: pde.mlp(3, [20, 20], 1)"],
        lambda: system(net=pde.mlp(3, [20, 20], 1), periodic={"x": 1.0}),
    ),
    "a transform of something else": Wrong(
        lambda: system(transform=lambda net, z: z * net), ["transform asks for net, z", "lambda net, y: y * net"],
        lambda: system(transform=lambda net, y: y * net),
    ),
    "a transform without the network": Wrong(
        lambda: system(transform=lambda x, y: x * y), ["its arguments are the network's field, then coordinates"]
    ),
    "a transform without arguments": Wrong(lambda: system(transform=lambda: 1), ["transform asks for nothing"]),
    "a transform that fails": Wrong(
        lambda: system(transform=lambda net, x: net.u), ["transform fails, AttributeError", "a tensor, u = x * net"],
        lambda: system(transform=lambda net, x: x * net),
    ),
    "a transform without return": Wrong(lambda: system(transform=lambda net, x: None), ["a tensor (5,) is needed"]),
    "a transform of a column": Wrong(
        lambda: system(transform=lambda net, x: (x * net)[:, None]), ["transform returns (5, 1) for the field u"]
    ),
    "a transform of one field": Wrong(
        lambda: system(
            term(lambda u, v: u.x - v.y), fields=("u", "v"), transform=lambda net, x: {"u": x * net.u}
        ),
        ["transform returns no 'v'", "a dict of all is needed"],
        lambda: system(
            term(lambda u, v: u.x - v.y), fields=("u", "v"), transform=lambda net, x: {"u": x * net.u, "v": net.v}
        ),
    ),
    "a transform over points": Wrong(
        lambda: system(transform=lambda net, x: net - net.mean()), ["compute in transform from the same point alone"]
    ),
    "no activation": Wrong(lambda: pde.mlp(2, [5], 1, "relu"), ["'tanh', 'sin'"], lambda: pde.mlp(2, [5], 1, "sin")),
    "no width": Wrong(lambda: pde.mlp(2, [0], 1), ["whole numbers above 0"]),
    "a width": Wrong(lambda: pde.mlp(2, 20, 1), ["a list"], lambda: pde.mlp(2, [20], 1)),
}  # fmt: skip

NAMES: dict[str, Wrong] = {
    "a coordinate like a derivative": Wrong(
        lambda: system(term(lambda u: u, PLACES), coordinates=("x", "xx")), ["derivatives by x have such names"],
        lambda: system(term(lambda u: u, PLACES), coordinates=("x", "r")),
    ),
    "a coordinate like an attribute": Wrong(
        lambda: system(term(lambda u: u, PLACES), coordinates=("x", "laplacian")), ["cannot be called 'laplacian'"]
    ),
    "an unknown like a field": Wrong(lambda: system(unknowns={"u": 1.0}), ["'u' is named twice"]),
    "a field like a coordinate": Wrong(lambda: system(fields=("x",)), ["'x' is named twice"]),
    "an unknown without a number": Wrong(
        lambda: system(term(lambda u, k: k * u.xx), unknowns={"k": "a"}), ["a first value is needed"],
        lambda: system(term(lambda u, k: k * u.xx), unknowns={"k": 1.0}),
    ),
    "a list of unknowns": Wrong(
        lambda: system(term(lambda u, k: k * u.xx), unknowns=["k"]), ["unknowns={'kappa': 1.0}"],
        lambda: system(term(lambda u, kappa: kappa * u.xx), unknowns={"kappa": 1.0}),
    ),
    "an unknown that no term asks for": Wrong(
        lambda: system(term(lambda u, k=2.0: k * u.xx), unknowns={"k": 1.0}),
        ["no term asks for the unknown 'k'", "without a default"],
        lambda: system(term(lambda u, k: k * u.xx), unknowns={"k": 1.0}),
    ),
    "a field that no term asks for": Wrong(
        lambda: system(term(lambda u: u.xx), fields=("u", "v")), ["no term asks for the field 'v'"],
        lambda: system(term(lambda u: u.xx), fields=("u",)),
    ),
    "two terms of one name": Wrong(lambda: system(term(), term()), ["each needs a name of its own"]),
    "a term without a name": Wrong(lambda: pde.Term(None, poisson, INSIDE), ["pde.Term('heat', …)"]),
    "a term alone": Wrong(
        lambda: pde.System(net(), term(), coordinates=("x", "y")), ["a System needs a list of terms"],
        lambda: pde.System(net(), [term()], coordinates=("x", "y")),
    ),
    "no terms": Wrong(lambda: pde.System(net(), [], coordinates=("x", "y")), ["a System needs a list of terms"]),
    "one coordinate twice": Wrong(lambda: system(coordinates=("x", "x")), ["each name may stand once"]),
    "a box for coordinates": Wrong(
        lambda: system(coordinates=BOX), ["for example coordinates=('t', 'x')"],
        lambda: system(coordinates=BOX.coordinates),
    ),
    "no fields": Wrong(lambda: system(net=net(), fields=()), ["for example fields=('u', 'v')"]),
    "a total of text": Wrong(lambda: pde.Total("size", lambda u: u, INSIDE, "a"), ["a finite number is needed"]),
    "a total of NaN": Wrong(lambda: pde.Total("size", lambda u: u, INSIDE, math.nan), ["a finite number is needed"]),
    "a total of several": Wrong(lambda: pde.Total("size", lambda u: u, INSIDE, VALUES), ["a finite number is needed"]),
    "a total of no weight": Wrong(
        lambda: pde.Total("size", lambda u: u, INSIDE, 1.0, 0.0), ["for example weight=1.0"],
        lambda: pde.Total("size", lambda u: u, INSIDE, 1.0, 1.0),
    ),
    "data beside a system": Wrong(
        lambda: gd.fit(system(), PLACES), ["brings its own data: leave X out"], lambda: gd.fit(system(), max_steps=1)
    ),
}  # fmt: skip

CASES = {
    f"{kind}: {name}": wrong
    for kind, cases in {"equation": EQUATIONS, "points": POINTS, "net": NETS, "names": NAMES}.items()
    for name, wrong in cases.items()
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_system_has_one_sentence_and_its_way_out_works(name: str) -> None:
    wrong = CASES[name]
    torch.manual_seed(0)
    with pytest.raises(gd.InputError) as refused:
        wrong.made()
    sentence = str(refused.value)
    assert [part for part in wrong.says if part not in sentence] == [], sentence
    assert "\n" not in sentence and len(sentence) < 400 and sentence.endswith("."), sentence
    if wrong.mended is None:
        return
    torch.manual_seed(0)
    made = wrong.mended()
    if isinstance(made, pde.System):
        assert math.isfinite(gd.fit(made, max_steps=2, initialise=False).cost)


TRANSFORMS = {
    "a coordinate that is not among the arguments": (
        lambda net, x: y * net, "name 'y' is not defined. Add y to the arguments of transform.", True,  # noqa: F821
    ),
    "math": (lambda net, x: math.sin(x) * net, "write torch.sin(x) in place of math.sin(x)", True),
    "numpy": (lambda net, x: np.sin(net), "write torch.sin(x) in place of np.sin(x)", None),
    "another field": (lambda net, x: {"v": net}, "transform returns no 'u'", False),
    "a key of its own": (lambda net, x: {}["a"] * net, "transform fails, KeyError: 'a'.", True),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # by NumPy, of torch
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_fails_has_a_hint(name: str) -> None:
    transform, says, told = TRANSFORMS[name]
    with pytest.raises(gd.InputError) as refused:
        system(transform=transform)
    assert says in str(refused.value)
    assert told is None or (refused.value.__cause__ is not None) == told


U = "u has no '{}', its derivatives are by {}: write {}."
SPELLINGS = {
    **{name: "u.x" for name in ("u_x", "du_dx", "dx", "d_x", "partial_x", "dudx", "u__x")},
    **{name: "u.xy" for name in ("u_x_y", "u_y_x", "d2u_dxdy", "d2u_dx_dy", "d2u_dydx", "dxdy", "du_dxdy", "d_xy")},
    **{name: "u.xx" for name in ("d2u_dx2", "dx2", "x2", "d2u_dxx", "dxdx")},
    **{"d4u_dx2dy2": "u.xxyy", "u_xxxx": "u.xxxx", "d3u_dy3": "u.yyy"},
    **{name: "u.laplacian" for name in ("laplace", "lap", "u_laplacian", "lap_u", "laplacian_u")},
}
OF_LONG_NAMES = {
    ("r", "theta"): {"d2u_drdtheta": "u.r_theta", "u_theta": "u.theta", "dtheta2": "u.theta_theta"},
    ("x_1", "x_2"): {"d2u_dx_1dx_2": "u.x_1_x_2", "u_x_1": "u.x_1", "du_dx_2": "u.x_2"},
    ("x1", "x2"): {"d2u_dx12": "u.x1_x1", "d2u_dx1dx2": "u.x1_x2", "u_x1x2": "u.x1_x2"},
}
EVERY = [
    *((("x", "y"), name, meant) for name, meant in SPELLINGS.items()),
    *((names, name, meant) for names, found in OF_LONG_NAMES.items() for name, meant in found.items()),
]


def equation_of(text: str) -> Callable[..., Any]:
    found: Callable[..., Any] = eval(f"lambda u: {text}")
    return found


@pytest.mark.parametrize(("names", "name", "meant"), EVERY)
def test_a_derivative_that_others_write_otherwise_is_told_as_it_is_written(
    names: tuple[str, ...], name: str, meant: str
) -> None:
    points = pde.Box(**{coordinate: (0.0, 1.0) for coordinate in names}).inside(20)

    def made(text: str) -> pde.System:
        return system(term(equation_of(text), points), coordinates=names)

    with pytest.raises(gd.InputError) as refused:
        made(f"u.{name}")
    assert U.format(name, ", ".join(names), meant) in str(refused.value)
    if "u" in name:  # what names no field may stand for anything
        with pytest.raises(gd.InputError, match=rf"name '{name}' is not defined\. Write {re.escape(meant)}\.$"):
            made(name)
    assert made(meant).problem().n_residuals == points.points.shape[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("u_xxxxx", "not defined. u.xxxxx is a derivative of order 5: orders up to 4 are computed."),
        ("u.dxxxxx", "u has no 'dxxxxx', and u.xxxxx is a derivative of order 5: orders up to 4 are computed."),
        ("u.x.y.x.y.x", "u.xxxyy is a derivative of order 5"),
        ("u.xxx.laplacian", "u.xxx.laplacian is a derivative of order 5"),
        ("u.xx.dy", "a derivative of u has no 'dy', its derivatives are by x, y: write u.xxy."),
        ("u.x.lap", "its derivatives are by x, y: write u.x.laplacian."),
        ("u.x.sin()", "write torch.sin(u.x)."),
        ("u.diff(0)", "u has no 'diff', its derivatives are by x, y: for example u.x."),
        ("u.laplacian.x", "u.x.laplacian in place of u.laplacian.x"),
        ("u.nothing", "u has no 'nothing', its derivatives are by x, y: for example u.x."),
    ],
)
def test_what_is_no_derivative_is_told_as_what_it_is(text: str, says: str) -> None:
    with pytest.raises(gd.InputError) as refused:
        system(term(equation_of(text)))
    assert says in str(refused.value)


@pytest.mark.parametrize("name", ["lambda_u", "d3u_dx2", "d2u_dx", "u_z", "dx", "v_x"])
def test_a_name_that_is_of_no_derivative_has_no_hint(name: str) -> None:
    with pytest.raises(gd.InputError, match=rf"NameError: name '{name}' is not defined\.$"):
        system(term(equation_of(name)))


def printed(made: Callable[[], Any]) -> str:
    """What is printed of an error."""
    with pytest.raises(gd.InputError) as refused:
        made()
    return "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("made", "line", "doubled"),
    [
        (lambda: system(term(lambda u: u.xz)), "u.xz", False),
        (lambda: system(term(lambda u: u.xx + math.sin(u))), "math.sin(u)", True),
        (lambda: system(term(lambda u: np.sin(u.value))), "np.sin(u.value)", True),
        (lambda: system(net=net(3)), "", False),
        (lambda: system(transform=lambda net, x: {"v": net}), "", False),
    ],
    ids=["of a field", "of an equation", "at made-up values", "of a net of ours", "of a dict"],
)
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_an_error_is_told_twice_only_where_the_first_is_of_the_users_own_lines(
    made: Callable[[], Any], line: str, doubled: bool
) -> None:
    told = printed(made)
    assert "During handling of the above exception" not in told
    assert told.count("Traceback (most recent call last)") == 1 + doubled
    assert line in told


def test_a_dry_run_leaves_numbers_and_buffers_as_they_were() -> None:
    module = of_layers(nn.BatchNorm1d(5), nn.Tanh())
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.random.get_rng_state()
    with pytest.raises(gd.InputError):
        system(net=module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    "points",
    [PLACES.float(), PLACES.numpy(), PLACES.tolist(), Drawing(lambda n: PLACES.numpy()), PLACES[:1]],
    ids=["float32", "numpy", "list", "drawn", "one point"],
)
def test_points_of_other_kinds_are_taken(points: Any) -> None:
    (block,) = system(term(points=points)).problem().blocks
    assert block.map.dtype == F64 and block.n_samples == len(points if not isinstance(points, Drawing) else PLACES)


@pytest.mark.parametrize("target", [[1] * 10, np.ones(10), torch.ones(10, 1), torch.ones(10, dtype=torch.int64)])
def test_targets_of_other_kinds_are_taken(target: Any) -> None:
    (block,) = system(sensors(target=target)).problem().blocks
    assert torch.equal(block.target, torch.ones(10, 1, dtype=F64))


def test_a_column_of_each_equation_is_taken_of_a_tensor(tol: float = 1e-15) -> None:
    """A tensor (N, Q), as some write it."""

    def stacked(u) -> Tensor:
        return torch.stack([u.xx.value, u.yy.value], 1)

    by_tuple = system(term(lambda u: (u.xx, u.yy)))
    (ours,), (theirs,) = (made.problem().blocks for made in (system(term(stacked), net=by_tuple.module.net), by_tuple))
    assert torch.allclose(ours.map(ours.map.theta), theirs.map(theirs.map.theta), atol=tol)
