"""Oracles that share no code with the library: discrete Lagrangians differentiated by sympy, Newton in complex numpy.

A path is found from the discrete Euler-Lagrange equations alone (Marsden and West 2001, section 1.2),

    p_k = -D_1 L_d(q_k, q_{k+1}),   p_{k+1} = +D_2 L_d(q_k, q_{k+1}),

and every derivative of a loss is a complex step: f'(x) = Im f(x + i e)/e, exact to rounding (Squire and Trapp 1998).
Newton's iterations go on after the real part has converged, so that the imaginary part has too.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

TINY = 1e-40


class Mechanics:
    """L(q, v, t; theta, u) and its derivatives in q and v, by sympy; evaluated in complex arithmetic."""

    def __init__(self, lagrangian, coordinates, parameters=(), inputs=()):
        time = coordinates[0].args[0]
        q = [sp.Dummy(f"q{i}", real=True) for i in range(len(coordinates))]
        v = [sp.Dummy(f"v{i}", real=True) for i in range(len(coordinates))]
        moving = {x.diff(time): w for x, w in zip(coordinates, v, strict=True)}
        frozen = sp.sympify(lagrangian).xreplace(moving).xreplace(dict(zip(coordinates, q, strict=True)))
        Lq, Lv = ([frozen.diff(x) for x in group] for group in (q, v))
        blocks = [[[f.diff(x) for x in group] for f in slopes] for slopes, group in ((Lq, q), (Lq, v), (Lv, v))]
        self.size, self.parameters, self.inputs = len(q), list(parameters), list(inputs)
        arguments = [q, v, time, self.parameters, self.inputs]
        self.value = sp.lambdify(arguments, frozen, "numpy", cse=True)
        self.momentum = sp.lambdify(arguments, Lv, "numpy", cse=True)
        self._all = sp.lambdify(arguments, [Lq, Lv, *blocks], "numpy", cse=True)

    def derivatives(self, q, v, t, theta, u):
        """L_q, L_v, L_qq, L_qv, L_vv."""
        return tuple(np.array(part, complex) for part in self._all(q, v, t, theta, u))


def midpoint(mechanics, x, y, t, h, theta, u):
    """D_1, D_2, D_11, D_12, D_22 of h L((x + y)/2, (y - x)/h, t + h/2); u at the middle."""
    Lq, Lv, qq, qv, vv = mechanics.derivatives((x + y)/2, (y - x)/h, t + h/2, theta, u)
    blocks = [h*(a*b*qq + (a*d*qv + b*c*qv.T)/h + c*d*vv/h**2)
              for a, b, c, d in ((0.5, 0.5, -1, -1), (0.5, 0.5, -1, 1), (0.5, 0.5, 1, 1))]  # fmt: skip
    return h*Lq/2 - Lv, h*Lq/2 + Lv, *blocks


def verlet(mechanics, x, y, t, h, theta, u):
    """The same of h/2 [L(x, v, t) + L(y, v, t + h)], v = (y - x)/h; u = (u at x, u at y)."""
    v = (y - x)/h
    Aq, Av, Aqq, Aqv, Avv = mechanics.derivatives(x, v, t, theta, u[0])
    Bq, Bv, Bqq, Bqv, Bvv = mechanics.derivatives(y, v, t + h, theta, u[1])
    kinetic = (Avv + Bvv)/(2*h)
    D11 = h/2*Aqq - (Aqv + Aqv.T)/2 + kinetic
    D12 = (Aqv - Bqv.T)/2 - kinetic
    D22 = h/2*Bqq + (Bqv + Bqv.T)/2 + kinetic
    return h/2*Aq - (Av + Bv)/2, h/2*Bq + (Av + Bv)/2, D11, D12, D22


RULES = {"midpoint": midpoint, "verlet": verlet}


def drive(values, method, steps):
    """What L_d reads in each interval of inputs at the nodes, shape (N+1, inputs), linear between them."""
    values = np.zeros((steps + 1, 0)) if values is None else np.asarray(values)
    if method == "midpoint":
        return (values[:-1] + values[1:])/2
    return list(zip(values[:-1], values[1:], strict=True))


def drive_of(functions, method, grid):
    """The same from functions of time, read where the method reads them."""
    h, t = grid.step, grid.start + grid.step*np.arange(grid.steps + 1)
    if method == "midpoint":
        return np.stack([f(t[:-1] + h/2) for f in functions], 1)
    return drive(np.stack([f(t) for f in functions], 1), method, grid.steps)


def run(mechanics, method, q, p, theta, grid, u=None, pieces=None):
    """All nodes (q, p) of the initial-value problem; ``pieces`` (t, h) replace the steps of the grid."""
    rule = RULES[method]
    pieces = [(grid.start + k*grid.step, grid.step) for k in range(grid.steps)] if pieces is None else pieces
    u = drive(None, method, len(pieces)) if u is None else u
    x, p = np.array(q, complex), np.array(p, complex)
    y = x + 0
    qs, ps = [x], [p]
    for k, (t, h) in enumerate(pieces):
        extra = 2
        for _ in range(60):
            D1, D2, _, D12, _ = rule(mechanics, x, y, t, h, theta, u[k])
            move = np.linalg.solve(D12, -p - D1)
            y = y + move
            if np.abs(move.real).max() <= 1e-13*(1 + np.abs(y.real).max()):
                extra -= 1
                if extra < 0:
                    break
        else:
            raise ArithmeticError(f"the oracle's Newton did not converge at step {k}")
        p = rule(mechanics, x, y, t, h, theta, u[k])[1]
        x, y = y, 2*y - x
        qs.append(x)
        ps.append(p)
    return np.array(qs), np.array(ps)


def between(mechanics, method, q, theta, grid, free=(False, False), u=None, force=None, pieces=None):
    """The stationary path near q (N+1, d), ends fixed or natural; ``force`` (q -> slope, curvature) nudges it."""
    rule = RULES[method]
    pieces = [(grid.start + k*grid.step, grid.step) for k in range(grid.steps)] if pieces is None else pieces
    u = drive(None, method, len(pieces)) if u is None else u
    q, steps, d = np.array(q, complex), len(pieces), mechanics.size
    low, high = (0 if free[0] else d), (steps + 1)*d - (0 if free[1] else d)
    extra = 2
    for _ in range(80):
        residual, H = np.zeros((steps + 1)*d, complex), np.zeros(((steps + 1)*d,)*2, complex)
        for k, (t, h) in enumerate(pieces):
            a, b = slice(k*d, (k + 1)*d), slice((k + 1)*d, (k + 2)*d)
            D1, D2, D11, D12, D22 = rule(mechanics, q[k], q[k + 1], t, h, theta, u[k])
            residual[a] += D1
            residual[b] += D2
            H[a, a] += D11
            H[a, b] += D12
            H[b, a] += D12.T
            H[b, b] += D22
        if force is not None:
            slope, curvature = force(q)
            residual -= slope.ravel()
            H -= curvature
        move = np.zeros((steps + 1)*d, complex)
        move[low:high] = np.linalg.solve(H[low:high, low:high], -residual[low:high])
        q = q + move.reshape(q.shape)
        if np.abs(move.real).max() <= 1e-12*(1 + np.abs(q.real).max()):
            extra -= 1
            if extra < 0:
                return q, H[low:high, low:high]
    raise ArithmeticError("the oracle's Newton did not converge")


class Loss:
    """J = sum over nodes of w c(q, t; theta, y), by sympy and plain sums."""

    def __init__(self, expression, coordinates, targets=(), parameters=(), end=False, weights=None):
        time = coordinates[0].args[0]
        self.c = sp.lambdify([coordinates, list(targets), time, list(parameters)], expression, "numpy")
        self.end, self.given = end, weights

    def weights(self, grid):
        if self.given is not None:
            return np.asarray(self.given)
        w = np.zeros(grid.steps + 1) if self.end else np.full(grid.steps + 1, grid.step)
        w[[0, -1]] = (0, 1) if self.end else grid.step/2
        return w

    def __call__(self, q, grid, theta=(), targets=()):
        t, w = grid.start + grid.step*np.arange(grid.steps + 1), self.weights(grid)
        y = [np.broadcast_to(target, (grid.steps + 1,)) for target in targets]
        return sum(w[k]*self.c(q[k], [a[k] for a in y], t[k], theta) for k in range(grid.steps + 1) if w[k])


def complex_step(function, x):
    """The derivatives of a scalar function with respect to every entry of x."""
    x = np.array(x, complex)
    found = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += 1j*TINY
        found[index] = np.imag(function(moved))/TINY
    return found


def initial_gradients(mechanics, method, loss, q, grid, theta, *, v=None, p=None, u=None, first=(), targets=()):
    """J and its derivatives in theta, q and v or p, whichever is held fixed; ``first`` holds the inputs at node 0."""

    def J(theta, q, given):
        momentum = given if v is None else np.array(mechanics.momentum(q, given, grid.start, theta, first))
        return loss(run(mechanics, method, q, momentum, theta, grid, u)[0], grid, theta, targets)

    other = v if p is None else p
    return {
        "loss": float(np.real(J(np.array(theta, float), np.array(q, float), np.array(other, float)))),
        "theta": complex_step(lambda x: J(x, np.array(q), np.array(other)), theta),
        "q": complex_step(lambda x: J(np.array(theta), x, np.array(other)), q),
        "other": complex_step(lambda x: J(np.array(theta), np.array(q), x), other),
    }


def ends_gradients(mechanics, method, loss, path, grid, theta, *, free=(False, False), u=None, targets=()):
    """J and its derivatives in theta and both ends, from the stationary path near ``path``."""
    def J(theta, start, stop):
        q = np.array(path, complex)
        if not free[0]:
            q[0] = start
        if not free[1]:
            q[-1] = stop
        return loss(between(mechanics, method, q, theta, grid, free, u)[0], grid, theta, targets)

    theta, start, stop = np.array(theta, float), np.array(path[0]), np.array(path[-1])
    return {
        "loss": float(np.real(J(theta, start, stop))),
        "theta": complex_step(lambda x: J(x, start, stop), theta),
        "start": None if free[0] else complex_step(lambda x: J(theta, x, stop), start),
        "stop": None if free[1] else complex_step(lambda x: J(theta, start, x), stop),
    }


def assert_close(found, expected, tolerance=1e-10):
    """Equal relative to the larger of both as a whole; says what differs."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    size = max(np.abs(expected).max(initial=0.0), 1e-12)
    assert np.abs(found - expected).max(initial=0.0) <= tolerance*size, (found, expected)


def assert_agrees(result, expected, symbols, tolerance=1e-10, fixed="v"):
    """A library gradient against the oracle's, all parts on one scale each."""
    assert_close(result.loss, expected["loss"], tolerance)
    assert_close([result[s] for s in symbols], expected["theta"], tolerance)
    if "q" in expected:
        assert_close(result.initial.q, expected["q"], tolerance)
        assert_close(getattr(result.initial, fixed), expected["other"], tolerance)
        return
    for name in ("start", "stop"):
        if expected[name] is None:
            assert getattr(result.ends, name) is None
        else:
            assert_close(getattr(result.ends, name), expected[name], tolerance)


class Forced(Mechanics):
    """Mechanics with forces f(q, v, t; theta, u), one expression a coordinate."""

    def __init__(self, lagrangian, forces, coordinates, parameters, inputs=()):
        super().__init__(lagrangian, coordinates, parameters, inputs)
        time = coordinates[0].args[0]
        qs, vs = sp.symbols(f"Q0:{len(coordinates)}"), sp.symbols(f"V0:{len(coordinates)}")
        moving = {x.diff(time): v for x, v in zip(coordinates, vs, strict=True)}
        frozen = [sp.sympify(f).xreplace(moving).xreplace(dict(zip(coordinates, qs, strict=True))) for f in forces]
        slopes = [[[f.diff(s) for s in group] for f in frozen] for group in (qs, vs)]
        self.force = sp.lambdify([qs, vs, time, self.parameters, self.inputs], [frozen, *slopes], "numpy")


def forced(mechanics, x, y, t, h, theta, u):
    """The midpoint rule with half of h f at each node of the interval (Marsden and West 2001, section 3.2)."""
    D1, D2, D11, D12, D22 = midpoint(mechanics, x, y, t, h, theta, u)
    force = mechanics.force((x + y)/2, (y - x)/h, t + h/2, theta, u)
    f, fq, fv = (np.array(part, complex) for part in force)
    return D1 + h/2*f, D2 + h/2*f, D11, D12 + h/2*(fq/2 + fv/h), D22


RULES["forced"] = forced
