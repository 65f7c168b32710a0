"""Runs cases: every peer in a process of its own, on one core, the processes of a case taking turns.

Turns are taken because a machine is not equally fast at all times: what disturbs one peer's turn disturbs its
neighbours' too, and the ratios suffer less than the times.
"""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .harness import Case
from .machine import missing, surroundings

ROUNDS = 3


@dataclass(frozen=True)
class Options:
    """How a run is made.

    Parameters
    ----------
    repeats : int
        The most calls that are timed of each function.
    budget : float
        Seconds of timing for each function; one call at least is always timed.
    core : int, optional
        Where all processes run; None leaves that to the operating system.
    timeout : float
        Seconds after which a process that does not answer is ended.
    peers : sequence of str
        Beginnings of the names of peers that take part; all by default.
    quick : bool
        The tiny sizes.
    """

    repeats: int = 21
    budget: float = 0.6
    core: int | None = None
    timeout: float = 240.0
    peers: Sequence[str] = ()
    quick: bool = False


@dataclass
class Results:
    """What came out: a row for each peer, size and label, and who was left out and why."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)


class Child:
    """One process of ``benchmarks.worker``."""

    def __init__(self, case: Case, size: str, peer: str, reference: Path, options: Options, scratch: Path) -> None:
        scratch.mkdir()
        core = "any" if options.core is None else str(options.core)
        command = [sys.executable, "-m", "benchmarks.worker", case.name, size, peer, str(reference), core]
        self.peer, self.timeout, self.begin = peer, options.timeout, time.perf_counter()
        self._errors = open(scratch / "errors", "w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=surroundings(scratch), start_new_session=True,
        )  # fmt: skip
        self.answers: dict[str, Any] = {}
        self.times: dict[str, list[float]] = {}
        self.shares: dict[str, list[float]] = {}
        self.memory = 0.0

    def answer(self) -> dict[str, Any]:
        """The next line it says, or what became of it."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            self.end()
            return {"state": "failed", "reason": f"ended after {self.timeout:g} s without an answer"}
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:]
        return {"state": "failed", "reason": "the process ended: " + (last[0] if last else "no message")}

    def turn(self, repeats: int, seconds: float, budget: float) -> None:
        """Let it time the functions once more that have not used up their budget."""
        assert self.process.stdin is not None
        labels = [
            label for label, facts in self.answers["labels"].items()
            if "first" in facts and sum(self.times.get(label, ())) < budget
        ]  # fmt: skip
        if not labels:
            return
        try:
            self.process.stdin.write(json.dumps({"repeats": repeats, "seconds": seconds, "labels": labels}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return
        answer = self.answer()
        for label, times in answer.get("times", {}).items():
            self.times.setdefault(label, []).extend(times)
            self.shares.setdefault(label, []).append(answer["shares"][label])
        self.memory = answer.get("memory", self.memory)

    def end(self) -> None:
        """End the process and everything it started."""
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


def run(cases: Sequence[Case], options: Options, say: Callable[[str], None] = print) -> Results:
    """Run cases one after another.

    Parameters
    ----------
    cases : sequence of Case
    options : Options
    say : callable
        Takes each line of progress.

    Returns
    -------
    Results
    """
    results = Results()
    with tempfile.TemporaryDirectory(prefix="benchmarks_") as folder:
        for number, case in enumerate(cases):
            peers = _taking_part(case, options, results, say)
            for place, size in enumerate(case.quick if options.quick else case.sizes):
                scratch = Path(folder) / f"{number}_{place}"
                scratch.mkdir()
                _one_size(case, size, peers, options, results, say, scratch)
    return results


def chosen(name: str, wanted: Sequence[str]) -> bool:
    """Whether a peer was asked for: by its name or the beginning of it."""
    return not wanted or any(name == text or name.startswith((text + " ", text + ",")) for text in wanted)


def _taking_part(case: Case, options: Options, results: Results, say: Callable[[str], None]) -> list[str]:
    names = []
    for name, peer in case.peers.items():
        if not chosen(name, options.peers):
            continue
        lacking = missing(peer.needs)
        if lacking:
            _leave_out(case, "", name, f"{', '.join(lacking)} not installed", results, say)
        else:
            names.append(name)
    return names


def _leave_out(
    case: Case, size: str, peer: str, reason: str, results: Results, say: Callable[[str], None], state: str = "left out"
) -> None:
    results.left_out.append({"case": case.name, "size": size, "peer": peer, "reason": reason, "state": state})
    say(f"{case.name:12} {size:28} {peer}: {state}: {reason}")


def _one_size(
    case: Case, size: str, peers: Sequence[str], options: Options, results: Results, say: Callable[[str], None],
    scratch: Path,
) -> None:  # fmt: skip
    reference = scratch / "reference.npz"
    children: list[Child] = []
    try:
        for place, peer in enumerate(["reference", *peers]):
            sizes = case.peers[peer].sizes if peer != "reference" else None
            if sizes is not None and size.split()[0] not in sizes:
                continue
            child = Child(case, size, peer, reference, options, scratch / str(place))
            children.append(child)
            child.answers = child.answer()
            seconds = time.perf_counter() - child.begin
            if child.answers["state"] != "ready":
                state = "left out" if child.answers["state"] == "unavailable" else "failed"
                _leave_out(case, size, peer, child.answers["reason"], results, say, state)
            if peer == "reference" and child.answers["state"] != "ready":
                return
            if child.answers["state"] != "ready" or peer == "reference":
                child.end()
                children.remove(child)
                continue
            say(f"{case.name:12} {size:28} {peer}: ready after {seconds:.1f} s")
        repeats = min(options.repeats, case.repeats or options.repeats)
        rounds = min(ROUNDS, repeats)
        for number in range(rounds):
            share = (number + 1)*repeats//rounds - number*repeats//rounds
            for child in children:
                child.turn(share, options.budget/rounds, options.budget)
        for child in children:
            _rows(case, size, child, results, say)
    finally:
        for child in children:
            child.end()


def _rows(case: Case, size: str, child: Child, results: Results, say: Callable[[str], None]) -> None:
    for label, facts in child.answers["labels"].items():
        where = case.work(size, label)
        reason = facts.get("unavailable") or facts.get("failed")
        if reason or label not in child.times:
            state = "left out" if "unavailable" in facts else "failed"
            _leave_out(case, where, child.peer, reason or "ended while it was timed", results, say, state)
            continue
        times = sorted(child.times[label])
        row = {
            "case": case.name, "size": size, "label": label, "work": where, "peer": child.peer,
            "median": statistics.median(times), "low": times[0], "high": times[-1], "count": len(times),
            "setup": child.answers["setup"], "first": facts["first"], "errors": facts["errors"],
            "note": facts.get("note", ""),
            "units": facts.get("units"), "share": min(child.shares[label]), "memory": round(child.memory, 1),
        }  # fmt: skip
        results.rows.append(row)
        errors = "  ".join(f"{name} {value:.1e}" for name, value in row["errors"].items())
        say(f"{case.name:12} {where:28} {child.peer:36} {duration(row['median']):>9}  {errors}")


def duration(seconds: float) -> str:
    """Seconds as people write them."""
    units = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
    unit = next((name for name, factor in units.items() if seconds*factor >= 1.0), "ns")
    value = seconds*units[unit]
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
