"""Checkpoints: trainings that are killed, interrupted and prolonged, against trainings that are not, bit for bit."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import killed
import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep
from lagrangian_eqprop.learning import checkpoint as module
from lagrangian_eqprop.learning import fit as loop
from lagrangian_eqprop.learning import storage

q = dynamicsymbols("q")
k, u, y = sp.symbols("k u y")
GRID = lep.Grid(4, step=0.1)
SYSTEM = lep.System(q.diff()**2/2 - k*q**2/2 + u*q, coordinates=[q], parameters={k: 1.0}, inputs=[u])
COST = lep.Cost((q - y)**2/2, targets=[y], when="end")
START = lep.Initial(q=np.linspace(-1, 1, 5)[:, None], v=[0.2])


def train(file=None, system=SYSTEM, boundary=START, grid=GRID, cost=COST, **options):
    defaults = {
        "targets": {y: np.linspace(0, 1, 5)}, "inputs": {u: np.cos}, "epochs": 3, "batch": 2, "progress": False,
        "optimiser": lep.Adam(0.05), "compiled": False, "checkpoint": file,
    }  # fmt: skip
    return system.fit(boundary, grid, cost, **{**defaults, **options})


def same(one, other):
    assert np.array_equal(one.loss, other.loss)
    assert (one.validation is None) == (other.validation is None)
    assert one.validation is None or np.array_equal(one.validation, other.validation)
    assert one.seconds.shape == other.seconds.shape
    assert [s.name for s in one.parameters] == [s.name for s in other.parameters]
    for a, b in zip(one.parameters.values(), other.parameters.values(), strict=True):
        assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
        assert np.array_equal(a, b)


# ---------------------------------------------------------------------- ended at any moment
@pytest.mark.parametrize("kind", ["initial", "equilibrium"])
def test_a_killed_training_goes_on(tmp_path, kind):
    """A process killed at moments of chance, often while it writes, and started again until it ends."""
    file = tmp_path / "run.npz"

    def stamp():
        return file.stat().st_mtime_ns if file.exists() else 0

    kills = 0
    for life in range(4):
        child = subprocess.Popen([sys.executable, str(Path(killed.__file__)), kind, str(file)], stderr=subprocess.PIPE)
        try:
            seen, changes = stamp(), 0
            wanted = random.randint(2, 12) if life < 3 else 10**9
            while changes < wanted and child.poll() is None:
                if stamp() != seen:
                    seen, changes = stamp(), changes + 1
                time.sleep(1e-4)
            time.sleep(random.uniform(0, 4e-3))
        finally:
            child.kill()
            _, told = child.communicate()
        kills += child.returncode != 0
        assert child.returncode in (0, -9), told.decode()
    assert child.returncode == 0 and kills >= 1
    resumed = killed.train(kind, checkpoint=file)  # the file is of a finished training: nothing is left to do
    same(resumed, killed.train(kind))
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("every", [None, 1, 2, 5])
def test_interrupts_everywhere_change_nothing(tmp_path, monkeypatch, every):
    """Ctrl-C before every step in turn; and an end without a last word, from the last state that was written."""
    options = {"optimiser": lep.SGD(lambda step: 0.3/(1 + step), momentum=0.7), "seed": 3, "limits": {k: (0.9, 1.02)}}
    options["validation"] = {"targets": {y: np.zeros(5)}, "inputs": {u: np.sin}}
    whole = train(**options)
    calls, stop, kind = [0], [0], [KeyboardInterrupt]

    def gradient(*arguments, **given):
        calls[0] += 1
        if calls[0] == stop[0]:
            raise kind[0]
        return original(*arguments, **given)

    original = loop.gradient
    monkeypatch.setattr(loop, "gradient", gradient)
    for stop[0] in range(1, 10):
        for kind[0] in (KeyboardInterrupt, MemoryError):
            file, calls[0] = tmp_path / f"{stop[0]}{kind[0].__name__}.npz", 0
            if kind[0] is KeyboardInterrupt:
                assert train(file, every=every, **options).interrupted
            else:
                with pytest.raises(MemoryError):
                    train(file, every=every, **options)
            calls[0] = 10
            same(train(file, every=every, **options), whole)
            again = 9 - (stop[0] - 1)//(every or 3)*(every or 3) if kind[0] is MemoryError else 10 - stop[0]
            assert calls[0] - 10 == again


def test_more_epochs_prolong_a_training(tmp_path):
    file = tmp_path / "run.npz"
    assert train(file, epochs=2).loss.shape == (2,)
    same(train(file, epochs=4), train(epochs=4))
    with pytest.raises(ValueError, match=r"epochs must be at least 4, those of the checkpoint; got 3; '.*run.npz' is"):
        train(file, epochs=3)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "run.npz"
    train(file, epochs=1)
    before = file.read_bytes()

    def half(stream, **entries):
        stream.write(before[:100])
        raise OSError("no space left")

    monkeypatch.setattr(storage.np, "savez", half)
    with pytest.raises(OSError, match="no space left"):
        train(file, epochs=2)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    file = tmp_path / "run[1].npz"
    (tmp_path / ".run[1].npz.0123abcd.part").write_bytes(b"half")
    (tmp_path / ".other.npz.0123abcd.part").write_bytes(b"somebody else's")
    train(file, epochs=1)
    assert {path.name for path in tmp_path.iterdir()} == {"run[1].npz", ".other.npz.0123abcd.part"}


# ---------------------------------------------------------------------- what must agree
def moved(array):
    array = np.array(array)
    array.flat[-1] = np.nextafter(array.flat[-1], 9)
    return array


OTHERS = {
    "system": {"system": lep.System(q.diff()**2/2 - k*q**2/2.5 + u*q, [q], parameters={k: 1.0}, inputs=[u])},
    "cost": {"cost": lep.Cost((q - y)**2, targets=[y], when="end")},
    "boundary": {"boundary": lep.Initial(q=moved(START.q), v=[0.2])},
    "grid": {"grid": lep.Grid(4, step=0.11), "inputs": {u: 0.3}},
    "targets": {"targets": {y: moved(np.linspace(0, 1, 5))}},
    "inputs": {"inputs": {u: lambda t: 1.01*np.cos(t)}},
    "parameters": {"parameters": {k: 1.1}},
    "batch (2, here 3)": {"batch": 3},
    "seed (0, here 1)": {"seed": 1},
    "limits": {"limits": {k: (0, None)}},
    "optimiser": {"optimiser": lep.Adam(0.05, b1=0.8)},
    "estimator": {"estimator": lep.Adjoint()},
    'stability ("check", here "ignore")': {"stability": "ignore"},
    "method": {"method": "midpoint"},
    'dtype ("float64", here "float32")': {"dtype": "float32"},
    'on_failure ("raise", here "return")': {"on_failure": "return"},
    'validation (null, here "a function")': {"validation": lambda values: 0.0},
}


@pytest.mark.parametrize("told", OTHERS)
def test_other_arguments_are_named(tmp_path, told):
    file, first = tmp_path / "run.npz", {"inputs": {u: 0.3}} if told == "grid" else {}
    train(file, epochs=1, **first)
    before = file.read_bytes()
    with pytest.raises(ValueError) as caught:
        train(file, **OTHERS[told])
    message = str(caught.value)
    assert message.startswith("checkpoint must be of a training with the same arguments, or another file; got '")
    assert f"{file}' with other {told}" in message
    assert ";" not in message.partition(" with other ")[2]
    assert file.read_bytes() == before
    train(file, epochs=2, **first)  # and the right arguments go on


def test_schedules_are_compared_by_their_first_rate_and_spelling_does_not_matter(tmp_path):
    file = tmp_path / "run.npz"
    train(file, optimiser=lep.SGD({k: lambda step: 0.1/(1 + step)}), train=["k"], estimator=lep.Exact())
    spelt = {"inputs": {"u": lambda t: np.cos(t)}, "targets": {"y": list(np.linspace(0, 1, 5))}}
    train(file, optimiser=lep.SGD({k: lambda step: 0.1*0.5**step}), **spelt)
    with pytest.raises(ValueError, match="with other optimiser"):
        train(file, optimiser=lep.SGD({k: lambda step: 0.2}))


def test_places_and_walls_of_a_network_are_compared(tmp_path):
    x, z = dynamicsymbols("x z")

    def net(at, bounds=(0, 1), name="w"):
        w = sp.Symbol(name)
        energy = [lep.Term(x**2/2 - x*y, [x], np.arange(4)), lep.Term(w*x*z, [x, z], at)]
        return lep.System(energy=energy, size=4, inputs=[y], bounds=bounds, parameters={w: np.full((2, 2), 0.1)})

    def start(system):
        cost = lep.Cost(x**2, on=[x], at=[0])
        options = {"inputs": {y: 0.5}, "targets": None, "optimiser": lep.SGD(0.1)}
        return train(tmp_path / "run.npz", system, lep.Equilibrium(0.5), None, cost, **options)

    start(net(lep.AllPairs([0, 1], [2, 3])))
    start(net(lep.AllPairs([0, 1], [2, 3])))
    for other in (net(lep.AllPairs([0, 2], [1, 3])), net(lep.AllPairs([0, 1], [2, 3]), (0, 2))):
        with pytest.raises(ValueError, match="with other system$"):
            start(other)
    with pytest.raises(ValueError, match="with other system; cost; parameters; train"):
        start(net(lep.AllPairs([0, 1], [2, 3]), name="ww"))


# ---------------------------------------------------------------------- optimisers of the user's own
@dataclass(frozen=True)
class Nested:
    """Its state holds everything that a state may."""

    pace: float = 0.1

    def start(self, parameters):
        return {"many": [1, None, "text", (2.5, True)], "last": dict(parameters), 3: np.arange(3, dtype=np.int32)}

    def step(self, state, parameters, gradients):
        ahead = {key: value - self.pace*gradients[key] + 0.01*state["last"][key] for key, value in parameters.items()}
        return {**state, "last": dict(parameters), 3: state[3] + 1}, ahead


class Odd(Nested):
    def start(self, parameters):
        return {1, 2}


def test_states_of_other_optimisers(tmp_path):
    file, rng = tmp_path / "run.npz", np.random.default_rng(1)
    train(file, epochs=1, optimiser=Nested())
    same(train(file, optimiser=Nested()), train(optimiser=Nested()))
    with pytest.raises(ValueError, match="with other optimiser"):
        train(file, epochs=4, optimiser=Nested(0.2))
    state = module.State({k: np.float32(1.5)}, Nested().start({k: np.ones((2, 2)).T}), rng.bit_generator.state)
    keeper = module.Checkpoint(file, None, {})
    keeper.write(state)
    read = keeper.read([k])
    assert repr(read) == repr(state)
    assert type(read.values[k]) is np.float32 and read.optimiser[3].dtype == np.int32
    with pytest.raises(ValueError, match="the state of the optimiser must be of numbers, arrays, .* got set in it"):
        train(tmp_path / "odd.npz", optimiser=Odd())


# ---------------------------------------------------------------------- other files
def test_other_files_are_refused_and_kept(tmp_path):
    file = tmp_path / "run.npz"
    train(file, epochs=1)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole)//2] ^= 255
    lep.save(file, {"k": 1.0})
    contents = [file.read_bytes(), b"", b"rubbish", whole[: len(whole)//2], bytes(flipped), b"PK\x03\x04" + bytes(50)]
    for text in ('{"format": "lagrangian_eqprop checkpoint", "version": 1}', "[]", "{"):
        np.savez(file, description=np.array(text))
        contents.append(file.read_bytes())
    np.savez(file, description=np.array({"format": "x"}, dtype=object))  # a pickle is not opened
    contents.append(file.read_bytes())
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint must be a checkpoint of lep.System.fit, or a file that does"):
            train(file)
        assert file.read_bytes() == content
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="path must be a file written by lep.save; got .*checkpoint"):
        lep.load(file)
    np.savez(file, description=np.array('{"format": "lagrangian_eqprop checkpoint", "version": 99}'))
    with pytest.raises(ValueError, match="checkpoint must be of format version 1; got version 99"):
        train(file)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="checkpoint must be the path of a file; got 3"):
        train(3)
    with pytest.raises(ValueError, match="every must be a positive integer; got 0"):
        train(tmp_path / "run.npz", every=0)
    with pytest.raises(ValueError, match="every must be given with checkpoint alone; got 2"):
        train(every=2)
    with pytest.raises(FileNotFoundError):  # before any work, not after the first epoch
        train(tmp_path / "nowhere" / "run.npz", optimiser=Nested())
    with pytest.raises(ValueError, match="checkpoint must be a checkpoint of lep.System.fit"):
        train(tmp_path)
