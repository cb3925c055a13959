"""From a forward pass to columns of D: layer inputs by hooks, cotangents by Q backward passes.

A parameter goes by rule only if every use of it in autograd's graph is the call of a layer that has a rule and whose
sample axis is known. All others go through derivatives of single samples (`PerSample`), so that every model works.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from geodescent._budget import require
from geodescent._deadline import require_time
from geodescent.jacobian import Columns
from geodescent.outputs._rules import RULES
from geodescent.outputs.graph import has_memory

AT_ONCE = 5.0  # Times the widest tensor: a call without a graph. A convolution copies what it reads and writes: 4.9.


@dataclass(frozen=True)
class Call:
    """One call of a layer that has a rule: its inputs, and the edge of autograd's graph that is its return value."""

    name: str
    module: nn.Module
    inputs: Tensor
    version: int
    edge: GradientEdge
    shape: torch.Size

    @property
    def unchanged(self) -> bool:
        """False where the inputs were overwritten later on, so that what was captured is lost."""
        return self.inputs._version == self.version


@dataclass(frozen=True)
class AxisLayout:
    """Where the samples stand in a call: on `axis`, `copies` rows a sample (merged only on axis 0, sample-major)."""

    axis: int
    copies: int

    def samples_first(self, tensor: Tensor, n_samples: int) -> Tensor:
        """`(…, N·c, …) → (N, c, …)`."""
        return torch.unflatten(tensor.movedim(self.axis, 0), 0, (n_samples, self.copies))


@dataclass(frozen=True)
class RowLayout:
    """Where the samples stand in a table of rows: those of `before` positions, of each sample, of other positions."""

    before: int

    def samples_first(self, tensor: Tensor, n_samples: int) -> Tensor:
        """`(before·N·after, o) → (N, before·after, o)`."""
        rows = tensor.flatten(0, -2)
        after = len(rows) // (self.before * n_samples)
        return torch.unflatten(rows, 0, (self.before, n_samples, after)).movedim(1, 0).flatten(1, 2)


Layout = AxisLayout | RowLayout


def apart(calls: list[Call], parameters: Iterable[Tensor]) -> list[Call]:
    """The calls, with inputs copied that share the memory of a parameter: writing that must not change D."""
    memory = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    return [
        replace(call, inputs=call.inputs.clone()) if call.inputs.untyped_storage().data_ptr() in memory else call
        for call in calls
    ]


@contextmanager
def recording(modules: dict[str, nn.Module]) -> Iterator[list[Call]]:
    """Collects the calls of these modules while the block runs, and always removes the hooks afterwards."""
    calls = list[Call]()

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor], Tensor], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
            inputs = args[0] if args else kwargs["input"]
            fits = RULES[type(module)].fits(module, len(args) + len(kwargs))
            if fits and output.requires_grad and has_memory(inputs):
                edge = get_gradient_edge(output)
                calls.append(Call(name, module, inputs.detach(), inputs._version, edge, output.shape))

        return hook

    # before the hooks of the user, which may change what the layer returned
    handles = [m.register_forward_hook(hook_of(n), with_kwargs=True, prepend=True) for n, m in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def cotangents(outputs: Tensor, calls: list[Call], layouts: list[Layout], *, keep_graph: bool = False) -> list[Tensor]:
    """`g (N, Q, c, …)` for each call: one backward pass an output, through activations only.

    Sums are differentiated: with `grad_outputs` `torch.autograd.grad` would import SymPy, which takes most of a second.

    Args:
        outputs: (N, Q), attached to the graph.
        keep_graph: for more passes.
    """
    n, q = outputs.shape
    if not calls:
        return []
    pairs = zip(calls, layouts, strict=True)
    shapes = [(n, q, *layout.samples_first(_shell(call, outputs), n).shape[1:]) for call, layout in pairs]
    # those of one output are held twice: as autograd returns them, and where those of all outputs are collected
    n_bytes = outputs.dtype.itemsize * sum(math.prod(shape) for shape in shapes) * (1.0 if q == 1 else 1.0 + 1.0 / q)
    what = f"the cotangents of {len(calls)} layers for {n} samples × {q} outputs"
    require(n_bytes, outputs.device, what=what, instead="Use fewer samples at a time.")
    edges = [call.edge for call in calls]
    with torch.enable_grad():
        sums = [outputs[:, k].sum() for k in range(q)]
    if q == 1:  # what autograd returns, without a copy
        gradients = torch.autograd.grad(sums[0], edges, retain_graph=keep_graph, allow_unused=True)
        return [
            outputs.new_zeros(shape) if g is None else layout.samples_first(g, n)[:, None]
            for g, layout, shape in zip(gradients, layouts, shapes, strict=True)
        ]
    collected = [_zeros(call, shape, outputs) for call, shape in zip(calls, shapes, strict=True)]
    for k in range(q):
        require_time("a linearisation")
        gradients = torch.autograd.grad(sums[k], edges, retain_graph=keep_graph or k < q - 1, allow_unused=True)
        for target, gradient, layout in zip(collected, gradients, layouts, strict=True):
            if gradient is not None:
                target[:, k] = layout.samples_first(gradient, n)
    return collected


def _zeros(call: Call, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros; the channels of a layer that has positions behind them come last in memory, where rules want them."""
    if RULES[type(call.module)].any_axis or len(shape) < 5:
        return like.new_zeros(shape)
    return like.new_zeros(*shape[:3], *shape[4:], shape[3]).movedim(-1, 3)


def _shell(call: Call, like: Tensor) -> Tensor:
    """A tensor of the call's output shape that owns no memory."""
    return like.new_empty(()).expand(call.shape)


def columns_of(
    calls: list[Call], layouts: list[Layout], gradients: list[Tensor], index: dict[str, dict[str, Tensor]]
) -> list[Columns]:
    """The columns of every call, in the order of the calls.

    Args:
        gradients: the cotangents; each is taken out of the list, so that it is not held beside a copy made of it.
        index: module name → parameter name → where its entries stand in θ; only parameters that go by rule.
    """
    columns = list[Columns]()
    with torch.no_grad():  # a rule may read the parameters of its layer
        for call, layout in zip(calls, layouts, strict=True):
            g = gradients.pop(0)
            inputs = layout.samples_first(call.inputs, g.shape[0])
            columns += RULES[type(call.module)].apply(call.module, inputs, g, index[call.name], call.name)
    return columns


def groups_of(columns: list[Columns], n_params: int) -> list[list[int]]:
    """The positions of columns, those that share entries of θ together: shared layers and tied parameters."""
    ends = sorted(tuple(map(int, piece.index.aminmax())) for piece in columns)
    if all(before[1] < after[0] for before, after in pairwise(ends)):
        return [[position] for position in range(len(columns))]
    groups = list[list[int]]()
    owner = torch.full((n_params,), -1, dtype=torch.long, device="cpu")
    for position, piece in enumerate(columns):
        where = piece.index.reshape(-1).cpu()
        owners = owner[where]
        shared = torch.unique(owners[owners >= 0]).tolist()
        members = sorted([position, *(i for g in shared for i in groups[g])])
        for g in shared:
            groups[g] = []
            owner[owner == g] = len(groups)
        owner[where] = len(groups)
        groups.append(members)
    return [group for group in groups if group]


def layouts_of(two: list[Call], three: list[Call]) -> list[AxisLayout | None]:
    """The layout of each call, from one forward pass on two samples and one on three; None where it is unclear."""
    if [c.name for c in two] != [c.name for c in three]:
        return [None] * len(two)
    return [_layout(a, b) for a, b in zip(two, three, strict=True)]


def _layout(a: Call, b: Call) -> AxisLayout | None:
    inputs, outputs = _axis(a.inputs.shape, b.inputs.shape), _axis(a.shape, b.shape)
    if inputs is None or inputs != outputs or not (a.unchanged and b.unchanged):
        return None
    axis, copies = inputs
    if axis > 0 and (copies > 1 or not RULES[type(a.module)].any_axis):
        return None
    first = b.inputs.narrow(axis, 0, 2 * copies)
    return AxisLayout(axis, copies) if close(first, a.inputs) else None


def _axis(two: torch.Size, three: torch.Size) -> tuple[int, int] | None:
    """The one axis on which the sizes are 2c and 3c."""
    if len(two) != len(three):
        return None
    differ = [i for i, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(differ) != 1 or two[differ[0]] * 3 != three[differ[0]] * 2:
        return None
    return differ[0], two[differ[0]] // 2


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding."""
    if a.numel() == 0:
        return True
    if not a.dtype.is_floating_point:
        return bool(torch.equal(a, b))
    tolerance = torch.finfo(a.dtype).eps ** 0.75
    return bool(((a - b).abs() <= tolerance * b.abs().max()).all())


# --- how much memory a call takes, by what its graph holds ----------------------------------------------------------


@dataclass(frozen=True)
class SampleBytes:
    """Of a call, for each sample.

    Attributes:
        graph: bytes that operations save for a backward pass.
        widest: bytes of the largest tensor among them.
    """

    graph: int = 0
    widest: int = 0

    @classmethod
    def of(cls, two: Iterable[Node], three: Iterable[Node]) -> "SampleBytes":
        """From the graphs of calls on two and on three samples: what does not differ belongs to no sample."""
        of_two, of_three = _sizes(two), _sizes(three)
        graph = max(0, sum(of_three) - sum(of_two))
        if len(of_two) != len(of_three):
            return cls(graph, graph)
        return cls(graph, max((b - a for a, b in zip(of_two, of_three, strict=True)), default=0))

    @property
    def call(self) -> float:
        """Bytes that a call without a graph holds."""
        return AT_ONCE * self.widest

    @property
    def recorded(self) -> float:
        """Bytes that a call with a graph holds: what is saved before its last operation, and what that one holds."""
        return self.graph + max(0.0, self.call - self.widest)


def require_calls(sample_bytes: float, n_samples: int, device: torch.device) -> None:
    """Raises MemoryPlanError where a call of the model on so many samples does not fit."""
    what = f"a call of the model on {n_samples} samples"
    way_out = "Use fewer samples at a time: a DataLoader in the place of X and y gives them in batches."
    require(sample_bytes * n_samples, device, what=what, instead=way_out)


def _sizes(graph: Iterable[Node]) -> list[int]:
    """The bytes of each memory that operations saved for a backward pass, the smallest first."""
    saved = (t for node in graph for t in _saved(node) if t.layout == torch.strided)
    memories = [t.untyped_storage() for t in saved if has_memory(t)]
    return sorted({memory.data_ptr(): memory.nbytes() for memory in memories}.values())


def _saved(node: Node) -> Iterator[Tensor]:
    for name in _names(type(node)):
        try:
            value = getattr(node, name)
        except RuntimeError:  # overwritten since: a backward pass will say so
            continue
        yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Tensor))


@cache
def _names(kind: type[Node]) -> tuple[str, ...]:
    """Of the attributes that hold what a kind of operation saved; that of a user's own is `saved_tensors`."""
    return tuple(name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors")
