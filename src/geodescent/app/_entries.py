"""The entries of a JSON object, as they are read and written."""

from typing import Any

Entries = dict[str, Any]
"""Names, and whatever JSON can hold."""
