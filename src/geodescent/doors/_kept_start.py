"""What a choice of the start changed beside the parameters, kept in the folder of a run that may be resumed."""

import json
from pathlib import Path

from geodescent._errors import InputError
from geodescent._files import own_file, write_whole
from geodescent.problem import HasStart, Model

START_FILE = "start.json"


def begin_as_kept(model: Model, folder: Path | None) -> None:
    """Makes the model what it was when the run in the folder began. Raises InputError for a file of another model."""
    if folder is None or not isinstance(model, HasStart) or not own_file(folder / START_FILE):
        return
    try:
        model.begin_as(json.loads((folder / START_FILE).read_text()))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / START_FILE} is not of this system: choose another folder, or remove it."
        ) from error


def keep_start(model: Model, folder: Path | None) -> None:
    """Writes what the start was, where there is a folder."""
    if folder is not None and isinstance(model, HasStart):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / START_FILE, json.dumps(model.start()).encode())
