"""The child process: one peer of one case at one size, told by lines on its standard input when to run.

    python -m benchmarks.worker CASE SIZE PEER REFERENCE CORE

It answers in lines of JSON. Building and the first call are timed apart and reported at once, with the errors of that
first answer; after that every line {"repeats": .., "seconds": .., "labels": [..]} makes it time some of its functions
again. The peer named "reference" writes the true answers to the file instead.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from .cases import CASES
from .harness import Case, Run, Unavailable
from .machine import pin


def main() -> None:
    """Serve one peer until the input ends."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a package prints must not get among the answers
    name, size, peer, reference, core = sys.argv[1:]
    pin(int(core) if core != "any" else None)
    try:
        case = CASES[name]
        problem = case.problem(size)
        if peer == "reference":
            np.savez(reference, **case.reference(problem))  # type: ignore[arg-type]
            _say(channel, state="ready")
            return
        begin = time.perf_counter()
        runs = case.peers[peer].build(problem)
        setup = time.perf_counter() - begin
        with np.load(reference) as stored:
            truth = dict(stored)
        labels = {label: first_call(case, problem, label, run, truth) for label, run in runs.items()}
        _say(channel, state="ready", setup=setup, labels=labels)
        serve(channel, {label: run for label, run in runs.items() if "first" in labels[label]})
    except Unavailable as reason:
        _say(channel, state="unavailable", reason=str(reason))
    except Exception as error:
        traceback.print_exc()
        _say(channel, state="failed", reason=_line(error))


def first_call(case: Case, problem: Any, label: str, run: Run, truth: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The first call of a function: its time, which includes what is compiled, and the errors of its answer."""
    try:
        begin = time.perf_counter()
        result = run()
        first = time.perf_counter() - begin
    except Unavailable as reason:
        return {"unavailable": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"failed": _line(error)}
    known: dict[str, Any] = {key: result[key] for key in ("note", "units") if key in result}
    errors = {key: float(value) for key, value in case.errors(problem, label, result, truth).items()}
    return {"first": result.get("seconds", first), "errors": errors, **known}


def serve(channel: TextIO, runs: Mapping[str, Run]) -> None:
    """Time functions again for every line that arrives."""
    for line in sys.stdin:
        asked = json.loads(line)
        times, shares = {}, {}
        for label in asked["labels"]:
            times[label], shares[label] = measure(runs[label], asked["repeats"], asked["seconds"])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
        _say(channel, state="times", times=times, shares=shares, memory=memory)


def measure(run: Run, repeats: int, seconds: float) -> tuple[list[float], float]:
    """Times of repeated calls, at least one, and the share of the wall clock this process was running
    (with those it started).

    Where a call is short beside ``seconds``, one that is not counted fills the caches of the processor first.
    """
    times: list[float] = []
    gc.collect()
    gc.disable()
    begin, busy = time.perf_counter(), _busy()
    spare = True
    while len(times) < repeats and (not times or time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        result = run()
        taken = time.perf_counter() - start
        if spare and taken < seconds/8:
            spare = False
            continue
        spare = False
        times.append(float(result.get("seconds", taken)))
        del result
    share = (_busy() - busy)/max(time.perf_counter() - begin, 1e-9)
    gc.enable()
    return times, share


def _busy() -> float:
    """Seconds this process and those it started have been running."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _say(channel: TextIO, **answer: Any) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
