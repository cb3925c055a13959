"""Where a peer stands on a case: quartiles over the seeds of its time to a target, and its costs at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from peers import PEERS
from protocol import Line, Protocol, finals, moved, seconds_to, settled_target


@dataclass(frozen=True)
class Standing:
    """One entry.

    Attributes:
        name: of the peer.
        quartiles: of the seconds to the target; infinite where too few seeds met it.
        end_cost, end_held_out: medians at the end of the runs.
        accuracy: median held-out accuracy, where there are classes.
        reason: why there are no numbers.
    """

    name: str
    quartiles: tuple[float, float, float]
    end_cost: float
    end_held_out: float
    accuracy: float
    reason: str

    @property
    def median(self) -> float:
        """Median seconds to the target."""
        return self.quartiles[1]

    def time(self, protocol: Protocol) -> str:
        """Median and quartiles, or that it was not reached."""
        if self.reason:
            return self.reason
        if math.isinf(self.median):
            return f"not reached in {protocol.final_seconds:g} s"
        low, middle, high = (f"{value:.3g}" if math.isfinite(value) else "∞" for value in self.quartiles)
        return f"{middle} [{low}, {high}]"

    def short(self, protocol: Protocol) -> str:
        """The same for a narrow column: > B where it was not reached in B seconds."""
        return self.time(protocol) if math.isfinite(self.median) else f"> {protocol.final_seconds:g}"

    def held_out(self) -> str:
        """Held-out cost, and accuracy where there is one."""
        return f"{self.end_held_out:.1e}" + (f", accuracy {self.accuracy:.3f}" if math.isfinite(self.accuracy) else "")


def standing(lines: Sequence[Line], case: str, name: str, target: float) -> Standing:
    """The entry of a peer on a case for one target."""
    runs = finals(lines, case, name)
    done = [line for line in runs if moved(line)]
    if not done:
        return Standing(name, (math.inf,) * 3, math.inf, math.nan, math.nan, why(name, runs))
    times = [math.inf if (s := seconds_to(line, target)) is None else s for line in done]
    costs, held = ([math.inf if line[key] is None else line[key] for line in done] for key in ("cost", "held_out"))
    accuracy = median(line.get("held_out_accuracy") or math.nan for line in done)
    return Standing(name, quartiles(times), median(costs), median(held), accuracy, "")


def why(name: str, runs: Sequence[Line]) -> str:
    """The reason for an entry without numbers."""
    if PEERS[name].absent:
        return PEERS[name].absent
    if not runs:
        return "MISSING"
    if "reason" in runs[0]:
        return runs[0]["reason"]
    result = runs[0]["result"]
    return f"no step in {runs[0]['budget']:g} s" if result == "budget" else result.replace("|", "/")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile as order statistics, so that infinite values do no harm."""
    low, middle, high = np.quantile(np.array(values), (0.25, 0.5, 0.75), method="inverted_cdf")
    return float(low), float(middle), float(high)


def hardest_target(protocol: Protocol, lines: Sequence[Line], case: str) -> float:
    """The smallest target that any peer, geodescent left out, reaches on a majority of the seeds."""
    return settled_target(protocol, lines, case)
