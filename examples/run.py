"""Runs studies and puts what they print into their pages: `python examples/run.py [NAME …]`, all without a name."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "theory"
SECONDS = PAGES / "seconds.json"
NOT_STUDIES = ("run", "study")


def main(names: list[str]) -> int:
    """The number of studies that failed."""
    rate, failed = product_rate(), 0
    seconds = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
    for name in names or sorted(p.stem for p in HERE.glob("*.py") if p.stem not in NOT_STUDIES):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py")], capture_output=True, text=True, env=quiet(), check=False
        )
        took = time.perf_counter() - begin
        print(f"{name}: {took:.1f} s" + ("" if done.returncode == 0 else f", failed\n{done.stderr}"))
        failed += done.returncode != 0
        if done.returncode == 0:
            write(PAGES / f"{name}.md", done.stdout)
            seconds[name] = {"seconds": round(took, 1), "product_gflops": round(rate)}
    SECONDS.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n")
    print(
        f"all pages: {sum(s['seconds'] for s in seconds.values()):.0f} s; 1000 × 1000 float64 product {rate:.0f} GF/s"
    )
    return failed


def write(page: Path, printed: str) -> None:
    """Puts the lines between the markers of the page."""
    text = page.read_text()
    inside = f"<!-- printed -->\n```text\n{printed.strip()}\n```\n<!-- end -->"
    text, found = re.subn(r"<!-- printed -->.*?<!-- end -->", lambda _: inside, text, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{page} has {found} places for what its study prints; one is needed.")
    page.write_text(text)


def quiet() -> dict[str, str]:
    """Threads that sleep while they wait."""
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def product_rate() -> float:
    """GF/s of a 1000 × 1000 float64 product, the best of five."""
    a, best = torch.randn(1000, 1000, dtype=torch.float64), float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2e-9 * 1000**3 / best


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
