"""Figures of one coordinate, of many and of batches, without a display and without global state."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

import lagrangian_eqprop as lep
from lagrangian_eqprop.plotting import plot_trajectory, relative_change
from lagrangian_eqprop.trajectory import Trajectory


def waves(size, batch=None, nodes=60):
    """A trajectory made by hand: oscillations of several frequencies, energy 1 with a wobble."""
    t = np.linspace(0, 10, nodes)
    amplitudes = np.ones((batch or 1, 1, 1)) + 0.2*np.arange(batch or 1)[:, None, None]
    q = amplitudes*np.cos(t[:, None]*(1 + 0.1*np.arange(size)))
    energy = 1 + 1e-3*np.sin(t) + np.zeros((batch or 1, 1))
    if batch is None:
        q, energy = q[0], energy[0]
    success = True if batch is None else np.ones(batch, bool)
    status = 0 if batch is None else np.zeros(batch, int)
    return Trajectory(t, q, -q, success, status, "", _nodes=lambda: (0*q, lambda: energy))


def heading(figure):
    return figure.get_suptitle() if hasattr(figure, "get_suptitle") else figure._suptitle.get_text()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 40])
@pytest.mark.parametrize("batch", [None, 1, 30])
def test_every_size_and_batch_is_drawn(size, batch, tmp_path):
    file = tmp_path / "figure.png"
    figure = waves(size, batch).plot(file=file)
    assert file.read_bytes().startswith(b"\x89PNG")
    above = figure.axes[0]
    if size > 7:
        assert above.collections and not above.lines  # a heat map
    else:
        assert len(above.lines) == size*(1 if batch is None else min(batch, 21))


def test_title_says_which_samples_are_drawn():
    path = waves(2, 30)
    path.success[0] = False
    path.q[0] = np.nan
    assert heading(plot_trajectory(path, title="Two waves")) == "Two waves\nsample 1 of a batch of 30; 20 others faint"


def test_labels_invariants_and_time_reach_the_figure():
    path = waves(2)
    invariants = {"energy": lambda path: path.energy, "nothing": lambda path: 0*path.t}
    figure = plot_trajectory(path, ["$x$ (m)", "$y$ (m)"], invariants, time_label="$t$ (s)")
    above, middle = figure.axes[:2]
    assert above.get_ylabel() == "coordinates (m)" and middle.get_xlabel() == "$t$ (s)"
    texts = [text.get_text() for text in middle.get_legend().get_texts()]
    assert texts[0].startswith("energy: scale 1,") and "largest change 1.0e-03" in texts[0]
    assert texts[1] == "nothing: scale 1, largest change 0.0e+00"


def test_energy_that_is_not_known_leaves_a_gap():
    path = waves(1)
    path.energy[5] = np.nan
    figure = plot_trajectory(path)
    drawn = [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]
    assert any(np.isnan(line).sum() == 1 for line in drawn if len(line) == len(path.t))


@pytest.mark.parametrize(
    ("labels", "nodes", "message"), [(["x"], 60, "labels must be 2"), (None, 1, "at least two nodes")]
)
def test_bad_arguments(labels, nodes, message):
    with pytest.raises(ValueError, match=message):
        plot_trajectory(waves(2, nodes=nodes), labels)


def test_relative_change():
    change, scale = relative_change(np.array([[2.0, 4.0, 3.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(change, [[0, 0.5, 0.25], [0, 0, 0]])
    np.testing.assert_array_equal(scale, [4, 1])


def test_settings_of_matplotlib_stay():
    before = dict(matplotlib.rcParams)
    plot_trajectory(waves(9))
    assert dict(matplotlib.rcParams) == before


def test_no_display_and_no_pyplot_are_needed():
    code = "import sys, lagrangian_eqprop.plotting, lagrangian_eqprop.systems; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
    assert lep.plotting.plot_trajectory is plot_trajectory
