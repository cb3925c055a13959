"""The folder of a run under way."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geodescent._errors import InputError
from geodescent._files import alone_in, append_line, own_file, require_writable, write_whole
from geodescent.app.fitted import CALIBRATION, POSTERIOR, WEIGHTS, Fitted
from geodescent.app.runs._config import Config
from geodescent.app.runs._json import as_written, encoded, strict_json
from geodescent.app.tables import Split

CONFIG, SPLIT, HISTORY, RESULT = "config.json", "split.json", "history.jsonl", "result.json"
CERTIFICATE, CURVE, REPORT, STATE_FOLDER = "certificate.json", "curve.png", "report.html", "state"
FILES = (CONFIG, SPLIT, HISTORY, RESULT, WEIGHTS, POSTERIOR, CALIBRATION, CERTIFICATE, CURVE, REPORT, STATE_FOLDER)
"""What the folder of a run may hold; `state` is a folder, of what a run goes on from."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run under way.

    Attributes:
        path: of the folder.
        resumed: whether the run may go on from what is there.
    """

    path: Path
    resumed: bool = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out of the folder inside the block; folders that nothing came into are removed again.

        Raises: InputError, where the folder cannot be written to, another run is in it, or it holds files of a run.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        require_writable(self.path, "the folder of the run")
        try:
            with alone_in(self.path):
                if not self.resumed:
                    require_fresh(self.path)
                yield
        finally:
            with suppress(OSError):
                (self.path / STATE_FOLDER).rmdir()
            with suppress(OSError):  # something came into it
                for folder in made:
                    folder.rmdir()

    def append(self, record: Mapping[str, object]) -> None:
        """One line of history.jsonl: the numbers of an accepted step."""
        append_line(self.path / HISTORY, strict_json(dict(record)))

    def keep_history_before(self, step: int) -> None:
        """Drops records of history.jsonl from that step on, and a torn last line: the run takes these steps again."""
        path = self.path / HISTORY
        if not own_file(path):
            return
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        with as_written(path):
            kept = [line for line in lines if json.loads(line)["step"] < step]
        self._put_history(kept)

    def put_history(self, records: Iterable[Mapping[str, object]]) -> None:
        """All of history.jsonl: of a resumed run, which may have been killed between a state and its record."""
        self._put_history([strict_json(dict(record)) for record in records])

    def _put_history(self, lines: list[str]) -> None:
        write_whole(self.path / HISTORY, "".join(f"{line}\n" for line in lines).encode())

    def keep(self, fitted: Fitted) -> None:
        """What was fitted, with which the run can be opened again."""
        for name, content in fitted.files().items():
            write_whole(self.path / name, content)

    def describe(self, *, certificate: Mapping[str, object], curve: bytes | None, report: str | None) -> None:
        """The certificate, and picture and page where there are any."""
        write_whole(self.path / CERTIFICATE, encoded(certificate))
        if curve is not None:
            write_whole(self.path / CURVE, curve)
        if report is not None:
            write_whole(self.path / REPORT, report.encode())

    def end(self, result: Mapping[str, object]) -> None:
        """How the run ended, last of all."""
        write_whole(self.path / RESULT, encoded(dict(result)))

    def discard(self) -> None:
        """Removes what this run has written so far; another one begins in its place."""
        for name in FILES:
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name)
            else:
                (self.path / name).unlink(missing_ok=True)

    def begin(self, config: Config, split: Split) -> None:
        """Writes the rows of training part and test part, and the configuration, where they are not there yet."""
        if own_file(self.path / CONFIG):
            return
        rows = {"train": split.train.tolist(), "test": split.test.tolist()}
        write_whole(self.path / SPLIT, encoded(rows))
        write_whole(self.path / CONFIG, encoded(config.as_dict()))


def named_folder(out: str | None, *, name: str, resume: bool = False) -> Path:
    """The folder asked for, or `runs/NAME-DATE-TIME`.

    Raises:
        InputError: it holds files of a run already and none is resumed, or is a file.
    """
    if out is not None and not out.strip():
        raise InputError("--out needs the name of a folder, such as --out runs/first: got an empty one.")
    wanted = Path(out) if out is not None else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if wanted.exists() and not wanted.is_dir():
        raise InputError(f"{wanted} is a file: choose a folder with --out.")
    if resume:
        for name in FILES:
            require_no_link(wanted / name)
    else:
        require_fresh(wanted)
    return wanted


def require_no_link(path: Path) -> None:
    """Raises InputError for a link: what it points to would be written to."""
    if path.is_symlink():
        raise InputError(f"{path} is a link, which is not followed: remove it, or choose another folder with --out.")


def require_fresh(folder: Path) -> None:
    """Raises InputError, where the folder holds a run, or anything of the name of one of its files, links too."""
    if os.path.lexists(folder / CONFIG):
        raise InputError(
            f"{folder} holds a run already: go on with it by --resume, or choose another folder with --out."
        )
    stray = [name for name in FILES if os.path.lexists(folder / name)]
    if stray:
        raise InputError(
            f"{folder} holds {', '.join(stray)}, which a run would write: remove what is there, or choose another "
            "folder with --out."
        )
