"""Posteriors as dictionaries of tensors, and what such a dictionary of a stranger must be before it is believed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from geodescent._budget import require
from geodescent._errors import InputError
from geodescent.generalisation.posterior._network import WIDTHS, DrawnNetwork, drawn_layers, shapes_of_layers

Shape = tuple[int, ...]
"""Of a tensor."""
WHOLE = ("rows.places", "rows.picked", "ranks.counts", "flat")
"""Names of tensors of whole numbers; all others are in float64."""
POSITIVE_NAMES = (
    "numbers.",
    "alone.",
    "inputs.deviation",
    "targets.deviation",
    "rows.weights",
    "rows.noise",
    "amplitude",
    "starts.left_out_variance",
    "starts.slope",
)
"""Beginnings of names of tensors that are above 0."""


def named(parts: Mapping[str, Mapping[str, Tensor]], networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Everything under "part.name", in memory of its own, and the parameters of the starts under "network".

    Raises InputError for a user's own modules, whose code is not a tensor.
    """
    if not all(isinstance(network, DrawnNetwork) for network in networks):
        raise InputError(
            "this posterior has a model of your own, whose code is no tensor: save the posterior by "
            "torch.save(posterior, path), or fit without model=."
        )
    states = [network.state_dict() for network in networks]
    whole = {**parts, "network": {name: torch.stack([state[name] for state in states]) for name in states[0]}}
    return {
        f"{part}.{name}": values.detach().clone().contiguous()
        for part, tensors in whole.items()
        for name, values in tensors.items()
    }


@dataclass(frozen=True)
class SavedTensors:
    """A dictionary that is believed: names, dtypes, shapes and values were looked at.

    Attributes:
        tensors: by name.
    """

    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def of(self, prefix: str) -> dict[str, Tensor]:
        """Those with this prefix, without it."""
        begin = f"{prefix}."
        return {name.removeprefix(begin): t for name, t in self.tensors.items() if name.startswith(begin)}

    def networks(self, n_inputs: int, n_starts: int) -> list[DrawnNetwork]:
        """Those of the starts."""
        networks = [drawn_layers(n_inputs, 0) for _ in range(n_starts)]
        for i, network in enumerate(networks):
            network.load_state_dict({name: values[i] for name, values in self.of("network").items()})
        return networks

    @classmethod
    def checked(cls, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> "SavedTensors":
        """Raises InputError for other names, shapes or dtypes than are expected, and for values that cannot be."""
        wrong = sorted(map(str, set(shapes) ^ set(tensors)))
        if wrong:
            missing = [name for name in wrong if name in shapes]
            raise InputError(f"no saved posterior of this kind: it lacks {missing or 'nothing'}, of all names {wrong}.")
        for name, shape in shapes.items():
            _require_tensor(name, tensors[name], shape)
        return cls({name: tensors[name].detach() for name in shapes})

    @staticmethod
    def in_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
        """All tensors of a file of safetensors, not checked yet. Raises InputError where it is none."""
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} cannot be read ({error}): it is no file of safetensors, or was cut.") from error

    @staticmethod
    def require_memory(n_starts: int, n_rows: int, n_inputs: int, n_matrices: int) -> None:
        """Raises MemoryPlanError, a ValueError, for a posterior so large that its use would not fit.

        Args:
            n_matrices: of rows × rows, for each start.
        """
        of_rows = n_rows * (3 * n_inputs + 2 * sum(WIDTHS) + 1)
        n_bytes = 8.0 * n_starts * (of_rows + n_matrices * n_rows**2)
        what = f"a saved posterior of {n_starts} starts, {n_rows} rows and {n_inputs} columns"
        require(n_bytes, torch.device("cpu"), what=what, instead="Fit it with fewer starts.")


def size_of(tensors: Mapping[str, Tensor], name: str, n_axes: int) -> Shape:
    """The shape of a tensor that says how large others are; raises InputError where it is none."""
    values = tensors.get(name)
    if not isinstance(values, Tensor) or values.dim() != n_axes or values.numel() == 0:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"no saved posterior of this kind: {name!r} is {found}, a tensor of {n_axes} axes is needed.")
    return tuple(values.shape)


def require_true(condition: bool, otherwise: str) -> None:
    """Raises InputError where the parts of a saved posterior contradict each other."""
    if not condition:
        raise InputError(f"a saved posterior {otherwise}: the file is damaged.")


def shapes_of_prior(n_inputs: int, n_values: int, n_starts: int, *numbers: str) -> dict[str, Shape]:
    """Of the starts' networks, of how inputs were standardised and ranked, and of `PriorNumbers` of these names."""
    d, layers = n_inputs, shapes_of_layers(n_inputs)
    n_layers = sum(name.endswith("weight") for name in layers)
    found: dict[str, Shape] = {f"network.{name}": (n_starts, *shape) for name, shape in layers.items()}
    found |= {"inputs.mean": (d,), "inputs.deviation": (d,), "ranks.counts": (d,)}
    found |= {"ranks.values": (n_values,), "ranks.shares": (n_values,)}
    sizes = {"scales": d, "layers": n_layers, "linear": 1, "noise": 1, "steps": 1, "rates": d}
    return found | {f"{prefix}.{name}": (size,) for prefix in numbers for name, size in sizes.items()}


def _require_tensor(name: str, values: Tensor, shape: Shape) -> None:
    dtype = torch.int64 if name in WHOLE else torch.float64
    if not isinstance(values, Tensor) or values.dtype != dtype or tuple(values.shape) != shape:
        found = (
            f"{values.dtype} of shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        )
        raise InputError(f"a saved posterior has {name!r} as {found}: {dtype} of shape {shape} is needed.")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"a saved posterior has NaN or infinite values in {name!r}: the file is damaged.")
    if name.startswith(POSITIVE_NAMES) and not bool((values > 0.0).all()):
        raise InputError(f"a saved posterior has values in {name!r} that are not above 0: the file is damaged.")
