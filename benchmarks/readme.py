"""What is generated in the README and in the pages: each table between two marks."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
README, MEASURED = ROOT / "README.md", ROOT / "docs" / "measured.md"


def put(page: Path, name: str, rows: list[str]) -> None:
    """Replaces what stands between the marks of this name."""
    begin, end = f"<!-- {name}: begin (generated) -->", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n" + "\n".join(rows) + f"\n{end}{after}")
