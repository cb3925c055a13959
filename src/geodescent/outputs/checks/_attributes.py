"""What a module keeps in plain attributes, as results of an earlier call."""

from dataclasses import dataclass
from typing import Any

from torch import nn

OWN = frozenset(vars(nn.Module()))
"""The attributes of every module: its parameters, buffers, children and hooks, its mode."""


@dataclass(frozen=True)
class Attributes:
    """The plain attributes of a module and of all modules inside it, with the entries of lists and dicts.

    Attributes:
        modules: name, module, and its attributes.
    """

    modules: tuple[tuple[str, nn.Module, dict[str, object]], ...]

    @classmethod
    def of(cls, model: nn.Module) -> "Attributes":
        """Those that the model has now."""
        return cls(tuple((name, m, {k: _copy(v) for k, v in _plain(m).items()}) for name, m in model.named_modules()))

    def changed(self) -> list[str]:
        """Names of those that have been set, changed or deleted since."""
        names = list[str]()
        for path, module, before in self.modules:
            now = _plain(module)
            own = [k for k in {**before, **now} if k not in before or k not in now or not _same(now[k], before[k])]
            names += [f"{path}.{k}" if path else k for k in own]
        return names

    def put_back(self) -> None:
        """Makes them what they were."""
        for _, module, before in self.modules:
            now = vars(module)
            for key in [k for k in _plain(module) if k not in before]:
                del now[key]
            for key, value in before.items():
                if key not in now or not _same(now[key], value):
                    now[key] = _filled(value)


@dataclass(frozen=True)
class _Entries:
    """A list or dict, and what it held."""

    holder: Any
    held: Any


def _plain(module: nn.Module) -> dict[str, object]:
    return {key: value for key, value in vars(module).items() if key not in OWN}


def _copy(value: Any) -> object:
    return _Entries(value, value.copy()) if type(value) in (list, dict, set) else value


def _same(now: Any, before: object) -> bool:
    if not isinstance(before, _Entries):
        return now is before
    return (
        now is before.holder
        and len(now) == len(before.held)
        and all(a is b for a, b in zip(_entries(now), _entries(before.held), strict=True))
    )


def _entries(value: Any) -> list[object]:
    return [part for item in value.items() for part in item] if isinstance(value, dict) else list(value)


def _filled(before: object) -> object:
    """The value as it was: a list or dict is the same object, with its entries of then."""
    if not isinstance(before, _Entries):
        return before
    before.holder.clear()
    (before.holder.extend if isinstance(before.holder, list) else before.holder.update)(before.held)
    return before.holder
