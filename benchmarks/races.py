"""geodescent against the best peer of each noise-free case."""

import math
from dataclasses import dataclass
from statistics import mean

from cases import CASES
from peers import PEERS
from protocol import Line, Protocol
from standing import Standing, hardest_target, standing

OURS = "geodescent"


@dataclass(frozen=True)
class Race:
    """Ours against the best peer of a case.

    Attributes:
        case, target: which, and the hardest target.
        ours, best: their standings there.
        bound, ratio: the best peer's time over ours, as of `bounded_ratio`.
    """

    case: str
    target: float
    ours: Standing
    best: Standing
    bound: str
    ratio: float


def races(protocol: Protocol, lines: list[Line]) -> list[Race]:
    """One for each noise-free case."""
    found = list[Race]()
    for case in (case for case in protocol.cases if not CASES[case].noisy):
        target = hardest_target(protocol, lines, case)
        peers = [standing(lines, case, n, target) for n in protocol.peers if not (PEERS[n].ours or PEERS[n].absent)]
        ours = standing(lines, case, OURS, target)
        best = min(peers, key=lambda entry: (entry.median, entry.end_cost))
        found.append(Race(case, target, ours, best, *bounded_ratio(protocol, ours, best)))
    return found


def bounded_ratio(protocol: Protocol, ours: Standing, best: Standing) -> tuple[str, float]:
    """The best peer's time over ours; the budget stands for a time that is not known."""
    if math.isinf(ours.median) and math.isinf(best.median):
        return "", math.nan
    bound = "≥ " if math.isinf(best.median) else "≤ " if math.isinf(ours.median) else ""
    return bound, min(best.median, protocol.final_seconds) / min(ours.median, protocol.final_seconds)


def geometric_mean(run: list[Race]) -> float:
    """Of the ratios."""
    return math.exp(mean(math.log(race.ratio) for race in run))
