"""Tables for documents: means with 95 % bootstrap intervals over pictures, under a line that names machine and date."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from salience.types import BlackBox


def describe_machine() -> str:
    """Name the machine."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  # a kernel file, read once
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    flags = (
        "AVX-512 bf16" if torch.backends.cpu.get_cpu_capability() == "AVX512" else torch.backends.cpu.get_cpu_capability()
    )
    return f"{model}, {os.cpu_count()} cores ({flags}), torch {torch.__version__}, {torch.get_num_threads()} threads"


def format_heading(box: BlackBox | None, words: str) -> str:
    """Say where and when."""
    what = f"{box.name}, backend {box.backend}; " if box is not None else ""
    today = dt.datetime.now(tz=dt.UTC).date()
    return f"{what}{words}; {describe_machine()}; {today}\n"


def half_interval(values: Sequence[float], draws: int = 2000) -> float:
    """Return half the width of the 95 % bootstrap interval of the mean."""
    chosen = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(np.asarray(values, dtype=float)[chosen].mean(1), [2.5, 97.5])
    return float(high - low) / 2


def format_rows(rows: Mapping[str, Sequence[Mapping[str, float]]], lead: str = "", digits: int = 3) -> str:
    """Lay out a mean and its interval for every column."""
    columns = list(next(iter(rows.values()))[0])
    lines = [f"| {lead} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cases in rows.items():
        cells = []
        for column in columns:
            values = [case[column] for case in cases]
            mean = float(np.mean(values))
            spread = f" ± {half_interval(values):.{digits}f}"
            cells.append(f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.{digits}f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
