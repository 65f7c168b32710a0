"""An oracle for equilibria that shares no code with the library: implicit differentiation in plain numpy.

E and c are differentiated by sympy as one expression each; with F the coordinates that no bound stops,

    E_q(q*) = 0 on F,   dJ/dtheta = c_theta - E_{q theta}^T E_qq^{-1} c_q   on F.
"""

from __future__ import annotations

import numpy as np
import sympy as sp


class Implicit:
    """E(q, theta) and c(q, theta) of a small system, with bounds; derivatives by sympy."""

    def __init__(self, energy, cost, q, theta, lower=None, upper=None):
        E_q, c_q = ([f.diff(x) for x in q] for f in (energy, cost))
        blocks = [E_q, c_q, [[f.diff(x) for x in q] for f in E_q], [[f.diff(p) for p in theta] for f in E_q]]
        blocks += [[cost.diff(p) for p in theta], cost, energy]
        self.all = sp.lambdify([list(q), list(theta)], blocks, "numpy")
        n = len(q)
        self.lower = np.full(n, -np.inf) if lower is None else np.asarray(lower, float)*np.ones(n)
        self.upper = np.full(n, np.inf) if upper is None else np.asarray(upper, float)*np.ones(n)

    def solve(self, q, theta):
        """Newton from q on the coordinates that are not pressed against a bound."""
        q = np.clip(np.array(q, float), self.lower, self.upper)
        for _ in range(200):
            E_q, _, E_qq = (np.array(part, float) for part in self.all(q, theta)[:3])
            F = ~(((q <= self.lower) & (E_q > 0)) | ((q >= self.upper) & (E_q < 0)))
            step = np.zeros_like(q)
            step[F] = -np.linalg.solve(E_qq[np.ix_(F, F)], E_q[F])
            q = np.clip(q + step, self.lower, self.upper)
            if np.abs(step).max() < 1e-15:
                break
        return q, F

    def gradient(self, q, theta):
        """q*, J, dJ/dtheta and the number of negative eigenvalues on F."""
        q, F = self.solve(q, theta)
        parts = self.all(q, theta)
        _, c_q, E_qq, E_qt, c_t = (np.array(part, float) for part in parts[:5])
        H = E_qq[np.ix_(F, F)]
        slope = c_t - E_qt[F].T @ np.linalg.solve(H, c_q[F])
        return q, float(parts[5]), slope, int((np.linalg.eigvalsh(H) < 0).sum())
