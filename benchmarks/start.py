"""How long the command line takes to start, in units of `python -c "import torch"`: `python -m benchmarks.start`.

Every command is a process of its own; they take turns, and each is compared with the import of its own round, so that a
machine that is busy for a while slows both. Before the first round all of them run once: byte code is written then, lists,
backend and compiled network are kept, in a folder of this run's own. What that first time takes is shown too. The default
`explain` makes 200 passes, and the time that its method takes is left out. Exits with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import table

TORCH = "import torch"
MAIN = "import sys; from salience.cli import main; sys.exit(main())"
WITHOUT_METHOD = """
import sys, time
from salience.cli import main
from salience.methods.iassa import Iassa
watch, spent = Iassa.watch, [0.0, 0.0]
def timed(*arguments):
    steps = watch(*arguments)
    while True:
        began = time.perf_counter(), time.process_time()
        step = next(steps, None)
        spent[:] = [all + now() - then for all, now, then in zip(spent, (time.perf_counter, time.process_time), began)]
        if step is None:
            return
        yield step
Iassa.watch = timed
code = main()
sys.stderr.write(f"\\n{spent[0]} {spent[1]}")
sys.exit(code)
"""
LIMITS = {
    "explain PICTURE --method grad-cam": 2.0,
    "explain PICTURE": 3.0,
    "--help": 0.35,
    "--version": 0.35,
    "list methods": 0.35,
    "list measures": 0.35,
    "list boxes": 0.35,
    "explain --help": 0.35,
}
Seconds = tuple[float, float]  # of the clock, and of the processor


def main() -> int:
    """Run all in turns and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), TORCH)
        first = {words: run_command(Path(folder), words) for words in LIMITS}
        rounds = [(run(Path(folder), TORCH), {w: run_command(Path(folder), w) for w in LIMITS}) for _ in range(given.rounds)]
    unit = median(seconds for (seconds, _), _ in rounds)
    print(table.format_heading(None, f"medians of {given.rounds} process starts; `import torch` takes {unit:.2f} s"))
    print(
        "| salience … | × `import torch` | limit | processor time, × | seconds | first time, s |\n|---|---|---|---|---|---|"
    )
    over = False
    for words, limit in LIMITS.items():
        clock, processor = (median(each[words][kind] / torch[kind] for torch, each in rounds) for kind in (0, 1))
        seconds = median(each[words][0] for _, each in rounds)
        print(f"| `{words}` | {clock:.2f} | ≤ {limit} | {processor:.2f} | {seconds:.2f} | {first[words][0]:.2f} |")
        over |= clock > limit
    return int(over)


def run_command(folder: Path, words: str) -> Seconds:
    """Start the command line once; of the default `explain` the time of its method is left out."""
    arguments = words.replace("PICTURE", "").split()
    if arguments[:1] == ["explain"] and "--help" not in arguments:
        arguments += ["--out", str(folder / "out")]
    if "PICTURE" not in words or "--method" in words:
        return run(folder, MAIN, *arguments)
    return run(folder, WITHOUT_METHOD, *arguments, "--budget", "200", left_out=True)


def run(folder: Path, code: str, *arguments: str, left_out: bool = False) -> Seconds:
    """Start Python once; what the code says of itself on its last line of standard error is taken off."""
    environment = {**os.environ, "SALIENCE_CACHE": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=True, text=True
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    clock_off, processor_off = map(float, done.stderr.splitlines()[-1].split()) if left_out else (0.0, 0.0)
    return seconds - clock_off, processor - processor_off


if __name__ == "__main__":
    sys.exit(main())
