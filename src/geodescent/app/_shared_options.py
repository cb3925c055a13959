"""Options that several commands share, with their help."""

from typing import Annotated, Literal

import typer

from geodescent.app.tables import DATA_SETS

Activation = Literal["tanh", "relu", "gelu", "silu", "sigmoid"]
DATA_HELP = f"A .csv, .tsv, .parquet or .npz file, or one of {', '.join(DATA_SETS)}."
DataArgument = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
ColumnOption = Annotated[
    str | None, typer.Option("--target", metavar="COL", help="Column to predict (default: the last).")
]
TaskOption = Annotated[
    Literal["auto", "regression", "classification"], typer.Option("--task", help="auto: by the column to predict.")
]
HiddenOption = Annotated[
    str | None, typer.Option("--hidden", metavar="WIDTHS", help="Such as 64,64 (default; digits: 256,256).")
]
ActivationOption = Annotated[
    Activation | None, typer.Option("--activation", help="Between the layers (gelu; classes: tanh).")
]
TestSizeOption = Annotated[float, typer.Option("--test-size", help="Fraction of the test part.")]
DtypeOption = Annotated[
    Literal["float64", "float32"] | None, typer.Option("--dtype", help="Of parameters and data (float64).")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, … (auto)")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the split and of the start.")]
OutOption = Annotated[str | None, typer.Option("--out", metavar="DIR", help="The run's folder (default: runs/…).")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object last, all else on standard error.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="A line for each step, and the whole certificate.")]
SecondsOption = Annotated[float | None, typer.Option("--max-seconds", min=0.0, help="Wall time of the fit.")]
CostOption = Annotated[float | None, typer.Option("--target-cost", metavar="C", help="Stop at this cost (all digits).")]
