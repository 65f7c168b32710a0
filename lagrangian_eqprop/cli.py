"""The command line: lagrangian-eqprop systems | simulate | demo | check | cache.

Nothing that is typed there is evaluated: names are looked up in lists, values are read by ``float``. A case of the
user's own is named FILE.py:NAME, and that file is imported as any module is.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .errors import ConvergenceError, invalid

OUTPUT = Path("lagrangian_eqprop_output")
SOURCES = "a name listed by 'systems', or FILE.py:NAME for an object of your own with .system, .start and .grid"

EXAMPLES = """examples:
  lagrangian-eqprop systems                              what there is to try
  lagrangian-eqprop simulate kepler                      run it, and draw it to lagrangian_eqprop_output/kepler.png
  lagrangian-eqprop simulate pendulum --set l=2          with a rod of twice the length
  lagrangian-eqprop simulate model.py:case --steps 500   a case of your own, from the file model.py
  lagrangian-eqprop check duffing                        all gradients of one problem side by side
  lagrangian-eqprop demo                                 the demos; 'demo digits' runs one

The first run of a system compiles it, which takes some seconds; later runs find the result in a cache.
"""

SIMULATE = """examples:
  lagrangian-eqprop simulate henon_heiles --duration 200
  lagrangian-eqprop simulate fput --set a=0.5 --set b=0 --output chain.pdf --save chain.npz
  lagrangian-eqprop simulate model.py:case

model.py then holds, for example:

  import sympy as sp
  from types import SimpleNamespace
  import lagrangian_eqprop as lep
  q, k = sp.Function("q")(sp.Symbol("t")), sp.Symbol("k")
  case = SimpleNamespace(
      system=lep.System(q.diff()**2/2 - k*q**2/2, [q], parameters={k: 1.0}),
      start=lep.Initial(q=[1.0], v=[0.0]), grid=lep.Grid(1000, step=0.02))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 if a check did not pass; 2 for an error, told in one line; 130 if interrupted.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            status = chosen.run(chosen)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader, such as head, has seen enough; what is left must not be flushed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (ValueError, OSError, ConvergenceError) as error:
            if chosen.traceback:
                raise
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            return 2


def _show_warning(message: Warning | str, *_: Any) -> None:
    print("warning:", " ".join(str(message).split()), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="after an error, show where it came from")
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="lagrangian-eqprop",
        description="Mechanical systems given by a Lagrangian: trajectories by variational integrators, and gradients\n"
        "by equilibrium propagation.",
        epilog=EXAMPLES,
        formatter_class=plain,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Any, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        description = text[0].upper() + text[1:] + "."
        added = commands.add_parser(
            name, help=text, description=description, epilog=epilog, formatter_class=plain, parents=[common]
        )
        added.set_defaults(run=run)
        return added

    command("systems", _systems, "list the systems of the zoo")

    simulate = command("simulate", _simulate, "compute and draw the trajectory of a system", SIMULATE)
    simulate.add_argument("name", metavar="NAME", help=SOURCES)
    simulate.add_argument("--steps", type=int, help="number of steps; without --duration the time span stays")
    simulate.add_argument("--duration", type=float, help="time span; without --steps the step stays")
    simulate.add_argument("--method", help="verlet, midpoint or gauss; by default Verlet where it fits")
    simulate.add_argument(
        "--order", type=int, help="of verlet and midpoint: 2 by default; 4, 6 or 8 by symmetric composition"
    )
    simulate.add_argument(
        "--set", action="append", default=[], metavar="PARAMETER=NUMBER", dest="settings",
        help="another value of a parameter, of all its entries if it is an array; may be repeated",
    )  # fmt: skip
    simulate.add_argument("--output", type=Path, metavar="FILE", help=f"the figure, by default {OUTPUT}/NAME.png")
    simulate.add_argument("--save", type=Path, metavar="FILE.npz", help="write t, q, p, v and energy there too")

    demo = command("demo", _demo, "run a demo, or list them")
    demo.add_argument("name", metavar="NAME", nargs="?", help="which; without it they are listed")
    demo.add_argument("--output", type=Path, metavar="DIR", help=f"folder of the results, by default {OUTPUT}/NAME")
    demo.add_argument("--seeds", type=int, metavar="N", help="repeat with N random seeds, where the demo can")
    demo.add_argument("--short", action="store_true", help="a small version that shows that it works")
    demo.add_argument("--model", metavar="NAME", help="which of its systems, where the demo has several")
    demo.add_argument("--hidden", type=int, metavar="N", help="its hidden units, where the demo has a choice")
    demo.add_argument("--data", type=Path, metavar="FILE", help="the data, where the demo reads some")

    check = command("check", _check, "compute the gradients of a problem by all estimators, and compare them")
    check.add_argument("name", metavar="NAME", help=f"{SOURCES}, and .cost; or 'all' for the whole zoo")
    check.add_argument("--ends", action="store_true", help="the two-point problem instead of the initial-value problem")

    cache = command("cache", _cache, "show the folder of compiled systems")
    cache.add_argument("--clear", action="store_true", help="remove what is in it; it is compiled anew when needed")
    return parser


# ---------------------------------------------------------------------- commands
def _systems(_: argparse.Namespace) -> int:
    from . import systems

    cases = [systems.get(name) for name in systems.names()]
    width = max(len(case.name) for case in cases)
    title = max(len(case.title) for case in cases)
    print(f"{'name':{width}}  {'title':{title}}  {'coordinates':>11}  {'steps':>5}")
    for case in cases:
        print(f"{case.name:{width}}  {case.title:{title}}  {case.system.size:11}  {case.grid.steps:5}")
    print("\nequilibria, for the Python interface:")
    for static in [systems.get(name) for name in systems.equilibria()]:
        print(f"{static.name:{width}}  {static.title:{title}}  {static.system.size:11}")
    return 0


def _simulate(chosen: argparse.Namespace) -> int:
    import numpy as np

    from .methods import choose
    from .plotting import plot_trajectory

    case, name = load(chosen.name)
    grid = _grid(case.grid, chosen.steps, chosen.duration)
    values = _settings(case.system, chosen.settings)
    method = choose(case.system, chosen.method, chosen.order)
    figure = chosen.output or OUTPUT / f"{name}.png"
    title = getattr(case, "title", name)
    print(title)
    if hasattr(case, "formula"):
        print(case.formula)
    stop = grid.start + grid.duration
    named = f"{method.base} of order {method.order}" if method.base else method.public
    print(f"{grid.steps} steps of {grid.step:.6g} from t = {grid.start:.6g} to {stop:.6g}, method {named}", flush=True)
    inputs = getattr(case, "inputs", {})
    path = case.system.trajectory(
        case.start, grid, inputs=inputs, parameters=values, method=chosen.method, order=chosen.order,
        progress=sys.stderr.isatty(),
    )
    _report(case, path)
    figure.parent.mkdir(parents=True, exist_ok=True)
    labels, invariants = getattr(case, "labels", None), getattr(case, "invariants", None)
    plot_trajectory(path, labels, invariants, figure, title=title, time_label=getattr(case, "time_label", "$t$"))
    print(f"figure: {figure}")
    if chosen.save is not None:
        file = chosen.save if chosen.save.suffix == ".npz" else chosen.save.with_name(chosen.save.name + ".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, t=path.t, q=path.q, p=path.p, v=path.v, energy=path.energy)
        print(f"trajectory: {file}")
    return 0


def _report(case: Any, path: Any) -> None:
    """What should be conserved, and how well it was."""
    import numpy as np

    from .plotting import relative_change

    invariants = getattr(case, "invariants", None)
    if invariants is None:
        invariants = {} if case.system.inputs else {"energy": lambda path: path.energy}
    shown = {"energy": lambda path: path.energy, **invariants}
    for name, function in shown.items():
        change, scale = relative_change(function(path))
        note = " (conserved exactly by the method)" if name in getattr(case, "exact", ()) else ""
        note = note if name in invariants else " (not conserved by this system)"
        print(f"{name}: size {np.max(scale):.6g}, largest relative change {np.nanmax(np.abs(change)):.1e}{note}")


def _demo(chosen: argparse.Namespace) -> int:
    import importlib
    import inspect
    import textwrap

    from .errors import unknown

    known = _demos()
    if chosen.name is None:
        width = max(map(len, known), default=0)
        for name, text in known.items():
            print(f"{name:{width}}  {text.strip().splitlines()[0] if text.strip() else ''}")
        print("\nlagrangian-eqprop demo NAME runs one of them." if known else "no demos are installed")
        return 0
    if chosen.name not in known:
        raise unknown("name of a demo", chosen.name, known or ["none that is installed"])
    print(textwrap.fill(" ".join(known[chosen.name].strip().split("\n\n")[0].split()), 100), end="\n\n", flush=True)
    run = importlib.import_module(f".demos.{chosen.name}", __package__).run
    options = {}
    taken = inspect.signature(run).parameters
    for option in ("model", "hidden", "data"):
        if getattr(chosen, option) is not None:
            if option not in taken:
                raise invalid(f"--{option}", "left out: this demo has none", getattr(chosen, option))
            options[option] = getattr(chosen, option)
    if chosen.seeds is not None:
        if chosen.seeds < 1:
            raise invalid("--seeds", "at least 1", chosen.seeds)
        if "seeds" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            raise invalid("--seeds", "left out: this demo has no random seeds", chosen.seeds)
        options["seeds"] = chosen.seeds
    output = chosen.output or OUTPUT / chosen.name
    output.mkdir(parents=True, exist_ok=True)
    run(output, short=chosen.short, **options)
    print(f"results: {output}")
    return 0


def _demos() -> dict[str, str]:
    """Names and docstrings of the demos; read, not imported, as a demo may need what is not installed."""
    import ast
    import pkgutil

    from . import demos

    found = {}
    for entry in sorted(pkgutil.iter_modules(demos.__path__), key=lambda entry: entry.name):
        spec = entry.module_finder.find_spec(entry.name)  # type: ignore[call-arg]
        if entry.name.startswith("_") or spec is None or not spec.origin:
            continue
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for node in tree.body:  # a demo of several files imports its run
            if isinstance(node, ast.ImportFrom):
                defined |= {alias.asname or alias.name for alias in node.names}
        if "run" in defined:
            found[entry.name] = ast.get_docstring(tree) or ""
    return found


def _check(chosen: argparse.Namespace) -> int:
    from . import systems

    names = systems.names() if chosen.name == "all" else [chosen.name]
    failed = []
    for name in names:
        case, _ = load(name, "system", "ends" if chosen.ends else "start", "grid", "cost")
        boundary = case.ends if chosen.ends else case.start
        values = {key: getattr(case, key, {}) for key in ("targets", "inputs")}
        report = case.system.check(boundary, case.grid, case.cost, **values)
        print(report, flush=True)
        if not report.passed:
            failed.append(name)
    if len(names) > 1:
        lost = f"; not: {', '.join(failed)}" if failed else ""
        print(f"{len(names) - len(failed)} of {len(names)} systems passed{lost}")
    return 1 if failed else 0


def _cache(chosen: argparse.Namespace) -> int:
    from .compiler import cache

    if chosen.clear:
        print(f"{cache.clear()} files removed from {cache.folder()}")
        return 0
    files = cache.contents()
    size = sum(file.stat().st_size for file in files)
    print(f"folder: {cache.folder()}\nfiles: {len(files)}\nsize: {size/1e6:.1f} MB")
    return 0


# ---------------------------------------------------------------------- arguments
def load(source: str, *needed: str) -> tuple[Any, str]:
    """A case and its short name, from the zoo or from a file of the user's.

    Parameters
    ----------
    source : str
        A name in the zoo, or FILE.py:NAME.
    needed : str
        Attributes that the object must have; by default ``system``, ``start`` and ``grid``.

    Raises
    ------
    ValueError
        If it is not in the zoo; or the file is missing, cannot be imported or has no such object; or the
        object lacks something.
    """
    file, colon, name = source.rpartition(":")
    if not colon or not file.endswith(".py"):
        from . import systems

        if source.endswith(".py"):
            raise invalid("NAME", "FILE.py:NAME, with the name of an object in the file", repr(source))
        case = systems.get(source)
        if not hasattr(case, "grid"):
            raise invalid("NAME", "a system that moves", f"{source!r}, an energy whose points of rest are meant")
        return case, source
    if not name.isidentifier():
        raise invalid("NAME in FILE.py:NAME", "the name of an object in the file", repr(name))
    module = _module(Path(file))
    if not hasattr(module, name):
        raise invalid("NAME in FILE.py:NAME", f"an object in {file}", repr(name))
    case = getattr(module, name)
    from .system import System

    needed = needed or ("system", "start", "grid")
    missing = [key for key in needed if not hasattr(case, key)]
    if missing or not isinstance(case.system, System):
        attributes = ", ".join(f".{key}" for key in needed)
        must = f"an object with {attributes}, such as a types.SimpleNamespace, whose .system is a lep.System"
        lack = f"without .{', .'.join(missing)}" if missing else "with another .system"
        raise invalid(source, must, f"an object of type {type(case).__name__} {lack}")
    return case, name


def _module(file: Path) -> Any:
    """Import a file of the user's own; modules beside it can be imported by it, as when it is run."""
    import importlib.util

    if not file.is_file():
        raise invalid("FILE in FILE.py:NAME", "an existing file", repr(str(file)))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise invalid(str(file), "a module that can be imported", f"{type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def _grid(default: Any, steps: int | None, duration: float | None) -> Any:
    from .grid import Grid

    if steps is None and duration is None:
        return default
    if duration is None:
        return Grid(steps or 0, duration=default.duration, start=default.start)
    if steps is None:
        if not 0 < duration < float("inf"):
            raise invalid("--duration", "a positive finite number", duration)
        steps = max(1, round(duration/default.step))
    return Grid(steps, duration=duration, start=default.start)


def _settings(system: Any, settings: Sequence[str]) -> dict[Any, Any]:
    """The values of --set PARAMETER=NUMBER, each spread over all entries of its parameter."""
    import numpy as np

    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        try:
            number = float(text)
        except ValueError:
            equals = ""
        if not equals:
            raise invalid("--set", "PARAMETER=NUMBER, such as k=1.2", repr(setting))
        symbol = system.parameter(name.strip())
        values[symbol] = np.full(system.parameters[symbol].shape, number)
    return values
