"""The training loop: mini-batches, gradients by equilibrium propagation, an optimiser."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from ..boundary import Boundary, Ends, Equilibrium, Initial, Periodic
from ..eqprop.estimators import Echo, Estimator, Exact
from ..eqprop.gradient import check_choices, check_kind, check_on_failure, check_static, cost_list, gradient
from ..eqprop.result import Gradient
from ..errors import ConvergenceError, invalid
from ..grid import Grid
from ..progress import bar
from ..solvers.failures import all_finite
from ..symbols.definition import Definition, lookup
from .checkpoint import Checkpoint, State, describe
from .dataset import Dataset, validator
from .history import History
from .optimisers import SGD, Adam, Optimiser


def fit(
    system: Definition, boundary: Boundary | Equilibrium, grid: Grid | None = None, cost: Any = None, *,
    targets: Mapping[Any, Any] | None = None, inputs: Mapping[Any, Any] | None = None,
    parameters: Mapping[Any, Any] | None = None, epochs: int = 30, batch: int | None = 64,
    optimiser: Optimiser | None = None, estimator: Estimator | None = None,
    train: Sequence[Any] | None = None, seed: int = 0, progress: bool = True,
    validation: Callable[[dict[sp.Symbol, np.ndarray]], Any] | Mapping[str, Any] | None = None,
    method: str | None = None, compiled: bool = True, stability: str = "check", on_failure: str = "raise",
    order: int | None = None, dtype: Any = float, limits: Mapping[Any, Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None, every: int | None = None,
) -> History:  # fmt: skip
    """Train parameters of a system, and of its costs, on a data set.

    Every epoch passes all samples once, in an order drawn anew, in mini-batches; each gives one gradient and one
    step of the optimiser. The same arguments and seed give the same parameters bit for bit.

    Parameters
    ----------
    system, boundary, grid, cost, targets, inputs, parameters, estimator, method, compiled, order
        As for :meth:`lagrangian_eqprop.System.gradient`. The batch axis of boundary, inputs and targets is the
        data set; what has none is the same for all samples. Without any batch axis there is one sample, and one
        step an epoch. ``parameters`` are the values to begin with.
    epochs : int
        Passes over the data set.
    batch : int or None
        Samples a step; the last mini-batch of an epoch may be smaller. None takes all.
    optimiser : Optimiser
        :class:`~lagrangian_eqprop.Adam` with rate 1e-3 by default, or :class:`~lagrangian_eqprop.SGD`.
    train : sequence of Symbol or str, optional
        What is trained; by default all parameters of the system and the costs.
    seed : int
        For the order of the samples.
    progress : bool
        Show a bar with the loss.
    validation : callable or mapping, optional
        Called with the parameters after every epoch, returning a number or an array of numbers; or the arguments
        ``boundary``, ``targets``, ``inputs`` of another data set whose mean loss is taken. Nothing is selected by it.
    stability : "check" or "ignore"
        Whether Verlet checks its step, here with the first mini-batch of every epoch, since training moves the
        frequencies.
    dtype : "float64" or "float32"
        As for :meth:`lagrangian_eqprop.System.gradient`; at an equilibrium the parameters are trained in it, too.
    limits : mapping of Symbol or str to (lower, upper), optional
        What parameters are brought back to after every step, None for no limit: conductances of at least 0.
    on_failure : "raise" or "return"
        With "return" a sample without a trajectory is left out of its step; a mini-batch of them alone raises.
    checkpoint : path-like, optional
        A file that keeps the training. Where it does not exist yet, the training begins; where it does, it goes on
        from there, and ends with the parameters of a training that was never ended, bit for bit (on the same machine
        with the same versions of libraries). All other arguments must be those the file was written with, except
        ``epochs``, ``progress`` and ``every``: more epochs prolong a training. Functions of time are compared at the
        nodes of the grid, schedules by their first rate, an optimiser of one's own by its fields if it is a
        dataclass; other functions are not compared. To begin anew, remove the file.
    every : int, optional
        Steps from one writing of the checkpoint to the next; by default those of an epoch. The end of the training
        and Ctrl-C are written, too. The file is replaced whole or not at all.

    Returns
    -------
    History
        Also after Ctrl-C: then ``interrupted`` is True, and the parameters are those of the last finished step.

    Raises
    ------
    ConvergenceError
        Naming epoch and mini-batch, if no trajectory is found or the loss or the gradient is not finite. Its attribute
        ``history`` keeps what was reached before.
    ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np, sympy as sp
    >>> from sympy.physics.mechanics import dynamicsymbols
    >>> import lagrangian_eqprop as lep
    >>> q, (k, y) = dynamicsymbols("q"), sp.symbols("k y")
    >>> spring = lep.System(q.diff()**2/2 - k*q**2/2, coordinates=[q], parameters={k: 0.8})
    >>> grid, start = lep.Grid(50, step=0.1), lep.Initial(q=[1.0], v=[0.0])
    >>> seen = spring.trajectory(start, grid, parameters={k: 1.0}).q[:, 0]
    >>> cost = lep.Cost((q - y)**2/2, targets=[y])
    >>> history = spring.fit(start, grid, cost, targets={y: seen}, optimiser=lep.SGD(0.1), progress=False)
    >>> abs(float(history[k]) - 1.0) < 1e-3
    True
    """
    optimiser = Adam() if optimiser is None else optimiser
    estimator = Exact() if estimator is None else estimator
    if isinstance(estimator, Echo):  # new noise in every step, the same in every fit
        if checkpoint is not None:
            raise invalid("estimator", "other than Echo with a checkpoint, which does not keep its noise", "Echo")
        estimator = replace(estimator, seed=np.random.default_rng(estimator.seed))
    # a look at the classes first: protocols are slow to ask
    if not isinstance(optimiser, (Adam, SGD)) and (
        not isinstance(optimiser, Optimiser) or isinstance(optimiser, type)
    ):  # fmt: skip
        raise invalid("optimiser", "lep.SGD(...), lep.Adam(...) or an object with start and step", repr(optimiser))
    _check_count("epochs", epochs)
    if batch is not None:
        _check_count("batch", batch)
    if every is not None:
        _check_count("every", every)
        if checkpoint is None:
            raise invalid("every", "given with checkpoint alone", repr(every))
    if not (callable(validation) or validation is None or isinstance(validation, Mapping)):
        raise invalid("validation", "a function of the parameters or a mapping", type(validation).__name__)
    check_kind(estimator)
    check_on_failure(on_failure)
    check_choices(None, dtype, None)
    if not isinstance(boundary, (Initial, Ends, Periodic, Equilibrium)):
        raise invalid("boundary", "lep.Initial, lep.Ends, lep.Periodic or lep.Equilibrium", type(boundary).__name__)
    static = isinstance(boundary, Equilibrium)
    if static:
        check_static(grid, method=method, order=order)
    options: dict[str, Any] = {"compiled": compiled}
    options |= {"dtype": dtype} if static else {"method": method, "order": order}
    data = Dataset(system, boundary, grid, cost, targets=targets, inputs=inputs, parameters=parameters, **options)
    trained = _trained(data, train)
    walls = _limits(data, limits)
    judge = validator(validation, system, boundary, grid, cost, data.values, batch, options)
    rng = np.random.default_rng(seed)
    size = min(batch or data.size, data.size)
    many = -(-data.size//size)

    kind = np.dtype(dtype) if static else np.dtype(float)
    values = {symbol: np.array(value, kind, order="C") for symbol, value in data.values.items()}
    keeper, begun = None, None
    if checkpoint is not None:
        begun = rng.bit_generator.state
        keeper = Checkpoint(checkpoint, every, describe(
            system, cost_list(cost), optimiser, None if grid is None else grid.t, boundary=boundary, grid=grid,
            targets=targets, inputs=inputs, parameters=data.values, batch=size, train=trained, limits=walls, seed=seed,
            estimator=estimator, stability=stability, on_failure=on_failure, method=method, compiled=compiled,
            dtype=str(np.dtype(dtype)), validation="a function" if callable(validation) else validation,
        ))  # fmt: skip
    now = State(values, optimiser.start({symbol: values[symbol] for symbol in trained}), begun)
    if keeper is not None and checkpoint is not None:
        kept = keeper.read(values)
        if kept is None:
            keeper.write(now)  # a folder that cannot be written is told before the work, not after it
        else:
            now = kept
        if now.epoch*many + now.step > epochs*many:
            came = f"{epochs}; {os.fspath(checkpoint)!r} is further"
            raise invalid("epochs", f"at least {now.epoch + (now.step > 0)}, those of the checkpoint", came)
        rng.bit_generator.state = now.random

    every_one = trained == list(values)

    def slopes(samples: np.ndarray, first: bool) -> tuple[Gradient, Mapping[sp.Symbol, np.ndarray]]:
        if static:
            result = data.gradient_at_rest(now.values, samples, estimator, on_failure)
        else:
            part = data.take(samples)
            result = gradient(
                system, part.pop("boundary"), grid, cost, estimator=estimator, on_failure=on_failure, dtype=dtype,
                parameters=data.take_parameters(now.values, samples), stability=stability if first else "ignore",
                **part, **options,
            )  # fmt: skip
        found = result.parameters if every_one else {symbol: result.parameters[symbol] for symbol in trained}
        _check_finite(result.loss, found)
        return result, found

    def step(found: Mapping[sp.Symbol, np.ndarray]) -> tuple[Any, dict[sp.Symbol, np.ndarray]]:
        values = dict(now.values) if every_one else {symbol: now.values[symbol] for symbol in trained}
        state, moved = optimiser.step(now.optimiser, values, found)
        if walls:
            moved = {s: np.clip(v, *walls[s]) if s in walls else v for s, v in moved.items()}
        # one layout, that of a file: sums over other layouts differ in their last bits
        return state, {**now.values, **{s: np.asarray(v, order="C")[()] for s, v in moved.items()}}

    def history(message: str, interrupted: bool = False) -> History:
        loss, judged, seconds = zip(*now.finished, strict=True) if now.finished else ((), (), ())
        done = None if judge is None else np.array(judged, float)
        return History(np.array(loss, float), now.values, done, np.array(seconds, float), interrupted, message)

    where, resumed = "", now.epoch + now.step > 0
    try:
        with bar(progress, epochs*many, "steps") as ticks:
            if ticks is not None:
                ticks.update(now.epoch*many + now.step)
            for epoch in range(now.epoch, epochs):
                begin = time.perf_counter() - now.spent
                shuffled = rng.permutation(data.size)
                for number in range(now.step, many):
                    where = f"in epoch {epoch + 1} of {epochs}, mini-batch {number + 1} of {many}"
                    try:
                        result, found = slopes(shuffled[number*size : (number + 1)*size], number == 0)
                    except (ConvergenceError, ValueError) as error:
                        if isinstance(error, ValueError) and epoch == number == 0 and not resumed:
                            raise  # an argument does not fit: training has not begun
                        failure = ConvergenceError(f"training failed {where}: {error}; a smaller rate may help")
                        failure.history = history(f"failed {where}")  # type: ignore[attr-defined]
                        raise failure from error
                    state, values = step(found)
                    good = int(np.count_nonzero(np.isfinite(result.losses)))
                    now = State(
                        values, state, now.random, epoch, number + 1, now.total + result.loss*good, now.count + good,
                        time.perf_counter() - begin, now.finished,
                    )  # fmt: skip
                    if ticks is not None:
                        text = _postfix(epoch, epochs, now.total/now.count, now.finished)
                        ticks.set_postfix_str(text, refresh=False)
                        ticks.update()
                    if keeper is not None and now.step < many and keeper.due(now, many):
                        keeper.write(now)
                verdict = None if judge is None else np.asarray(judge(dict(now.values)), float)
                ended = (now.total/now.count, verdict, time.perf_counter() - begin)
                begun = None if keeper is None else rng.bit_generator.state
                now = State(now.values, now.optimiser, begun, epoch + 1, finished=(*now.finished, ended))
                if keeper is not None and (now.epoch == epochs or keeper.due(now, many)):
                    keeper.write(now)
    except KeyboardInterrupt:
        if progress:
            print(f"interrupted {where}; what was reached is returned", file=sys.stderr)
        if keeper is not None:
            keeper.write(now)
        return history(f"interrupted {where}; the parameters are those of the last finished step", interrupted=True)
    return history(f"finished {epochs} epochs of {many} steps")


def _postfix(epoch: int, epochs: int, loss: float, finished: Sequence[tuple[float, Any, float]]) -> str:
    judged = finished[-1][1] if finished else None
    seen = "" if judged is None else f", validation {np.array2string(np.asarray(judged, float), precision=4)}"
    return f"epoch {epoch + 1}/{epochs}, loss {loss:.4g}{seen}"


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise invalid(name, "a positive integer", repr(value))


def _trained(data: Dataset, train: Sequence[Any] | None) -> list[sp.Symbol]:
    if isinstance(train, (str, sp.Symbol)):
        raise invalid("train", "a list of Symbols or names", repr(train))
    chosen = list(data.values) if train is None else [lookup(key, data.values, "train") for key in train]
    if not chosen or len(set(chosen)) != len(chosen):
        raise invalid("train", "at least one parameter, each once", repr(train))
    for symbol in chosen:
        if symbol in data.batched_parameters:
            came = f"shape {data.values[symbol].shape}"
            raise invalid(f"parameters[{symbol.name}]", "without a batch axis to be trained", came)
    return chosen


def _limits(data: Dataset, limits: Mapping[Any, Any] | None) -> dict[sp.Symbol, tuple[float, float]]:
    """The limits of parameters by Symbol."""
    if limits is not None and not isinstance(limits, Mapping):
        raise invalid("limits", "a mapping of Symbols or names to (lower, upper)", type(limits).__name__)
    found = {}
    for key, pair in (limits or {}).items():
        symbol = lookup(key, data.values, "limits")
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise invalid(f"limits[{symbol.name}]", "a pair (lower, upper), None for no limit", repr(pair))
        low, high = (nothing if x is None else x for x, nothing in zip(pair, (-np.inf, np.inf), strict=True))
        real = all(isinstance(x, (int, float, np.integer, np.floating)) for x in (low, high))
        if not real or not low < high:
            raise invalid(f"limits[{symbol.name}]", "numbers or None, the lower below the upper", repr(pair))
        found[symbol] = (float(low), float(high))
    return found


def _check_finite(loss: float, slopes: Mapping[sp.Symbol, np.ndarray]) -> None:
    if not math.isfinite(loss):
        raise ConvergenceError(f"the loss is {loss}")
    for symbol, slope in slopes.items():
        if not all_finite(slope):
            raise ConvergenceError(f"the gradient of {symbol.name} is not finite")
