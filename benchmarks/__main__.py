"""The command line: ``python -m benchmarks``, from the folder of the checkout."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path

from . import machine
from .cases import CASES
from .harness import PROJECT
from .report import write_json, write_markdown
from .runner import Options, chosen, run

RESULTS = Path(__file__).parent/"results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases and write the results.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0, or 1 if the library itself failed somewhere.
    """
    options = Options()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="The library beside its peers on the same work: times, ratios and errors.",
    )
    add = parser.add_argument
    several = "; may be given several times"
    add("--case", action="append", default=[], help="a case, by default all" + several)
    add("--peer", action="append", default=[], help="a peer, or what its name begins with" + several)
    add("--repeats", type=int, default=options.repeats, help="the most calls timed (%(default)s)")
    add("--budget", type=float, default=options.budget, help="seconds of timing for each function (%(default)s)")
    add("--core", type=int, default=machine.cores()[-1], help="the core all processes run on (%(default)s)")
    add("--timeout", type=float, default=options.timeout, help="seconds a process may be silent (%(default)s)")
    add("--out", type=Path, help="the folder for results; by default benchmarks/results, or part in it for a part")
    add("--quick", action="store_true", help="tiny sizes, to see that everything works")
    add("--list", action="store_true", help="name the cases and peers, and do nothing")
    given = parser.parse_args(arguments)
    if given.list:
        for case in CASES.values():
            print(f"{case.name}: {case.title}\n  " + "\n  ".join([*case.sizes, "by " + "; ".join(case.peers)]))
        return 0
    for name in given.case:
        if name not in CASES:
            parser.error(f"--case must be one of {', '.join(CASES)}; got {name}{_near(name, CASES)}")
    peers = sorted({name for case in CASES.values() for name in case.peers})
    for name in given.peer:
        if not any(chosen(peer, [name]) for peer in peers):
            parser.error(f"--peer must begin one of {'; '.join(peers)}; got {name}{_near(name, peers)}")
    for name, value in (("repeats", given.repeats), ("budget", given.budget), ("timeout", given.timeout)):
        if not value > 0:
            parser.error(f"--{name} must be positive; got {value}")
    core = given.core if machine.CAN_PIN else None
    if core is not None and core not in machine.cores():
        parser.error(f"--core must be one of {', '.join(map(str, machine.cores()))}; got {core}")
    cases = [CASES[name] for name in dict.fromkeys(given.case or CASES)]
    options = Options(given.repeats, given.budget, core, given.timeout, tuple(given.peer), given.quick)
    begin = time.perf_counter()
    results = run(cases, options, lambda line: print(line, flush=True))
    about = {
        "date": datetime.date.today().isoformat(), "seconds": time.perf_counter() - begin, "machine": machine.facts(),
        "options": asdict(options),
    }  # fmt: skip
    whole = not (given.case or given.peer or given.quick)
    out = given.out or (RESULTS if whole else RESULTS/"part")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out/"results.json", results, about)
    write_markdown(out/"results.md", cases, results, about)
    if not machine.missing(["matplotlib"]):
        from .picture import draw

        draw(out, results.rows)
    failed = [entry for entry in results.left_out if entry["state"] == "failed"]
    print(f"\n{len(results.rows)} rows in {about['seconds']:.0f} s, written to {out}")
    return int(any(entry["peer"].startswith((PROJECT, "reference")) for entry in failed))


def _near(name: str, names: Sequence[str] | dict) -> str:
    close = get_close_matches(name, names, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


if __name__ == "__main__":
    sys.exit(main())
