"""A module as a pure function of θ: it keeps its parameter tensors, which are written with copy_."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent._wrappers import require_module
from geodescent.jacobian import ChainedCotangents
from geodescent.outputs._chain import along_chain, cotangents_along_chain
from geodescent.outputs._inputs import Inputs, Select, chosen, n_samples_of, require_plain, require_tensor, take
from geodescent.outputs._second_derivative import SecondDerivative
from geodescent.outputs._standing import Answer, alone, standing

Parameters = Tensor | Mapping[str, Tensor]

COMPARED = 4  # Samples on which two methods for the second derivative are compared.


@dataclass(frozen=True)
class Parameter:
    """Where a trainable parameter stands in θ.

    Attributes:
        name: its first name.
        offset, shape: its entries of θ.
        ties: its names in other modules.
    """

    name: str
    offset: int
    shape: torch.Size
    ties: tuple[str, ...] = ()

    @property
    def entries(self) -> slice:
        return slice(self.offset, self.offset + math.prod(self.shape))


@dataclass(frozen=True)
class ModelFunction:
    """`(θ, X) ↦ outputs (N, Q)` for a module, with θ as flat views, leaves or a copy.

    Attributes:
        model: the module.
        parameters: its trainable parameters or some of them, tied ones once, in the order of `named_parameters`.
        select: picks the outputs from what the model returns, or None.
        dtype, device: of parameters and outputs.
        partial: whether others of the module's parameters require grad too: for this function they are constants.
        curvature: the second derivative, and which method for it was found right.
    """

    model: nn.Module
    parameters: tuple[Parameter, ...]
    select: Select | None
    dtype: torch.dtype
    device: torch.device
    partial: bool = False
    curvature: SecondDerivative = field(default_factory=SecondDerivative, repr=False, compare=False)

    @property
    def n_params(self) -> int:
        """K."""
        return sum(math.prod(p.shape) for p in self.parameters)

    def own(self) -> dict[str, Tensor]:
        """The module's own parameters that make up θ, by name and in its order."""
        with alone(self.model):
            return {p.name: self.model.get_parameter(p.name) for p in self.parameters}

    @property
    def theta(self) -> Theta:
        """The module's own parameters, a flat copy (K,)."""
        with alone(self.model):
            return torch.cat([p.detach().reshape(-1) for p in self.own().values()])

    def write(self, theta: Theta) -> None:
        """Copies θ into the module's parameters."""
        with torch.no_grad(), alone(self.model):
            own = self.own()
            for p in self.parameters:
                own[p.name].copy_(theta[p.entries].view(p.shape))

    @contextmanager
    def written(self, theta: Theta) -> Iterator[None]:
        """Holds θ in the module's own parameters inside the block, without a trace in graphs that the user keeps."""
        with alone(self.model):
            own, stood = self.own(), self.theta
            try:
                for p in self.parameters:
                    own[p.name].data.copy_(theta[p.entries].view(p.shape))
                yield
            finally:
                for p in self.parameters:
                    own[p.name].data.copy_(stood[p.entries].view(p.shape))

    def views(self, theta: Theta) -> dict[str, Tensor]:
        """θ cut into the module's parameters, without a copy."""
        return {p.name: theta[p.entries].view(p.shape) for p in self.parameters}

    def leaves(self, theta: Theta) -> dict[str, Tensor]:
        """The same as leaves of a new graph."""
        return {name: view.detach().requires_grad_() for name, view in self.views(theta).items()}

    def entries(self, parameter: Parameter) -> Tensor:
        """Where the parameter's entries stand in θ, in its shape."""
        entries = torch.arange(parameter.entries.start, parameter.entries.stop, device=self.device)
        return entries.view(parameter.shape)

    def standing_at(self, parameters: dict[str, Tensor], ask: Callable[[], Answer]) -> Answer:
        """What `ask` returns while the model's parameters are these."""
        with alone(self.model):
            return standing(self.model, self._with_ties(parameters), ask)

    def called(self, inputs: Inputs) -> Any:
        """What the model returns with the parameters that it has now."""
        if isinstance(inputs, dict):
            return self.model(**inputs)
        return self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs)

    def call(self, parameters: dict[str, Tensor], inputs: Inputs) -> Any:
        """What the model returns with these parameters."""
        return self.standing_at(parameters, lambda: self.called(inputs))

    def selected(self, returned: Any, n_samples: int) -> Tensor:
        """The outputs in what the model returned, in the model's own shape."""
        picked = returned if self.select is None else chosen(self.select, returned)
        return require_tensor(picked, n_samples, selected=self.select is not None)

    def rows(self, inputs: Inputs) -> Tensor:
        """The outputs with the parameters that the model has now, (N, Q)."""
        outputs = self.selected(self.called(inputs), n_samples_of(inputs))
        return outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None]

    def outputs(self, parameters: dict[str, Tensor], inputs: Inputs) -> Tensor:
        """The outputs with these parameters, (N, Q)."""
        return self.standing_at(parameters, lambda: self.rows(inputs))

    def cotangents(self, theta: Theta, inputs: Inputs) -> list[tuple[nn.Module, ChainedCotangents]] | None:
        """Each linear layer with the derivative of the outputs by what it returned; None without a chain of layers."""
        with torch.no_grad():
            return None if self.select else cotangents_along_chain(self.model, self.views(theta), inputs)

    def second_derivative(self, theta: Theta, direction: Theta, inputs: Inputs) -> Tensor:
        """`d²/ds² outputs(θ + s·direction)` at s = 0, (N, Q): by rules along a chain, else by autograd.

        Where an operation has no second derivative, the central difference of length `eps^¼` instead.
        """

        with torch.no_grad():
            return self.standing_at(self.views(theta), lambda: self._curvature_at(theta, direction, inputs))

    def _curvature_at(self, theta: Theta, direction: Theta, inputs: Inputs) -> Tensor:
        """The same while the model's parameters are θ."""

        def outputs_on(samples: Inputs) -> Callable[[Theta], Tensor]:
            return lambda at: self.outputs(self.views(at), samples)

        if self.select is None:
            curvature = along_chain(self.model, self.views(theta), self.views(direction), inputs)
            if curvature is not None:
                return curvature.flatten(1) if curvature.dim() > 1 else curvature[:, None]
        few = take(inputs, list(range(min(COMPARED, n_samples_of(inputs)))))
        return self.curvature(outputs_on(inputs), outputs_on(few), theta, direction)

    def _with_ties(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters under all of their names, and the others that require grad as constants."""
        if self.partial:
            rest = {name: p.detach() for name, p in _held(self.model) if p.requires_grad}
            parameters = {**rest, **parameters}
        return parameters | {tie: parameters[p.name] for p in self.parameters for tie in p.ties}


class ModuleMap:
    """An output map whose θ are parameters of a module.

    Attributes:
        function: the parameters and their places in θ.
        n_samples: N.
        output_shape: of one sample's outputs, as the model returns them.
    """

    function: ModelFunction
    n_samples: int
    output_shape: tuple[int, ...]

    @property
    def model(self) -> nn.Module:
        """The module."""
        return self.function.model

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.function.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.function.device

    @property
    def n_params(self) -> int:
        """K."""
        return self.function.n_params

    @property
    def n_outputs(self) -> int:
        """Q."""
        return math.prod(self.output_shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, Q)."""
        return self.n_samples, self.n_outputs


def parameters_of(model: nn.Module, among: Iterable[Tensor] | None = None) -> tuple[Parameter, ...]:
    """The trainable parameters, of these or of all, and their places in θ; those without a number are left out."""
    require_module(model)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        require_plain(f"{name} of the model", tensor, f"model.{name}", again="copy.deepcopy(model)")
    places, offset = list[Parameter](), 0
    among = among if among is None or not isinstance(among, Iterable) else list(among)
    if among is not None and not (isinstance(among, list) and all(isinstance(p, Tensor) for p in among)):
        raise InputError(f"parameters = {among!r:.60}: tensors of the model are needed, parameters=model.parameters().")
    wanted = {id(parameter) for parameter in (model.parameters() if among is None else among)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.numel() and id(parameter) in wanted:
            places.append(Parameter(name, offset, parameter.shape, _ties(model, name, parameter)))
            offset += parameter.numel()
    if not places and any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("the parameters that require grad hold no numbers: give the layers sizes above zero.")
    if not places:
        raise InputError("no parameter of the model requires grad: there is nothing to fit. Call requires_grad_(True).")
    return tuple(places)


def _ties(model: nn.Module, name: str, parameter: Tensor) -> tuple[str, ...]:
    """The names of a parameter beside its first."""
    return tuple(other for other, p in _held(model) if p is parameter and other != name)


def _held(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every place of a parameter, by one name each: tied ones several times, a module with several names once."""
    for path, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            yield f"{path}.{own}" if path else own, parameter


def flat_theta(theta0: Parameters) -> tuple[Theta, list[Parameter]]:
    """θ, a flat copy, and the places of the named tensors in it; none for a flat tensor.

    Raises: InputError, naming the entry that cannot be used.
    """
    if isinstance(theta0, Tensor):
        if theta0.dim() != 1 or len(theta0) == 0:
            raise InputError(
                f"theta0 has shape {tuple(theta0.shape)}: a flat tensor (K,) or a dict of named tensors is needed."
            )
        _require_real("theta0", theta0, "theta0.double()")
        return theta0.detach().clone(), []
    if not isinstance(theta0, Mapping):
        raise InputError(f"theta0 must be a flat tensor (K,) or a dict of named tensors, not {type(theta0).__name__}.")
    for name, tensor in theta0.items():
        entry = f"theta0[{name!r}]"
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"{entry} is {type(tensor).__name__}, not a tensor: pass torch.tensor(value, dtype=torch.float64)."
            )
        _require_real(entry, tensor, f"{entry}.double()")
    if not sum(t.numel() for t in theta0.values()):
        raise InputError("theta0 is a dict without a single number: name at least one tensor that is to be found.")
    kinds = {(t.dtype, t.device) for t in theta0.values()}
    if len(kinds) > 1:
        raise InputError(f"the tensors of theta0 are of {sorted(map(str, kinds))}: one dtype and one device is needed.")
    places, offset = list[Parameter](), 0
    for name, tensor in theta0.items():
        places.append(Parameter(name, offset, tensor.shape))
        offset += tensor.numel()
    return torch.cat([t.detach().reshape(-1) for t in theta0.values()]), places


def _require_real(entry: str, tensor: Tensor, double: str) -> None:
    """Raises InputError unless the tensor is finite, in float32 or float64."""
    if tensor.dtype.is_complex:
        raise InputError(
            f"{entry} is {tensor.dtype}, and θ is real: pass its parts, torch.view_as_real({entry}).reshape(-1), and "
            "join them in the function, torch.view_as_complex(theta.view(-1, 2))."
        )
    if tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{entry} is {tensor.dtype}; float32 and float64 are supported: pass {double}.")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{entry} holds NaN or infinite values: start from finite parameters.")
