"""The thorough check: slopes, orders, nulls and the tangent map against closed forms, and what it says of faults."""

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.analysis.check import problem_of
from lagrangian_eqprop.analysis.forward import Forward
from lagrangian_eqprop.analysis.study import tangents

q, r = dynamicsymbols("q r")
m, k, a = sp.symbols("m k a")
DUFFING = lep.System(
    m*(q.diff()**2 + r.diff()**2)/2 - k*(q**2 + r**2)/2 - a*(q - r)**4/4, coordinates=[q, r],
    parameters={m: 1.3, k: 0.8, a: 0.6},
)  # fmt: skip
COST = lep.Cost((q - 1)**2/2 + q*r)
START = lep.Initial(q=[0.7, -0.4], v=[0.1, 0.3])


@pytest.mark.parametrize("method", ["verlet", "midpoint"])
@pytest.mark.parametrize("boundary", [START, lep.Ends([0.7, -0.4], [0.2, 0.5])])
def test_a_sound_problem(boundary, method):
    report = DUFFING.check(boundary, lep.Grid(20, step=0.07), COST, method=method, compiled=False, thorough=True)
    study = report.study
    assert report.passed
    assert study.slopes["OneSided"] == pytest.approx(1, abs=0.05)
    assert study.slopes["Centered"] == pytest.approx(2, abs=0.05)
    assert study.order == pytest.approx(2, abs=0.05)
    assert max(study.nulls.values()) <= 1e-12
    assert ("a gauge" in study.nulls) == (method == "midpoint")
    text = str(report)
    assert "slope 1.00, as theory says" in text
    assert "null gradient of the scale of L" in text
    if boundary is START:
        assert study.symplecticity <= 1e-14
        assert "symplectic: M^T Omega M" in text
        assert "NOT" not in text


def test_the_tangent_map_of_an_oscillator():
    """M_k of Verlet is a rotation by k phi in scaled variables, cos phi = 1 - h^2 w^2/2; conjugate where k phi = pi."""
    spring = lep.System(q.diff()**2/2 - k*q**2/2, coordinates=[q], parameters={k: 4.0})
    grid, start = lep.Grid(80, step=0.05), lep.Initial(q=[0.7], v=[0.1])
    problem = problem_of(spring, grid, lep.Cost(q**2), {"compiled": False})
    phi = np.arccos(1 - 0.05**2*4/2)
    p_scale = np.sin(phi)/0.05
    steps = np.arange(81)
    c, s = np.cos(steps*phi), np.sin(steps*phi)
    expected = np.array([[c, s/p_scale], [-p_scale*s, c]])
    np.testing.assert_allclose(tangents(Forward(problem, start)), expected.transpose(2, 0, 1), atol=1e-12)
    report = spring.check(start, grid, lep.Cost(q**2), compiled=False, thorough=True)
    assert report.study.conjugate == (int(np.ceil(np.pi/phi)), int(np.ceil(2*np.pi/phi)))
    assert "conjugate points near nodes" in str(report)


def test_growth_and_the_breakdown_time():
    hill = lep.System(q.diff()**2/2 + k*q**2/2, coordinates=[q], parameters={k: 4.0})
    grid = lep.Grid(400, step=0.02)
    report = hill.check(lep.Initial(q=[1e-3], v=[0.0]), grid, lep.Cost(q**2), compiled=False, thorough=True)
    assert report.study.exponent == pytest.approx(2.0, rel=0.05)
    assert report.study.breakdown == pytest.approx(18, rel=0.05)
    assert "is lost after t = " in str(report)


def test_faults_are_named():
    """A bias of a wrong slope, a null gradient that is none and a map that is not symplectic are said to be so."""
    from lagrangian_eqprop.analysis.study import BETAS, Study

    bad = Study({"Centered": 1e-3*BETAS}, {"Centered": 1.0}, None, {"the scale of L": 1e-3}, 1e-5, 2.0, None, None, ())
    text = "\n".join(bad.lines())
    assert "where theory says 2: look closer" in text
    assert "1.0e-03, which should be rounding" in text
    assert "NOT symplectic" in text


def test_picture(tmp_path):
    grid = lep.Grid(15, step=0.07)
    report = DUFFING.check(START, grid, COST, compiled=False, thorough=True)
    figure = report.plot(tmp_path/"check.png")
    assert (tmp_path/"check.png").stat().st_size > 10_000
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert any(label.startswith("Centered, slope 2.0") for label in labels)
    with pytest.raises(ValueError, match="report must be of a check with thorough=True"):
        DUFFING.check(START, grid, COST, compiled=False).plot()
