"""The rows of a run, as one table: from the cells while it goes on, as Parquet when it is done."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from salience import limits
from salience.bench.journal import Columns
from salience.bench.journal import read_journal as lines
from salience.errors import GridError
from salience.explanation import OLD_KEYS
from salience.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "rows.parquet"
ORDER = ("data", "box", "method", "seed", "picture", "measure")


def gather_rows(out: Path) -> pa.Table:
    """Read the rows of all cells, in a fixed order.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cells").mkdir()
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [{"method": "rise", "value": 0.5}])
    ...     gather_rows(Path(folder))["value"].to_pylist()
    [0.5]
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = [row for file in sorted((out / "cells").glob("*.jsonl")) for row in lines(file)]
    return pa.Table.from_pylist(rows, _make_schema()).sort_by([(name, "ascending") for name in ORDER])


def write_parquet(out: Path) -> Path:
    """Write all rows as Parquet, whole or not at all.

    >>> import tempfile
    >>> from salience.bench.journal import Journal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cells").mkdir()
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
    ...     Path(folder, "cells").mkdir()
    ...     added = Journal(Path(folder, "cells", "rise.jsonl"), "digest").add("0001", [{"method": "rise", "value": 0.5}])
    ...     read_rows(Path(folder)).num_rows, read_rows(write_parquet(Path(folder))).num_rows
    (1, 1)
    """
    from pyarrow import parquet

    if place.is_file():
        try:
            table = parquet.read_table(limits.expect_file(place))
        except (OSError, ValueError, NotImplementedError) as problem:  # the last: a packing that pyarrow has not
            raise GridError(f"expected rows as Parquet in {place}, got something else ({problem})") from None
        return _expect_columns(table.rename_columns([OLD_KEYS.get(name, name) for name in table.column_names]), place)
    if not (place / "cells").is_dir():
        raise GridError(f"expected a run of `salience bench` at {place}, got none: check the folder")
    return gather_rows(place)


def _make_schema() -> pa.Schema:
    """Translate the types of a row."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    types = get_type_hints(Columns).items()
    return pa.schema(
        [(name, next(kinds[each] for each in (*get_args(hint), hint) if each in kinds)) for name, hint in types]
    )


def _expect_columns(table: pa.Table, place: Path) -> pa.Table:
    """Expect columns of the types that rows have; what else is there does no harm."""
    import pyarrow as pa
    from pyarrow import types

    checks = {pa.string(): _is_text, pa.int64(): types.is_integer, pa.float64(): _is_number, pa.bool_(): types.is_boolean}
    schema = _make_schema()
    for name in sorted({*table.column_names} & {*schema.names}):
        wanted, got = schema.field(name).type, table.schema.field(name).type
        if not (types.is_null(got) or checks[wanted](got)):
            raise GridError(
                f"expected rows of `salience bench` in {place}, got a column {name} of {got} in place of {wanted}: "
                "give a file that it wrote"
            )
    return table


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    checks = (types.is_string, types.is_large_string, types.is_dictionary)  # as other programs write it
    return any(check(kind) for check in checks)


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return any(check(kind) for check in (types.is_floating, types.is_integer))
