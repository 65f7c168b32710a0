"""The system as users meet it: a definition with everything that can be asked of it."""

from __future__ import annotations

from typing import Any

from .analysis.check import check
from .analysis.report import built, compile_report
from .boundary import Boundary, Equilibrium
from .eqprop.equilibrium import equilibrium
from .eqprop.functional import gradient
from .eqprop.gradient import check_on_failure, cost_list
from .eqprop.thermal import sample
from .eqprop.trajectories import trajectory
from .grid import Grid
from .learning.fit import fit
from .rest import Rest
from .symbols.definition import Definition
from .thermal import Samples, Thermal


class System(Definition):
    """A physical system given by its Lagrangian.

    Takes one sympy expression and its ``coordinates``, or a list of terms and a ``size``; see
    :class:`~lagrangian_eqprop.symbols.definition.Definition` for the arguments. Nothing that is asked of a
    system changes it.

    Examples
    --------
    >>> import sympy as sp
    >>> from sympy.physics.mechanics import dynamicsymbols
    >>> import lagrangian_eqprop as lep
    >>> q, k = dynamicsymbols("q"), sp.Symbol("k")
    >>> spring = lep.System(q.diff()**2/2 - k*q**2/2, coordinates=[q], parameters={k: 1.0})
    >>> path = spring.trajectory(lep.Initial(q=[1.0], v=[0.0]), lep.Grid(100, step=0.1))
    >>> path.q.shape
    (101, 1)
    """

    def trajectory(
        self, boundary: Boundary, grid: Grid, *, inputs: Any = None, parameters: Any = None, cost: Any = None,
        targets: Any = None, nudge: float = 0.0, save: Any = "all", method: str | None = None, compiled: bool = True,
        stability: str = "check", on_failure: str = "raise", progress: bool = False, dtype: Any = float,
        threads: int | None = None, stages: int | None = None, order: int | None = None,
    ) -> Any:  # fmt: skip
        """The trajectory that is stationary in the discrete action.

        Parameters
        ----------
        boundary : Initial, Ends or Periodic
            Which stationary point; two axes make a batch.
        grid : Grid
            The nodes.
        inputs, parameters, targets : mapping
            Values by Symbol or name; parameters override defaults.
        cost : Cost or list of Cost, optional
            Needed for a nudged trajectory, and where ``parameters`` holds some of the cost's own.
        nudge : float
            beta: the cost is added beta times to the potential energy. For Initial the nudged trajectory shares
            the free one's last position and momentum; for Ends and Periodic it is on the free one's branch.
        save : "all", "last" or int
            Which nodes are kept: all, the last, or every n-th and the last. Ends and Periodic keep all.
        method : "verlet", "midpoint" or "gauss", optional
            By default Verlet where the Lagrangian allows it, which with constraints is "rattle", and midpoint
            elsewhere. "gauss", of order 2*stages, is for Ends, and for free paths of small systems from initial data.
        compiled : bool
            False runs the same steps in plain Python.
        stability : "check" or "ignore"
            Whether Verlet refuses a step that is too large at the start.
        on_failure : "raise" or "return"
            What happens where a sample fails; nan is returned for it.
        progress : bool
            Show a bar.
        dtype, threads
            As for :meth:`gradient`, for a free path from initial data.
        stages : int, optional
            Of method="gauss": from 2 to 8, by default 4.
        order : int, optional
            2, 4, 6 or 8 of Verlet and midpoint: above 2 a symmetric composition, of 5, 9 or 17 sub-steps a step, some
            of them backwards (Suzuki 1990; Kahan and Li 1997). Results are at the nodes of the grid, the action is of
            all sub-steps. Inputs are read at the sub-steps: callables there, arrays linear in every step.

        Returns
        -------
        Trajectory

        Raises
        ------
        ConvergenceError
            If no trajectory was found.
        ValueError
            If an argument does not fit; the message names it.
        """
        return trajectory(
            self, boundary, grid, cost=cost, nudge=nudge, save=save, stability=stability, on_failure=on_failure,
            progress=progress, dtype=dtype, threads=threads, inputs=inputs, parameters=parameters, targets=targets,
            method=method, compiled=compiled, stages=stages, order=order,
        )  # fmt: skip

    def equilibrium(
        self, boundary: Equilibrium, *, inputs: Any = None, parameters: Any = None, cost: Any = None,
        targets: Any = None, nudge: float = 0.0, on_failure: str = "raise", dtype: Any = float,
        compiled: bool = True,
    ) -> Rest:  # fmt: skip
        """A point of rest: stationary in the energy E = -L without velocities, within the bounds.

        Parameters
        ----------
        boundary : Equilibrium
            Guess and solver; a guess with two axes is a batch.
        inputs, parameters, targets : mapping
            Values by Symbol or name, without a time axis: (P,) or (B, P) with places, else scalars or (B,).
        cost : Cost or list of Cost, optional
            Needed for a nudged equilibrium, and where ``parameters`` holds some of the cost's own.
        nudge : float
            beta: the cost is added beta times to the energy. The nudged equilibrium is sought from the free one.
        on_failure : "raise" or "return"
            What happens where a sample does not settle; nan is returned for it.
        dtype : "float64" or "float32"
            Of the computation; results are float64 all the same.
        compiled : bool
            False keeps to numpy.

        Returns
        -------
        Rest
            ``q``, ``energy``, ``residual``, ``index``, ``success``, ``solver``.

        Raises
        ------
        ConvergenceError, ValueError
            As :meth:`trajectory`.
        """
        check_on_failure(on_failure)
        return equilibrium(
            self, boundary, costs=cost_list(cost), nudge=nudge, on_failure=on_failure, inputs=inputs,
            parameters=parameters, targets=targets, dtype=dtype, compiled=compiled,
        )  # fmt: skip

    def sample(
        self, boundary: Thermal, *, inputs: Any = None, parameters: Any = None, cost: Any = None, targets: Any = None,
        nudge: float = 0.0,
    ) -> Samples:
        """States with the density exp(-(E + nudge c)/kT)/Z, by Metropolis-adjusted Langevin dynamics.

        Parameters
        ----------
        boundary : Thermal
            Temperature, chains and steps.
        inputs, parameters, targets, cost, nudge
            As for :meth:`equilibrium`.

        Returns
        -------
        Samples

        Raises
        ------
        ConvergenceError
            If the energy is not finite where the chains begin.
        ValueError
            If an argument does not fit; the message names it.
        """
        return sample(
            self, boundary, costs=cost_list(cost), nudge=nudge, inputs=inputs, parameters=parameters, targets=targets
        )

    def gradient(
        self, boundary: Boundary | Equilibrium | Thermal, grid: Grid | None = None, cost: Any = None, *,
        targets: Any = None, inputs: Any = None,
        parameters: Any = None, estimator: Any = None, save: Any = None, method: str | None = None,
        compiled: bool = True, stability: str = "check", on_failure: str = "raise", progress: bool = False,
        retrace: Any = None, dtype: Any = float, threads: int | None = None, stages: int | None = None,
        input_gradients: bool = False, order: int | None = None,
    ) -> Any:  # fmt: skip
        """The loss and its gradient by equilibrium propagation.

        Parameters
        ----------
        grid : Grid
            Left out at an equilibrium and at a temperature.
        cost : Cost, IntegralCost or list of them
            J is the sum over nodes of w_k c(q_k, t_k), at an equilibrium c(q); the mean over a batch. Costs of
            velocities, c(q_k, v_k, t_k) with the velocities of :meth:`trajectory`, and losses of integrals nudge with
            the force found on the free path. At the nodes J is of second order in the step whatever the method; see
            ``quadrature`` of a cost.
        estimator : OneSided, Centered, Echo, Holomorphic, Exact, ConvolutionAction or Adjoint, optional
            How the derivative with respect to the nudge is taken; Exact by default. From initial data
            method="gauss" takes Exact alone. NaiveForward is biased, for study.
        save : "all", "last" or int, optional
            Keep the free and the nudged trajectory in the result.
        retrace : "store", "integrate", "bits" or FixedPoint, optional
            How the echo of Exact goes back in a system small enough to be unrolled: it reads stored states, or
            integrates backwards in memory that does not grow with the steps. By default it stores where a block of
            samples fits the cache. "bits", for Verlet and systems of any size, computes the path in whole numbers of 64
            bits, by steps that are taken back exactly: the way back returns to the last bit however long or chaotic
            the run, in constant memory. A :class:`~lagrangian_eqprop.FixedPoint` names the resolution too.
        dtype : "float64" or "float32"
            Of Exact in such a system; results are float64 all the same.
        threads : int, optional
            Over blocks of samples, one by default; results do not depend on it.
        input_gradients : bool
            Also dJ/du of every input in ``result.inputs[u]``, so that systems can be chained: by one more echo whose
            nodes are kept. For Exact, Centered and OneSided.

        Other parameters are those of :meth:`trajectory`.

        Returns
        -------
        Gradient
            ``loss``, ``losses``, ``result[k]`` for every parameter, ``initial``, ``ends`` or ``periodic``; at a
            temperature ``errors`` too, the standard errors.

        Raises
        ------
        ConvergenceError, ValueError
            As :meth:`trajectory`.
        """
        return gradient(
            self, boundary, grid, cost, estimator=estimator, save=save,
            on_failure=on_failure, stability=stability, progress=progress, targets=targets, inputs=inputs,
            parameters=parameters, method=method, compiled=compiled, retrace=retrace, dtype=dtype, threads=threads,
            stages=stages, input_gradients=input_gradients, order=order,
        )  # fmt: skip

    def fit(
        self, boundary: Boundary | Equilibrium, grid: Grid | None = None, cost: Any = None, **options: Any
    ) -> Any:
        """Train parameters on a data set; see :func:`lagrangian_eqprop.learning.fit.fit` for the arguments."""
        return fit(self, boundary, grid, cost, **options)

    def check(self, boundary: Boundary, grid: Grid, cost: Any, **options: Any) -> Any:
        """All gradients of the user's own problem side by side; see :func:`lagrangian_eqprop.analysis.check.check`."""
        return check(self, boundary, grid, cost, **options)

    def compile(self, method: str | None = None, cost: Any = None, order: int | None = None) -> Any:
        """Compile ahead of time; the report says what each stage took and which lowering each term got."""
        return compile_report(self, method, cost, order)

    def source(
        self, method: str | None = None, cost: Any = None, compiled: bool = True, order: int | None = None
    ) -> str:  # fmt: skip
        """The text of the generated module, whose functions are named by the library."""
        return built(self, method, cost, compiled, order).source
