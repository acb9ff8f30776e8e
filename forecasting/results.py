"""Write a result table and, beside it, the record of how it was made."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from telemetry.provenance import git_commit, versions


def write_result(table: pa.Table, out: Path, options: dict[str, Any]) -> Path:
    """Write ``table`` to ``out`` (.parquet or .csv) and its record to the same name with ``.json``.

    Both are written to a temporary file first and then renamed.

    Args:
        table: the result.
        out: where to.
        options: resolved options of the command, JSON values only.

    Returns:
        The path of the record.

    Raises:
        ValueError: another suffix.
        OSError: the folder cannot be written.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{out}: unknown file type {out.suffix!r}; expected .parquet or .csv")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    record_path = out.with_suffix(".json")
    record = {"options": options, "rows": table.num_rows, "versions": versions(), "git_commit": git_commit()}
    try:
        (pq.write_table if out.suffix == ".parquet" else pa_csv.write_csv)(table, part)
        part.replace(out)
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        part.replace(record_path)
    finally:
        part.unlink(missing_ok=True)
    return record_path
