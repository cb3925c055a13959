"""Modules inside wrappers: what `torch.compile` and `DataParallel` return holds the module that is fitted."""

from torch import nn

from geodescent._errors import InputError

WRAPPERS = {
    "OptimizedModule": ("_orig_mod", "torch.compile"),
    "DataParallel": ("module", "torch.nn.DataParallel"),
    "DistributedDataParallel": ("module", "torch.nn.parallel.DistributedDataParallel"),
}
"""Name of a wrapper's class → where it keeps the module, and what people know it by."""


def require_module(model: object) -> None:
    """Raises InputError for what is no module."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is no torch.nn.Module but {model!r:.60}: pass gd.SampleMap(model, X).")


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The module inside all wrappers, and a note of each. Raises InputError for what is no module."""
    require_module(model)
    notes = list[str]()
    while type(model).__name__ in WRAPPERS and type(model).__module__.startswith("torch."):
        place, known_by = WRAPPERS[type(model).__name__]
        model = model.get_submodule(place)
        notes.append(
            f"The module inside {known_by} is fitted: the wrapper shares its parameters, and plays no part in the fit."
        )
    return model, notes
