"""Fuzz.

python -m tests.hostile.fuzz --cases 2000                       a fixed number of cases, the same every time
python -m tests.hostile.fuzz --minutes 60 --save failures       other cases every time; failures are saved as files
python -m tests.hostile.fuzz --replay tests/hostile/cases       cases that were saved
python -m tests.hostile.fuzz --atheris pictures                 one kind, led by what it covers (the group `fuzz`)
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.hostile.fuzz import kinds
from tests.hostile.fuzz.judge import GOOD, VERDICTS, Kind, Outcome, judge

Counts = Counter[tuple[str, str]]
SHOWN = 40  # failures that are printed
CHUNK = 100  # cases that one search of hypothesis makes


def draw(kind: Kind, count: int, number: int | None) -> Iterator[Any]:
    """Draw recipes; with a number always the same."""
    drawn: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(kind.recipes)
    def collect(recipe: Any) -> None:
        drawn.append(recipe)

    collect()
    yield from drawn[:count]


def run_cases(cases: Iterable[tuple[Kind, Any]], save: Path | None) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run cases; return how many there were of each kind and verdict, and what was found, two alike at most."""
    counts: Counter[tuple[str, str]] = Counter()
    found: list[str] = []
    seen: Counter[str] = Counter()
    for kind, recipe in cases:
        faulthandler.dump_traceback_later(120, exit=True)  # where no signal comes through
        outcome = judge(kind, recipe)
        faulthandler.cancel_dump_traceback_later()
        counts[kind.name, outcome.verdict] += 1
        if outcome.verdict not in GOOD:
            told = write_case(kind, recipe, outcome, save)
            alike = outcome.said.strip().rpartition("\n")[2][:60]
            seen[alike] += 1
            found += [told] if seen[alike] <= 2 else []
    return counts, found


def run_part(part: tuple[str, int, int], save: Path | None) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Draw and run one part of all cases: so many of a kind, under a number."""
    torch.set_num_threads(1)
    name, count, number = part
    kind = kinds.find(name)
    return run_cases(((kind, recipe) for recipe in draw(kind, count, number)), save)


def write_case(kind: Kind, recipe: Any, outcome: Outcome, save: Path | None) -> str:
    """Save a failure as a file that `--replay` runs again, and say it."""
    case = json.dumps({"kind": kind.name, "recipe": recipe})
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        name = f"{kind.name}-{outcome.verdict}-{hashlib.sha256(case.encode()).hexdigest()[:10]}"
        (save / f"{name}.json").write_text(case, encoding="utf-8")
        (save / f"{name}.txt").write_text(outcome.said, encoding="utf-8", errors="backslashreplace")
    return f"{outcome.verdict}: {case[:1500]}\n{outcome.said[-1800:]}"


def read_cases(folder: Path) -> Iterator[tuple[Kind, Any]]:
    """Read cases that were saved: a file, or a folder of them."""
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else [folder]:
        case = json.loads(path.read_text(encoding="utf-8"))
        yield kinds.find(case["kind"]), case["recipe"]


def plan_parts(count: int | None, minutes: float | None, chosen: list[Kind]) -> Iterator[tuple[str, int, int]]:
    """Plan parts of all kinds by their shares: so many cases, the same every time; or others, for so long."""
    total = sum(each.share for each in chosen)
    if count is not None:
        for kind in chosen:
            wanted = max(1, count * kind.share // total)
            yield from ((kind.name, min(CHUNK, wanted - first), first) for first in range(0, wanted, CHUNK))
        return
    number, limit = time.time_ns() % 2**32, time.monotonic() + 60 * (minutes or 1)
    while time.monotonic() < limit:
        for kind in chosen:
            number += 1
            yield kind.name, CHUNK // 10 * kind.share, number


def run_parts(
    parts: Iterable[tuple[str, int, int]], save: Path | None, workers: int
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run all parts, in so many processes."""
    counts: Counter[tuple[str, str]] = Counter()
    found: list[str] = []
    with ProcessPoolExecutor(workers, get_context("fork")) if workers > 1 else nullcontext() as pool:
        one = partial(run_part, save=save)
        for each, told in map(one, parts) if pool is None else pool.map(one, parts):
            counts += each
            found += told
    return counts, found


def write_table(counts: Counts) -> str:
    """Write the counts by kind as a table."""
    heads = ("kind", "cases", *VERDICTS)
    names = [each.name for each in kinds.KINDS if any(counts[each.name, verdict] for verdict in VERDICTS)]
    figures = [(name, [counts[name, verdict] for verdict in VERDICTS]) for name in names]
    figures.append(("all", [sum(column) for column in zip(*(each for _, each in figures), strict=True)]))
    lines = [heads, ("---", *("--:" for _ in heads[1:]))]
    lines += [(name, f"{sum(each):,}", *(f"{number:,}" for number in each)) for name, each in figures]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(counts: Counts, seconds: float, chosen: argparse.Namespace) -> str:
    """Write the page of results."""
    from salience.runtime.disk_cache import describe_machine

    about = "Odd pictures, records, explainers, boxes, options, data and command lines, and what became of them"
    where = f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine(torch.device('cpu'))}, {seconds / 60:.0f} minutes"
    said = (
        "*accepted*: a finite map, or a picture or file that is the same when it is written and read again; "
        "*refused*: one sentence that says what was expected, from the command line with exit code 2; *foreign*: any other "
        "exception; *hung*: more than 20 seconds; *wrong*: accepted though it cannot be "
        "right, or from the command line another exit code or more than one line."
    )
    given = f"--minutes {chosen.minutes:g}" if chosen.cases is None else f"--cases {chosen.cases}"
    words = f"`python -m tests.hostile.fuzz {given} --workers {chosen.workers} --kinds '{chosen.kinds}'`"
    return f"# Hostile input\n\n{about}.\n{words}, {where}.\n\n{said}\n\n{write_table(counts)}\n"


def run_atheris(kind: Kind, rest: list[str]) -> None:
    """Let atheris draw what hypothesis makes recipes of."""
    import atheris

    @settings(database=None, deadline=None)
    @given(kind.recipes)
    def test(recipe: Any) -> None:
        outcome = judge(kind, recipe)
        if outcome.verdict not in GOOD:
            raise AssertionError(f"{json.dumps(recipe)}\n{outcome.said}")

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *rest], test.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]  # what given adds
    atheris.Fuzz()


def main() -> int:
    """Run, print the counts, and fail where anything is neither accepted nor refused."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, help="so many, the same every time")
    options.add_argument("--minutes", type=float, help="for so long")
    options.add_argument("--kinds", default="", help="only these, with commas between")
    options.add_argument("--save", type=Path, help="a folder for failures")
    options.add_argument("--replay", type=Path, help="a folder of saved cases, or one of them")
    options.add_argument("--workers", type=int, default=1, help="processes")
    options.add_argument("--into", type=Path, help="the page to write")
    options.add_argument("--atheris", metavar="KIND", help="one kind, led by coverage; more words are atheris's own")
    chosen, rest = options.parse_known_args()
    torch.set_num_threads(1)
    if chosen.atheris:
        run_atheris(kinds.find(chosen.atheris), rest)
        return 0
    began = time.monotonic()
    wanted = [kinds.find(name) for name in chosen.kinds.split(",")] if chosen.kinds else list(kinds.KINDS)
    if chosen.replay:
        counts, found = run_cases(read_cases(chosen.replay), chosen.save)
    else:
        counts, found = run_parts(plan_parts(chosen.cases, chosen.minutes, wanted), chosen.save, chosen.workers)
    sys.stderr.write("\n\n".join(found[:SHOWN]))
    sys.stdout.write(write_table(counts) + "\n")
    if chosen.into:
        chosen.into.write_text(write_page(counts, time.monotonic() - began, chosen), encoding="utf-8")
    return int(any(number for (_, verdict), number in counts.items() if verdict not in GOOD))


if __name__ == "__main__":
    raise SystemExit(main())
