"""Who stands where at each moment on one case of the any-time benchmark: curves, areas between them, and reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from anytime import cannot, curve_of, identity, unit_of, useful
from anytime_curves import Curve, area, at, behind, envelope, middle
from anytime_peers import FIRST, FULL_BATCH, IN_BATCHES, LAST, OURS_AT_ANY_TIME, SETTINGS
from protocol import Line, moved

SHORT_GAP = 1.1  # Stretches with less than this factor of time between them are told as one.
RIVALS = {"the best full-batch peer": FULL_BATCH, IN_BATCHES: (IN_BATCHES,)}


def newest(lines: list[Line], threads: int) -> list[Line]:
    """Of each run with so many threads the line that was written last."""
    return list({identity(line): line for line in lines if line["threads"] == threads}.values())


@dataclass(frozen=True)
class Rivalry:
    """One of ours against one curve of peers.

    Attributes:
        decades: by which ours lies below, from the medians over the seeds; less than zero where above.
        least, most: the same of single seeds.
        behind: stretches of time, in gradients, on which ours is the higher one.
        worst: the largest factor by which it is, at least 1.
    """

    decades: float
    least: float
    most: float
    behind: list[tuple[float, float]]
    worst: float

    def where(self) -> str:
        """The stretches in few letters; a gap of less than a tenth of its time is passed over."""
        joined = list[tuple[float, float]]()
        for a, b in self.behind:
            joined.append((joined.pop()[0] if joined and a < SHORT_GAP * joined[-1][1] else a, b))
        return ", ".join(f"{a:.0f}–{b:.0f}" for a, b in joined) or "never"


@dataclass(frozen=True)
class CaseLines:
    """The lines of one case."""

    case: str
    lines: list[Line]

    @property
    def seeds(self) -> list[int]:
        """Those on which ours was run."""
        return sorted({line["seed"] for line in self.lines if line["peer"] in OURS_AT_ANY_TIME and moved(line)})

    def of(self, name: str) -> list[Line]:
        """The runs of one peer."""
        return [line for line in self.lines if line["peer"] == name]

    def on_seed(self, names: Sequence[str], seed: int) -> Curve:
        """The least cost of all runs of these peers on a seed."""
        return envelope([curve_of(line) for line in self.lines if line["peer"] in names and line["seed"] == seed])

    def curve(self, name: str) -> Curve:
        """The median over the seeds; empty where there is none."""
        curves = [self.on_seed([name], seed) for seed in self.seeds if any(map(moved, self.of(name)))]
        return middle([curve for curve in curves if curve])

    def leader(self, time: float) -> str:
        """Which full-batch peer that is at this time."""
        return min(FULL_BATCH, key=lambda name: at(self.curve(name), time))

    def rivalry(self, ours: str, names: Sequence[str]) -> Rivalry | None:
        """Ours against the best of these peers; None where there is nothing to compare."""
        mine, theirs = self.curve(ours), envelope([self.curve(name) for name in names])
        if not (mine and theirs):
            return None
        last, pairs = LAST[self.case], [(self.on_seed([ours], k), self.on_seed(names, k)) for k in self.seeds]
        alone = [area(mine, theirs, FIRST, last) for mine, theirs in pairs if mine and theirs]
        stretches = behind(mine, theirs, FIRST, last)
        times = [FIRST, *(time for time, _ in theirs if FIRST < time <= last)]
        worst = max(at(mine, time) / at(theirs, time) for time in times)
        return Rivalry(area(mine, theirs, FIRST, last), min(alone), max(alone), stretches, max(worst, 1.0))

    def first_step(self, name: str) -> float | None:
        """The median moment of the first step, in gradients."""
        found = [x["first_step_seconds"] / unit_of(x) for x in self.of(name) if "first_step_seconds" in x]
        return median(found) if found else None

    def settings_used(self, name: str) -> list[str]:
        """Setting and budget of the runs that make up a peer's curve on seed 0."""
        first = [line for line in self.of(name) if line["seed"] == 0]
        kept = useful(first, LAST[self.case]) if any(map(moved, first)) else []
        words = (
            ", ".join(f"{k} {v}" for k, v in setting.items() if k not in ("batch", "method")) for setting, _ in kept
        )
        budgets = (f" for {budget:g} gradients" if budget < LAST[self.case] else "" for _, budget in kept)
        return [one + span for one, span in zip(words, budgets, strict=True)]

    def reason(self, name: str) -> str:
        """Why a peer has no curve; empty where it has one."""
        runs = self.of(name)
        if any(map(moved, runs)):
            return ""
        failed = next((line for line in runs if cannot(line)), None)
        if failed is None:
            return "not run"
        if "reason" in failed:
            return failed["reason"]
        return "no step within the budget" if failed["result"] == "budget" else failed["result"].replace("|", "/")


def lacking(cases: Sequence[CaseLines], seeds: int) -> list[str]:
    """Cases without any run, case × peer without one, and cases on which ours lacks seeds."""
    rows = [f"{one.case} × {name}" for one in cases for name in SETTINGS if one.lines and not one.of(name)]
    return rows + [f"{one.case}: {len(one.seeds)} of {seeds} seeds" for one in cases if len(one.seeds) < seeds]
