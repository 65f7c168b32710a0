"""Optimisers: settings that never change and a state that is handed on, so one object serves several trainings.

An optimiser is anything with ``start(parameters) -> state`` and ``step(state, parameters, gradients) -> (state,
parameters)``, where parameters and gradients are dictionaries of arrays and nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import invalid

Rate = float | Callable[[int], float] | Mapping[Any, Any]
Arrays = Mapping[Any, np.ndarray]


@runtime_checkable
class Optimiser(Protocol):
    """What :func:`~lagrangian_eqprop.learning.fit.fit` asks of an optimiser."""

    def start(self, parameters: Arrays) -> Any:
        """The state before the first step."""

    def step(self, state: Any, parameters: Arrays, gradients: Arrays) -> tuple[Any, dict[Any, np.ndarray]]:
        """The next state and the next parameters."""


@dataclass(frozen=True)
class SGD:
    """Gradient descent, with momentum if asked for.

        u_n = momentum u_{n-1} + g_n,   theta_{n+1} = theta_n - rate u_n,   u_{-1} = 0

    Parameters
    ----------
    rate : float, callable or mapping
        Step size, or a function of the number of the step (0, 1, ...); or one of these for every trained Symbol.
    momentum : float
        Between 0 and 1, 1 excluded (Polyak 1964).

    Examples
    --------
    >>> import numpy as np
    >>> import lagrangian_eqprop as lep
    >>> descent = lep.SGD(0.5)
    >>> state = descent.start({"k": np.array(1.0)})
    >>> state, values = descent.step(state, {"k": np.array(1.0)}, {"k": np.array(0.2)})
    >>> float(values["k"])
    0.9
    """

    rate: Rate
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        _check_share("momentum", self.momentum)

    def start(self, parameters: Arrays) -> tuple[int, dict[Any, np.ndarray]]:
        """Step 0 and no velocity."""
        return 0, _zeros(parameters)

    def step(
        self, state: tuple[int, Arrays], parameters: Arrays, gradients: Arrays
    ) -> tuple[tuple[int, dict[Any, np.ndarray]], dict[Any, np.ndarray]]:
        """One step of descent; the equations above."""
        number, velocity = state
        kept, moved = {}, {}
        for key, value in parameters.items():
            change = self.momentum*velocity[key] + gradients[key] if self.momentum else gradients[key]
            kept[key], moved[key] = change, value - _rate(self.rate, number, key)*change
        return (number + 1, kept), moved


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

        m_n = b1 m_{n-1} + (1 - b1) g_n,   s_n = b2 s_{n-1} + (1 - b2) g_n^2
        theta_{n+1} = theta_n - rate [m_n/(1 - b1^(n+1))] / (sqrt(s_n/(1 - b2^(n+1))) + eps)

    Parameters
    ----------
    rate : float, callable or mapping
        Step size in units of the parameters, or a function of the number of the step (0, 1, ...); or one of these for
        every trained Symbol.
    b1, b2 : float
        Memory of the mean of the gradient and of its square, from 0 to 1, 1 excluded.
    eps : float
        Keeps the division finite; positive.
    """

    rate: Rate = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        _check_share("b1", self.b1)
        _check_share("b2", self.b2)
        if not _real(self.eps) or not 0 < self.eps < np.inf:
            raise invalid("eps", "a positive number", repr(self.eps))

    def start(self, parameters: Arrays) -> tuple[int, dict[Any, np.ndarray], dict[Any, np.ndarray]]:
        """Step 0 and both means at zero."""
        return 0, _zeros(parameters), _zeros(parameters)

    def step(
        self, state: tuple[int, Arrays, Arrays], parameters: Arrays, gradients: Arrays
    ) -> tuple[tuple[int, dict[Any, np.ndarray], dict[Any, np.ndarray]], dict[Any, np.ndarray]]:
        """One step of Adam; the equations above."""
        number, mean, square = state
        rate = {key: _rate(self.rate, number, key) for key in parameters}
        mean = {key: self.b1*mean[key] + (1 - self.b1)*gradients[key] for key in parameters}
        square = {key: self.b2*square[key] + (1 - self.b2)*gradients[key]**2 for key in parameters}
        # Both means began at zero; dividing by the weight they have gathered takes that bias away.
        grown, grown_square = 1 - self.b1**(number + 1), 1 - self.b2**(number + 1)
        moved = {
            key: value - rate[key]*(mean[key]/grown)/(np.sqrt(square[key]/grown_square) + self.eps)
            for key, value in parameters.items()
        }
        return (number + 1, mean, square), moved


def _zeros(parameters: Arrays) -> dict[Any, np.ndarray]:
    return {key: np.zeros(np.shape(value), np.result_type(value, np.float32)) for key, value in parameters.items()}


def _real(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _check_rate(rate: Any) -> None:
    if isinstance(rate, Mapping):
        for one in rate.values():
            _check_rate(one)
        return
    if not callable(rate) and (not _real(rate) or not 0 < rate < np.inf):
        raise invalid("rate", "a positive number or a function of the step", repr(rate))


def _check_share(name: str, value: Any) -> None:
    if not _real(value) or not 0 <= value < 1:
        raise invalid(name, "at least 0 and below 1", repr(value))


def _rate(rate: Rate, number: int, key: Any) -> float:
    if isinstance(rate, (int, float)):
        return float(rate)
    chosen: Any = rate
    if isinstance(rate, Mapping):
        if key not in rate:
            raise invalid("rate", f"given for {key}", f"rates of {', '.join(map(str, rate))}")
        chosen = rate[key]
    if not callable(chosen):
        return float(chosen)
    value = chosen(number)
    if not _real(value) or not 0 <= value < np.inf:
        raise invalid(f"rate({number})", "a finite number of at least 0", repr(value))
    return float(value)
