"""The rows of a run, as one table: from the cells while it goes on, as Parquet when it is done."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience.bench.journal import read_journal as lines
from salience.errors import GridError
from salience.explanation import OLD_KEYS
from salience.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "rows.parquet"
TEXT = ("cell", "method", "settings", "box", "fingerprint", "backend", "data", "picture", "target", "measure", "better")
MORE = ("notes", "failure", "salience", "torch")
WHOLE, NUMBERS = ("seed", "map_passes", "passes"), ("value", "probability", "map_seconds", "seconds", "stability")
ORDER = ("data", "box", "method", "seed", "picture", "measure")


def gather_rows(out: Path) -> pa.Table:
    """Read the rows of all cells, in a fixed order.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [{"method": "rise", "value": 0.5}])
    ...     gather_rows(Path(folder))["value"].to_pylist()
    [0.5]
    """
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.string()) for name in (*TEXT, *MORE)]
        + [(name, pa.int64()) for name in WHOLE]
        + [(name, pa.float64()) for name in NUMBERS]
        + [("right", pa.bool_())]
    )
    rows: list[dict[str, Any]] = [row for file in sorted((out / "cells").glob("*.jsonl")) for row in lines(file)]
    return pa.Table.from_pylist(rows, schema).sort_by([(name, "ascending") for name in ORDER])


def write_parquet(out: Path) -> Path:
    """Write all rows as Parquet, whole or not at all.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [{"method": "rise", "value": 0.5}])
    ...     write_parquet(Path(folder)).name
    'rows.parquet'
    """
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(gather_rows(out), file, compression="zstd")
    return write_whole(out / FILE, file.getvalue())


def read_rows(place: Path) -> pa.Table:
    """Read the rows of a run's folder, finished or not, or of a Parquet file; GridError where there are none.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [{"method": "rise", "value": 0.5}])
    ...     read_rows(Path(folder)).num_rows, read_rows(write_parquet(Path(folder))).num_rows
    (1, 1)
    """
    from pyarrow import parquet

    if place.is_file():
        try:
            table = parquet.read_table(place)
        except (OSError, ValueError) as problem:
            raise GridError(f"expected rows as Parquet in {place}, got something else ({problem})") from None
        return table.rename_columns([OLD_KEYS.get(name, name) for name in table.column_names])
    if not (place / "cells").is_dir():
        raise GridError(f"expected a run of `salience bench` at {place}, got none: check the folder")
    return gather_rows(place)
