"""The places of parameters in θ: those of a module, and those that are given by name."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent._wrappers import require_module
from geodescent.outputs._inputs import require_plain

Parameters = Tensor | Mapping[str, Tensor]


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
    return tuple(other for other, p in held(model) if p is parameter and other != name)


def held(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
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
