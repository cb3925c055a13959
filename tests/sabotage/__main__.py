"""`make sabotage`: every wrong formula, two at a time; the number of those that nobody noticed is the exit code."""

import sys
from concurrent.futures import ThreadPoolExecutor

from sabotage import SABOTAGES, Sabotage, package_with, run
from sabotage._sabotage import FAILED, PACKAGE, PASSED, SECONDS

AT_ONCE = 2


def main(words: list[str]) -> int:
    """A line for each sabotage whose file or test holds all of these words; first all tests on the right formulas."""
    chosen = [s for s in SABOTAGES if all(word in f"{s.file} {s.test}" for word in words)]
    code, printed = run(PACKAGE.parent, sorted({s.test for s in chosen}), seconds=AT_ONCE * 3 * SECONDS)
    if code != PASSED:
        print(printed, "These tests must pass before a formula is made wrong.", sep="\n")
        return 1
    survivors = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sabotage, verdict in zip(chosen, pool.map(verdict_of, chosen), strict=True):
            survivors += verdict != "noticed"
            print(f"{sabotage}: {verdict}", flush=True)
    print(f"{len(chosen)} wrong formulas, {survivors} of them unnoticed")
    return min(survivors, 100)


def verdict_of(sabotage: Sabotage) -> str:
    """`noticed`, `SURVIVED`, or what went wrong."""
    with package_with(sabotage) as source:
        code, printed = run(source, [sabotage.test])
    if code == FAILED:
        return "noticed"
    return "SURVIVED" if code == PASSED else f"NOT RUN, exit code {code}: {printed[-300:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
