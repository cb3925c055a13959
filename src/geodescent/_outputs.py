"""Output maps: what a network says, stacked, as a pure function of θ."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from geodescent import _capture as capture
from geodescent._errors import InputError, JacobianError
from geodescent._jacobian import Block, Jacobian
from geodescent._layers import RULES
from geodescent._memory import require
from geodescent._records import Record, Rows, merged
from geodescent._types import Outputs, Theta

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]

CHECK_SAMPLES = 8  # the agreement check looks at this many samples: a wrong rule is wrong on any
VMAP_BYTES = 2**28  # per-sample derivatives are taken in chunks of this size


class OutputMap(Protocol):
    """`x[θ]`: a differentiable map from parameters to outputs, with two verbs.

    Attributes:
        theta: the parameters it stands at, (K,), a copy.
        n_samples, n_outputs: N and Q; the outputs are (N, Q).
    """

    @property
    def theta(self) -> Theta: ...

    @property
    def n_samples(self) -> int: ...

    @property
    def n_outputs(self) -> int: ...

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q)."""
        ...

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]` and `D = ∂x/∂θ`."""
        ...


@dataclass(frozen=True)
class Parameter:
    """Where a trainable parameter stands in θ."""

    name: str
    offset: int
    shape: torch.Size

    @property
    def entries(self) -> slice:
        return slice(self.offset, self.offset + math.prod(self.shape))


@dataclass(frozen=True)
class Routes:
    """How the parameters of a map enter its Jacobian, told once when the map is made.

    Attributes:
        modules: the layers to record.
        calls: names of the layers called, in order.
        layouts: of these calls; None for a call that is left out.
        index: module → parameter → entries of θ, for what goes by rule.
        groups: positions of records that share parameters.
        per_sample: names of the parameters that go through per-sample derivatives.
        vectorised: whether vmap can go through the model.
    """

    modules: dict[str, nn.Module]
    calls: list[str]
    layouts: list[capture.Layout | None]
    index: dict[str, dict[str, Tensor]]
    groups: list[list[int]]
    per_sample: list[str]
    vectorised: bool


class SampleMap:
    """`x[θ]` for a module whose output for a sample depends on that sample alone.

    Args:
        model: any module; its trainable parameters are θ, tied ones once, in the order of `named_parameters`.
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments) of tensors, samples first.
        select: picks the outputs from what the model returns, where that is not one tensor.
        check: compare the Jacobian by layers with autograd on a few samples, once, now.

    Raises:
        InputError: inputs, dtypes, devices or outputs that cannot be used.
        JacobianError: outputs that mix samples, or a rule that disagrees with autograd.

    The module is never re-pointed and is left as it was found.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        select: Callable[[Any], Tensor] | None = None,
        check: bool = True,
    ) -> None:
        self.model = model
        self.inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        self._select = select
        self.parameters = _parameters(model)
        self.n_params = sum(math.prod(p.shape) for p in self.parameters)
        self.dtype, self.device = _kind(model, self.inputs)
        self.n_samples = _n_samples(self.inputs)
        _refuse_mixing_layers(model)
        with _buffers_kept(model), _random_state_kept(self.device):
            self.output_shape = self._probe_outputs()
            self.routes = self._find_routes()
            if check:
                _check_agreement(self)

    @property
    def n_outputs(self) -> int:
        """Q."""
        return math.prod(self.output_shape)

    @property
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        own = dict(self.model.named_parameters())
        return torch.cat([own[p.name].detach().reshape(-1) for p in self.parameters])

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for p in self.parameters:
                own[p.name].copy_(theta[p.entries].view(p.shape))

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (N, Q); one forward pass."""
        with torch.no_grad():
            return self._outputs(self._views(theta), self.inputs)

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]`, (N, Q), and its Jacobian: one forward pass, Q backward passes through activations."""
        theta = self.theta if theta is None else theta
        self._require_memory()
        leaves = self._leaves(theta)
        with torch.enable_grad(), capture.recording(self.routes.modules) as calls:
            outputs = self._outputs(leaves, self.inputs)
        kept, layouts = self._kept(calls)
        records = capture.records_of(kept, layouts, capture.cotangents(outputs, kept, layouts), self.routes.index)
        joined: list[Record] = [merged([records[i] for i in group]) for group in self.routes.groups]
        if self.routes.per_sample:
            joined.append(self._per_sample_rows(theta))
        block = Block(tuple(joined), self.n_samples, self.n_outputs)
        return outputs.detach(), Jacobian((block,), self.n_params, self.dtype, self.device)

    def on(self, inputs: Inputs) -> "SampleMap":
        """The same map on other samples, with the routes already found."""
        other = object.__new__(SampleMap)
        other.__dict__.update(self.__dict__)
        other.inputs = tuple(inputs) if isinstance(inputs, list) else inputs
        _kind(self.model, other.inputs)
        other.n_samples = _n_samples(other.inputs)
        return other

    # --- the function and its leaves ---------------------------------------------------------------------------------

    def _views(self, theta: Theta) -> dict[str, Tensor]:
        return {p.name: theta[p.entries].view(p.shape) for p in self.parameters}

    def _leaves(self, theta: Theta) -> dict[str, Tensor]:
        return {name: view.detach().requires_grad_() for name, view in self._views(theta).items()}

    def _call(self, parameters: dict[str, Tensor], inputs: Inputs) -> Any:
        with sdpa_kernel(SDPBackend.MATH):  # the one attention kernel with derivatives of every kind
            if isinstance(inputs, dict):
                return functional_call(self.model, parameters, (), inputs)
            return functional_call(self.model, parameters, inputs)

    def _outputs(self, parameters: dict[str, Tensor], inputs: Inputs) -> Tensor:
        returned = self._call(parameters, inputs)
        selected = returned if self._select is None else self._select(returned)
        outputs = _require_tensor(selected, _n_samples(inputs))
        return outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]

    # --- probing -----------------------------------------------------------------------------------------------------

    def _probe_outputs(self) -> torch.Size:
        """The shape of one sample's outputs; refuses outputs that mix samples or change between calls."""
        views = self._views(self.theta)
        with torch.no_grad():
            try:
                returned = self._call(views, _take(self.inputs, self._probe(2)))
            except Exception as error:  # whatever a model raises is about what it was called on
                raise InputError(_forward_failed(self.inputs, self.dtype, error)) from error
            outputs = _require_tensor(returned if self._select is None else self._select(returned), 2)
            if outputs.dtype != self.dtype:
                raise InputError(
                    f"the model returns {outputs.dtype} but its parameters are {self.dtype}: make them one dtype."
                )
            self._refuse_mixing(views, outputs.reshape(2, -1))
        return outputs.shape[1:]

    def _refuse_mixing(self, views: dict[str, Tensor], two: Tensor) -> None:
        state = _random_state(self.device)
        again = self._outputs(views, _take(self.inputs, self._probe(2)))
        if not (_near(again, two) and torch.equal(state, _random_state(self.device))):
            raise JacobianError(
                "the model draws random numbers, or two identical calls gave different outputs. "
                "Call model.eval(), or take the randomness out of its forward pass."
            )
        three = self._outputs(views, _take(self.inputs, self._probe(3)))
        if not _near(three[:2], two):
            shift = float((three[:2] - two).abs().max())
            raise JacobianError(
                f"the outputs of a sample change by {shift:.2g} when another sample joins the batch: the model mixes "
                "samples. Use layers that act on each sample alone, GroupNorm or LayerNorm instead of batch statistics."
            )

    def _probe(self, n: int) -> list[int]:
        return [i % self.n_samples for i in range(n)]

    def _find_routes(self) -> Routes:
        modules = {name: m for name, m in self.model.named_modules() if type(m) in RULES and _trainable(m)}
        two, outputs, leaves = self._recorded(modules, 2)
        if not outputs.requires_grad:
            raise InputError("the outputs depend on no parameter that requires grad: there is nothing to fit.")
        three, _, _ = self._recorded(modules, 3)
        layouts = capture.layouts_of(two, three)
        counts, graph = capture.uses(outputs, leaves)
        names = {id(p): name for name, p in self.model.named_parameters()}
        seen = [lay if c.edge.node in graph else None for c, lay in zip(two, layouts, strict=True)]
        index = self._index_by_rule(modules, two, seen, counts, names)
        layouts = [layout if index.get(c.name) else None for c, layout in zip(two, layouts, strict=True)]
        modules = {name: m for name, m in modules.items() if index.get(name)}
        pairs = [(c, lay) for c, lay in zip(two, layouts, strict=True) if c.name in modules and lay is not None]
        kept, places = [c for c, _ in pairs], [lay for _, lay in pairs]
        records = capture.records_of(kept, places, capture.cotangents(outputs, kept, places), index)
        groups = capture.groups_of(records, self.n_params)
        covered = {int(i) for own in index.values() for where in own.values() for i in where.reshape(-1)[:1]}
        rest = [p.name for p in self.parameters if p.offset not in covered and counts[p.name] > 0]
        layouts = [lay for c, lay in zip(two, layouts, strict=True) if c.name in modules]
        called = [c.name for c in two if c.name in modules]
        vectorised = not rest or self._vectorises(rest)
        return Routes(modules, called, layouts, index, groups, rest, vectorised)

    def _recorded(self, modules: dict[str, nn.Module], n: int) -> tuple[list[capture.Call], Tensor, dict[str, Tensor]]:
        leaves = self._leaves(self.theta)
        with torch.enable_grad(), capture.recording(modules) as calls:
            outputs = self._outputs(leaves, _take(self.inputs, self._probe(n)))
        return calls, outputs, leaves

    def _index_by_rule(
        self,
        modules: dict[str, nn.Module],
        calls: list[capture.Call],
        layouts: list[capture.Layout | None],
        counts: Any,
        names: dict[int, str],
    ) -> dict[str, dict[str, Tensor]]:
        """Module → parameter → entries of θ, for the parameters whose every use is a call with a known layout."""
        known = dict[str, int]()
        owned = {name: _owned(m, names) for name, m in modules.items()}
        for call, layout in zip(calls, layouts, strict=True):
            for parameter in owned[call.name].values():
                known[parameter] = known.get(parameter, 0) + (layout is not None)
        where = {p.name: p for p in self.parameters}
        index = dict[str, dict[str, Tensor]]()
        for name, parameters in owned.items():
            good = {own: p for own, p in parameters.items() if p in where and 0 < counts[p] == known.get(p, 0)}
            index[name] = {own: self._entries(where[p]) for own, p in good.items()}
        return index

    def _entries(self, parameter: Parameter) -> Tensor:
        entries = torch.arange(parameter.entries.start, parameter.entries.stop, device=self.device)
        return entries.view(parameter.shape)

    def _kept(self, calls: list[capture.Call]) -> tuple[list[capture.Call], list[capture.Layout]]:
        if [c.name for c in calls] != self.routes.calls:
            raise JacobianError(
                f"the model calls its layers in the order {[c.name for c in calls]}, and {self.routes.calls} when it "
                "was first looked at: its path depends on the data. Let every sample take the same path."
            )
        pairs = [(c, lay) for c, lay in zip(calls, self.routes.layouts, strict=True) if lay is not None]
        return [c for c, _ in pairs], [lay for _, lay in pairs]

    def _require_memory(self) -> None:
        per_sample = sum(math.prod(p.shape) for p in self.parameters if p.name in self.routes.per_sample)
        m = self.n_samples * self.n_outputs
        n_bytes = m * per_sample * self.dtype.itemsize
        if n_bytes:
            what = f"the rows of {per_sample} parameters outside the rules, for {m} residuals,"
            require(n_bytes, self.device, what=what, instead="Use fewer samples, or register a rule for their layers.")

    # --- parameters without a rule -----------------------------------------------------------------------------------

    def _per_sample_rows(self, theta: Theta) -> Rows:
        """D's columns for the parameters outside the rules, by per-sample derivatives in chunks."""
        chosen = [p for p in self.parameters if p.name in self.routes.per_sample]
        index = torch.cat([self._entries(p).reshape(-1) for p in chosen])
        rows = self._by_vmap if self.routes.vectorised else self._by_loop
        derivatives = rows(self._views(theta), [p.name for p in chosen])
        values = torch.cat([derivatives[p.name].flatten(2) for p in chosen], 2)
        return Rows(values, index, " + ".join(p.name for p in chosen))

    def _by_vmap(self, views: dict[str, Tensor], names: list[str], inputs: Inputs | None = None) -> dict[str, Tensor]:
        """`{name: (N, Q, *shape)}`."""
        inputs = self.inputs if inputs is None else inputs
        fixed = {name: view for name, view in views.items() if name not in names}

        def one(chosen: dict[str, Tensor], sample: Inputs) -> Tensor:
            single = _map(lambda t: t[None], sample)
            return self._outputs({**fixed, **chosen}, single)[0]

        chosen = {name: views[name] for name in names}
        width = self.n_outputs * sum(view.numel() for view in views.values()) * self.dtype.itemsize
        chunk = max(1, VMAP_BYTES // max(1, width))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found: dict[str, Tensor] = vmap(jacrev(one), in_dims=(None, 0), chunk_size=chunk)(chosen, inputs)
        return found

    def _by_loop(self, views: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        """The same, a backward pass a residual: where vmap cannot go."""
        leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
        chosen = [leaves[name] for name in names]
        found = {name: views[name].new_zeros(self.n_samples, self.n_outputs, *views[name].shape) for name in names}
        for i in range(self.n_samples):
            with torch.enable_grad():
                outputs = self._outputs(leaves, _take(self.inputs, [i]))[0]
            for k in range(self.n_outputs):
                gradients = torch.autograd.grad(outputs[k], chosen, retain_graph=True, allow_unused=True)
                for name, gradient in zip(names, gradients, strict=True):
                    if gradient is not None:
                        found[name][i, k] = gradient
        return found

    def _vectorises(self, names: list[str]) -> bool:
        try:
            self._by_vmap(self._views(self.theta), names, _take(self.inputs, self._probe(2)))
        except Exception:  # vmap refuses in many ways; the loop answers the same question
            return False
        return True


# --- what a map asks of its model and inputs -------------------------------------------------------------------------


def _parameters(model: nn.Module) -> list[Parameter]:
    found, offset = list[Parameter](), 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.append(Parameter(name, offset, parameter.shape))
            offset += parameter.numel()
    if not found:
        raise InputError("no parameter of the model requires grad: there is nothing to fit. Call requires_grad_(True).")
    return found


def _kind(model: nn.Module, inputs: Inputs) -> tuple[torch.dtype, torch.device]:
    """The one floating dtype and device of the parameters and inputs."""
    tensors: list[tuple[str, Tensor]] = [(f"parameter {n}", p) for n, p in model.named_parameters()]
    tensors += [("an input", t) for t in _leaves_of(inputs)]
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
    for tensor in _leaves_of(inputs):
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(f"X holds {bad} NaN or infinite values of {tensor.numel()}. Remove or impute them.")
    return first.dtype, first.device


def _n_samples(inputs: Inputs) -> int:
    leaves = _leaves_of(inputs)
    if not leaves or any(t.dim() == 0 for t in leaves):
        raise InputError("X must be a tensor, tuple or dict of tensors with the samples on the first axis.")
    sizes = {len(t) for t in leaves}
    if len(sizes) > 1 or 0 in sizes:
        raise InputError(f"the tensors of X hold {sorted(sizes)} samples: all need the same number, at least one.")
    return sizes.pop()


def _leaves_of(inputs: Inputs) -> list[Tensor]:
    values = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    for value in values:
        if not isinstance(value, Tensor):
            raise InputError(f"X must hold tensors, not {type(value).__name__}: convert with torch.as_tensor.")
    return list(values)


def _map(f: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    if isinstance(inputs, dict):
        return {key: f(value) for key, value in inputs.items()}
    return tuple(f(value) for value in inputs) if isinstance(inputs, tuple) else f(inputs)  # type: ignore[arg-type]


def _take(inputs: Inputs, samples: list[int]) -> Inputs:
    return _map(lambda t: t[samples], inputs)


def _require_tensor(outputs: Any, n_samples: int) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"the model returns {type(outputs).__name__}, not a tensor. Wrap it, or say which part is meant: "
            "SampleMap(model, X, select=lambda out: out[0])."
        )
    if outputs.dtype.is_complex:
        raise InputError(f"the model returns {outputs.dtype}: stack real and imaginary parts, torch.view_as_real.")
    if outputs.dim() == 0 or len(outputs) != n_samples:
        raise InputError(
            f"the model returns shape {tuple(outputs.shape)} for {n_samples} samples: samples must come first."
        )
    return outputs


def _forward_failed(inputs: Inputs, dtype: torch.dtype, error: Exception) -> str:
    integer = [t for t in _leaves_of(inputs) if not t.dtype.is_floating_point]
    if integer:
        return (
            f"the model could not be called on X of {integer[0].dtype}, and its parameters are {dtype}: "
            f"convert X, for example X.to({dtype}). ({error})"
        )
    return f"the model could not be called on two samples of X: {error}"


def _refuse_mixing_layers(model: nn.Module) -> None:
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


def _trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))


def _owned(module: nn.Module, names: dict[int, str]) -> dict[str, str]:
    """Own name → name in the model, of the parameters that the module's rule accounts for."""
    rule = RULES[type(module)]
    own = dict(module.named_parameters(recurse=False))
    return {key: names[id(own[key])] for key in rule.parameters if key in own}


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Puts the buffers back if a forward pass changes them, also after an exception, and says so."""
    found = dict(model.named_buffers())
    before = {name: buffer.clone() for name, buffer in found.items()}
    changed = list[str]()
    try:
        yield
    finally:
        after = dict(model.named_buffers())
        for name, old in before.items():
            if after.get(name) is found[name] and _same(found[name], old):
                continue
            changed.append(name)
            owner, _, own = name.rpartition(".")
            model.get_submodule(owner)._buffers[own] = found[name].copy_(old)
    if changed:
        raise JacobianError(
            f"a forward pass changes the buffer {changed[0]}: call model.eval() so that x[θ] is a function."
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal entry by entry, NaN equal to NaN."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _random_state(device: torch.device) -> Tensor:
    """The state of the generator that a model on this device draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _near(a: Tensor, b: Tensor) -> bool:
    """Equal to rounding: other batches are summed in another order, and outputs may be zero by cancellation."""
    eps = torch.finfo(a.dtype).eps
    tolerance = eps**0.5
    floor = tolerance * float(b.abs().max()) + 100.0 * eps
    return bool(torch.allclose(a, b, rtol=tolerance, atol=floor, equal_nan=True))


# --- the check against autograd --------------------------------------------------------------------------------------


def _check_agreement(outputs: SampleMap) -> None:
    """Compares Dᵀu and G u by layers with autograd's Dᵀu and D(Dᵀu) on a few samples and a random u."""
    n = min(CHECK_SAMPLES, outputs.n_samples)
    few = outputs.on(_take(outputs.inputs, [i * outputs.n_samples // n for i in range(n)]))
    theta = outputs.theta
    _, jacobian = few.linearise(theta)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(n, outputs.n_outputs, generator=generator, dtype=outputs.dtype).to(outputs.device)
    leaves = few._leaves(theta)
    with torch.enable_grad():
        x = few._outputs(leaves, few.inputs)
    found = torch.autograd.grad(x, list(leaves.values()), u, allow_unused=True)
    pairs = zip(leaves.values(), found, strict=True)
    gradient = torch.cat([(torch.zeros_like(leaf) if g is None else g.to_dense()).reshape(-1) for leaf, g in pairs])
    _require_close(jacobian.rmv(u), gradient, jacobian, "Dᵀu")
    reference = _autograd_mv(few, theta, gradient).reshape(-1)
    for record in jacobian.records:
        own = Jacobian((Block((record,), n, outputs.n_outputs),), outputs.n_params, outputs.dtype, outputs.device)
        part = torch.zeros_like(theta)
        part[record.index.reshape(-1)] = gradient[record.index.reshape(-1)]
        expected = _autograd_mv(few, theta, part).reshape(-1)
        _raise_unless_close(own.gram() @ u.reshape(-1), expected, record.label, "G u")
    _raise_unless_close(jacobian.gram() @ u.reshape(-1), reference, "the whole model", "G u")


def _require_close(ours: Theta, theirs: Theta, jacobian: Jacobian, what: str) -> None:
    for record in jacobian.records:
        where = record.index.reshape(-1)
        _raise_unless_close(ours[where], theirs[where], record.label, what)
    _raise_unless_close(ours, theirs, "parameters outside every record", what)


def _raise_unless_close(ours: Tensor, theirs: Tensor, label: str, what: str) -> None:
    scale = float(torch.linalg.vector_norm(theirs))
    difference = float(torch.linalg.vector_norm(ours - theirs))
    tolerance = 10.0 * torch.finfo(ours.dtype).eps ** 0.5
    if not difference <= tolerance * max(scale, torch.finfo(ours.dtype).tiny ** 0.5) and not math.isnan(scale):
        raise JacobianError(
            f"{label or 'the model'}: {what} by layers differs from autograd's by {difference:.2g} (of {scale:.2g}). "
            "The layer mixes samples, or its rule does not fit what it computes: take it out of RULES, or write it as "
            "a custom module."
        )


def _autograd_mv(outputs: SampleMap, theta: Theta, v: Theta) -> Outputs:
    """`D v` by autograd: forward mode, or row by row where an operation has no forward derivative.

    Not by differentiating Dᵀu: behind a function that can be differentiated once only, that is zero without a word.
    """
    views, tangents = outputs._views(theta), outputs._views(v)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch's own, while it loads forward mode
            product: Tensor = torch.func.jvp(lambda p: outputs._outputs(p, outputs.inputs), (views,), (tangents,))[1]
        return product
    except (RuntimeError, NotImplementedError):
        leaves = outputs._leaves(theta)
        with torch.enable_grad():
            x = outputs._outputs(leaves, outputs.inputs)
    used = list(leaves.values())
    rows = [torch.autograd.grad(e, used, retain_graph=True, allow_unused=True) for e in x.reshape(-1)]
    return torch.stack([_paired(row, list(tangents.values())) for row in rows]).view(x.shape)


def _paired(gradients: Iterable[Tensor | None], directions: list[Tensor]) -> Tensor:
    """`⟨gradient, direction⟩` over all parameters; None for a gradient that is zero."""
    pairs = zip(gradients, directions, strict=True)
    return sum(((g.to_dense() * t).sum() for g, t in pairs if g is not None), directions[0].new_zeros(()))
