"""Run folders: written while a command works, and opened again."""

from geodescent.app.runs._config import Config, DataFacts, digest_of
from geodescent.app.runs._folder import (
    CERTIFICATE,
    CONFIG,
    FILES,
    REPORT,
    RESULT,
    STATE_FOLDER,
    RunFolder,
    named_folder,
)
from geodescent.app.runs._json import encoded, strict_json
from geodescent.app.runs._load import load, read_config, read_json, read_split
from geodescent.app.runs._run import Run

__all__ = [
    "CERTIFICATE",
    "CONFIG",
    "FILES",
    "REPORT",
    "RESULT",
    "STATE_FOLDER",
    "Config",
    "DataFacts",
    "Run",
    "RunFolder",
    "digest_of",
    "encoded",
    "load",
    "named_folder",
    "read_config",
    "read_json",
    "read_split",
    "strict_json",
]
