"""Reading the lines back."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; none where it is not there. A torn last line is dropped."""
    texts = file.read_text().splitlines() if file.exists() else []
    lines = list[dict[str, Any]]()
    for place, text in enumerate(texts):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            if place < len(texts) - 1:
                raise
    return lines
