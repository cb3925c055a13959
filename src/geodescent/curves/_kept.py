"""What a pickled result keeps of the user's formula."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from geodescent._errors import InputError

Told_by = TypeVar("Told_by")


@dataclass(frozen=True, eq=False)
class Kept(Generic[Told_by]):
    """A function of a result, which is pickled where the user's formula can be, and else left behind.

    So results come back from other processes whatever the formula is; what needs the formula is refused there.

    Attributes:
        function: None where it was left behind.
    """

    function: Callable[..., Told_by] | None

    def __call__(self, *arguments: object) -> Told_by:
        """Raises InputError, where the formula was left behind."""
        if self.function is None:
            raise InputError(
                "the formula stayed behind when this result was pickled, as pickle takes no lambda and no function "
                "inside of another: ask for this before pickling, or define the formula by def at the top of a module."
            )
        return self.function(*arguments)

    def __reduce__(self) -> tuple[object, ...]:
        try:
            pickle.dumps(self.function)
        except Exception:  # whatever objects of the user's raise
            return Kept, (None,)
        return Kept, (self.function,)

    def __deepcopy__(self, memo: object) -> "Kept[Told_by]":
        return self
