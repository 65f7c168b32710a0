"""What came out of a run, as JSON and as markdown: times, ratios, errors, and where the library loses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .harness import PROJECT, Case
from .runner import Results, duration

YARDSTICK = "yardstick"
EQUAL_ERROR = 10.0  # errors within this factor count as equal,
ROUNDING = 1e-12  # and so do all below this

Row = Mapping[str, Any]


def write_json(path: Path, results: Results, about: Mapping[str, Any]) -> None:
    """Everything, with what is known of the machine and the run."""
    path.write_text(json.dumps({**about, "rows": results.rows, "left_out": results.left_out}, indent=1) + "\n")


def write_markdown(path: Path, cases: Sequence[Case], results: Results, about: Mapping[str, Any]) -> None:
    """A table for each case, then what was left out and where the library loses."""
    lines = ["# Benchmarks", "", *_head(results, about)]
    for case in cases:
        rows = [row for row in results.rows if row["case"] == case.name]
        if rows:
            lines += ["", f"## {case.title}", "", case.statement, "", *table(rows)]
    lines += ["", "## Where the library loses", "", *losses(results.rows)]
    if results.left_out:
        lines += ["", "## Left out", "", *_left_out(results.left_out)]
    path.write_text("\n".join(lines) + "\n")


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of the same work."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["case"], row["size"], row["label"]), []).append(row)
    return list(found.values())


def base(group: Iterable[Row]) -> Row | None:
    """What ratios are taken to: the library's first row."""
    return next((row for row in group if row["peer"].startswith(PROJECT)), None)


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: a line for each row, a column for each kind of error."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["errors"]))
    units = any(row["units"] for row in rows)
    notes = any(row["note"] for row in rows)
    names = ["work", "by", "median", "ratio", "range", "first result", *kinds, *["per unit"]*units, *["remark"]*notes]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|"*len(names)]
    for group in groups(rows):
        first = base(group)
        for place, row in enumerate(group):
            ratio = f"{row['median']/first['median']:.3g}" if first else ""
            cells = [
                row["work"] if place == 0 else "", row["peer"], duration(row["median"]), ratio,
                f"{duration(row['low'])} to {duration(row['high'])}, {row['count']}",
                duration(row["setup"] + row["first"]),
                *(f"{row['errors'][kind]:.1e}" if kind in row["errors"] else "" for kind in kinds),
                *([f"{duration(row['median']/row['units'])}" if row["units"] else ""]*units), *[row["note"]]*notes,
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def losses(rows: Iterable[Row]) -> list[str]:
    """A line for each piece of work with the peers for which nothing of the library is both as fast and as accurate."""
    lines = []
    for group in groups(rows):
        mine = [row for row in group if row["peer"].startswith(PROJECT)]
        if not mine:
            continue
        others = [row for row in group if not row["peer"].startswith((PROJECT, YARDSTICK))]
        ahead = [
            row for row in others if not any(one["median"] <= row["median"] and _as_accurate(one, row) for one in mine)
        ]
        fastest = min(one["median"] for one in mine)
        faster = [_said(row) for row in ahead if row["median"] < fastest]
        closer = [_said(row) for row in ahead if row["median"] >= fastest]
        words = ["; ".join(_said(one) for one in mine)]
        words += ["faster: " + "; ".join(faster)]*bool(faster) + ["more accurate: " + "; ".join(closer)]*bool(closer)
        if ahead:
            lines.append(f"- {group[0]['case']}, {group[0]['work']}: " + ". ".join(words))
    head = (
        "Each peer for which no row of the library is both as fast and as accurate (errors within a factor of "
        f"{EQUAL_ERROR:.0f}, or all below {ROUNDING:.0e}, count as equal)."
    )
    return [head, "", *lines] if lines else ["Nowhere in this run."]


def _as_accurate(one: Row, other: Row) -> bool:
    mine, theirs = (max(row["errors"].get("error", 0.0), ROUNDING) for row in (one, other))
    return mine <= EQUAL_ERROR*theirs


def _said(row: Row) -> str:
    error = row["errors"].get("error")
    return f"{row['peer']} {duration(row['median'])}" + ("" if error is None else f" (error {error:.0e})")


def _head(results: Results, about: Mapping[str, Any]) -> list[str]:
    options = about["options"]
    facts = "; ".join(f"{name} {value}" for name, value in about["machine"].items())
    where = "not pinned" if options["core"] is None else f"on core {options['core']}"
    tiny = ", with tiny sizes: the figures mean nothing" if options["quick"] else ""
    lines = [
        f"Made on {about['date']} in {about['seconds']:.0f} s{tiny}.",
        "",
        f"{facts}.",
        "",
        f"Every peer has a process of its own ({where}, one thread), and the processes of a case take turns. Times",
        f"are medians of at most {options['repeats']} calls or {options['budget']:g} s, with their range and number.",
        "Until the first result there are imports, compilers and the first call. The ratio is the time divided by that",
        "of the library's first row for the same work: below 1 is faster than the library. Only ratios within one run",
        "mean anything.",
    ]
    disturbed = sum(row["share"] < 0.9 for row in results.rows)
    if disturbed:
        lines += ["", f"In {disturbed} of {len(results.rows)} rows others had more than a tenth of the core: too long."]
    return lines


def _left_out(entries: Iterable[Mapping[str, str]]) -> list[str]:
    lines = []
    for entry in entries:
        words = ", ".join(entry[key] for key in ("case", "size", "peer") if entry[key])
        lines.append(f"- {words}: {entry['state']}, {entry['reason']}")
    return lines
