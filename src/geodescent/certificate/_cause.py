"""One reason why rank is lost or a fit cannot go on, and how such reasons are written down."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

HARMLESS = ("too_few_parameters", "few_rows", "repeated_conditions", "repeated_measurements")
"""Kinds of causes that are worth knowing, and may be as they should be."""


@dataclass(frozen=True)
class Cause:
    """One reason why D loses rank here.

    Attributes:
        kind: identical_inputs, nearly_identical_inputs, constant_inputs, dead_units, saturated_units,
            unheard_units, duplicate_units, too_few_parameters; of equations conflicting_conditions,
            repeated_conditions, repeated_measurements, undetermined_coefficient, silent_term, few_rows.
        where: samples of a block, or of several, columns, or layer and units.
        cost: the part of C that it costs, in the units of C; None where that is not known.
        exact: True where no descent can ever remove that cost; False where `cost` bounds what it costs here and now.
        parameters_lost: parameters that no longer act on their own.
        sentence: for people.
    """

    kind: str
    where: Mapping[str, object]
    cost: float | None
    sentence: str
    exact: bool = False
    parameters_lost: int = 0

    @property
    def stands_in_the_way(self) -> bool:
        """Whether it hinders a classical fit too, which has few parameters on purpose."""
        return self.kind not in HARMLESS

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def few(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:5])) + (" …" if len(items) > 5 else "")
