"""Training: the optimisers against steps by hand, the loop on a system whose answer is known, parameters in files."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols

import lagrangian_eqprop as lep

q = dynamicsymbols("q")
k, a, u, y, g = sp.symbols("k a u y g")
GRID = lep.Grid(40, step=0.1)
SAMPLES = 12
SYSTEM = lep.System(
    q.diff()**2/2 - k*q**2/2 - a*q**4/4 + u*q, coordinates=[q], parameters={k: 1.0, a: 0.4}, inputs=[u]
)  # fmt: skip
COST = lep.Cost(g*(q - y)**2/2, targets=[y], parameters={g: 1.0})


@pytest.fixture(scope="module")
def problem():
    """Trajectories of an oscillator with k = 1.5 and a = 0.4, from several starts, each with a drive of its own."""
    rng = np.random.default_rng(3)
    start = lep.Initial(q=rng.uniform(-1, 1, (SAMPLES, 1)), v=[0.2])
    drive = {u: rng.normal(size=(SAMPLES, 1))*0.2*np.cos(GRID.t)}
    path = SYSTEM.trajectory(start, GRID, inputs=drive, parameters={k: 1.5})
    return {"boundary": start, "grid": GRID, "cost": COST, "inputs": drive, "targets": {y: path.q[:, :, 0]}}


def train(problem, **options):
    defaults = {"epochs": 4, "batch": 5, "train": [k], "optimiser": lep.Adam(0.05), "progress": False}
    return SYSTEM.fit(**problem, **{**defaults, **options})


# ---------------------------------------------------------------------- the loop
def test_recovers_a_stiffness(problem):
    rate = lambda step: 0.1*0.97**step  # noqa: E731
    history = train(problem, epochs=40, optimiser=lep.Adam(rate))
    assert history.loss.shape == (40,)
    assert history.loss[-1] < 1e-5*history.loss[0]
    np.testing.assert_allclose(history[k], 1.5, atol=1e-3)
    assert not history.interrupted
    assert history.validation is None
    assert history.seconds.shape == (40,)


def test_train_restricts_and_everything_is_trained_by_default(problem):
    some = train(problem, epochs=1)
    assert some["k"] != 1.0
    assert some[a] == 0.4
    assert some[g] == 1.0
    everything = train(problem, epochs=1, train=None, parameters={k: 1.2})
    assert everything[k] != 1.2
    assert everything[a] != 0.4
    assert everything[g] != 1.0
    assert SYSTEM.parameters[k] == 1.0


def test_history_parameters_continue_a_training(problem):
    first = train(problem, epochs=2, train=None)
    again = train(problem, epochs=1, train=None, parameters=first.parameters)
    assert again.loss[0] < first.loss[0]


def test_a_seed_repeats_bit_for_bit(problem):
    one, same, other = train(problem, seed=1), train(problem, seed=1), train(problem, seed=2)
    assert np.array_equal(one.loss, same.loss)
    assert np.array_equal(one[k], same[k])
    assert not np.array_equal(one.loss, other.loss)


def test_one_optimiser_serves_two_trainings(problem):
    adam = lep.Adam(0.05)
    assert np.array_equal(train(problem, optimiser=adam)[k], train(problem, optimiser=adam)[k])


def test_a_step_is_the_gradient_of_its_mini_batch(problem):
    """Slicing: the first mini-batch by hand, of boundary, inputs and targets."""
    history = train(problem, epochs=1, batch=None, optimiser=lep.SGD(0.1), train=[k, g])
    result = SYSTEM.gradient(**problem)
    np.testing.assert_allclose(history[k], 1.0 - 0.1*result[k], rtol=1e-13)
    np.testing.assert_allclose(history[g], 1.0 - 0.1*result[g], rtol=1e-13)
    np.testing.assert_allclose(history.loss, [result.loss], rtol=1e-13)

    def by_hand(samples, value):
        start = lep.Initial(q=problem["boundary"].q[samples], v=[0.2])
        part = {"inputs": {u: problem["inputs"][u][samples]}, "targets": {y: problem["targets"][y][samples]}}
        return value - 0.1*SYSTEM.gradient(start, GRID, COST, parameters={k: value}, **part)[k]

    order = np.random.default_rng(7).permutation(SAMPLES)
    value = 1.0
    for low in (0, 5, 10):
        value = by_hand(order[low : low + 5], value)
    history = train(problem, epochs=1, batch=5, optimiser=lep.SGD(0.1), seed=7)
    np.testing.assert_allclose(history[k], value, rtol=1e-13)


def test_callables_and_what_has_no_batch_axis(problem):
    """A drive given as a function with a batch axis is cut like an array; one without is the same for all."""
    start, targets = problem["boundary"], problem["targets"]
    size = np.linspace(0, 0.3, SAMPLES)[:, None]
    by_array = train({**problem, "inputs": {u: size*np.ones(41)}})
    by_function = train({**problem, "inputs": {u: lambda t: size*np.ones_like(t)}})
    np.testing.assert_allclose(by_array[k], by_function[k], rtol=1e-13)
    one = {"boundary": lep.Initial(q=start.q[0], v=[0.2]), "grid": GRID, "cost": COST}
    alone = train({**one, "inputs": {u: 0.1}, "targets": {y: targets[y][0]}}, epochs=3, batch=64)
    assert alone.message == "finished 3 epochs of 1 steps"
    shared = train({**problem, "inputs": {u: lambda t: 0.1*np.cos(t)}}, epochs=1, batch=5)
    assert shared.message == "finished 1 epochs of 3 steps"


def test_parameters_of_every_sample(problem):
    """A parameter with a batch axis is data: it is cut with the samples, and cannot be trained."""
    several = {a: np.linspace(0.3, 0.5, SAMPLES)}
    assert np.isfinite(train(problem, parameters=several, epochs=1).loss).all()
    with pytest.raises(ValueError, match=r"parameters\[a\] must be without a batch axis to be trained"):
        train(problem, parameters=several, train=None)


def test_two_point_problems():
    ends = lep.Ends([[0.0], [0.2], [0.1]], [[0.6], [0.5], [0.9]])
    grid = lep.Grid(20, step=0.05)
    truth = SYSTEM.trajectory(ends, grid, inputs={u: 0.0}, parameters={k: 3.0})
    history = SYSTEM.fit(
        ends, grid, COST, targets={y: truth.q[:, :, 0]}, inputs={u: 0.0}, train=[k], epochs=40, batch=2,
        optimiser=lep.Adam(lambda n: 0.3*0.95**n), progress=False,
        validation={"boundary": ends, "targets": {y: truth.q[:, :, 0]}, "inputs": {u: 0.0}},
    )  # fmt: skip
    np.testing.assert_allclose(history[k], 3.0, atol=1e-2)
    assert history.validation[-1] < 1e-3*history.validation[0]


# ---------------------------------------------------------------------- validation
def test_validation_by_function_and_by_data(problem):
    part = {"targets": problem["targets"], "inputs": problem["inputs"]}
    history = train(problem, validation=lambda values: (float(values[k]), 1.0))
    assert history.validation.shape == (4, 2)
    assert history.validation[-1, 0] == history[k]
    history = train(problem, validation={"boundary": problem["boundary"], **part})
    loss = SYSTEM.gradient(**problem, parameters=history.parameters).loss
    np.testing.assert_allclose(history.validation[-1], loss, rtol=1e-12)
    with pytest.raises(ValueError, match="validation must be a mapping of boundary, targets and inputs; got 'goals'"):
        train(problem, validation={"goals": 1})


# ---------------------------------------------------------------------- what stops a training
def test_an_interrupt_loses_nothing(problem, capsys):
    values = []

    def validation(parameters):
        if len(values) == 2:
            raise KeyboardInterrupt
        values.append(float(parameters[k]))
        return values[-1]

    history = train(problem, validation=validation, progress=True)
    assert history.interrupted
    assert history.loss.shape == history.validation.shape == history.seconds.shape == (2,)
    assert history.message.startswith("interrupted in epoch 3 of 4, mini-batch 3 of 3")
    assert "interrupted in epoch 3 of 4" in capsys.readouterr().err
    assert np.array_equal(history[k], train(problem, epochs=3)[k])


def test_an_interrupt_in_a_gradient(problem, monkeypatch):
    from lagrangian_eqprop.learning import fit as module

    calls = []

    def gradient(*arguments, **options):
        calls.append(1)
        if len(calls) == 5:  # the second mini-batch of the second epoch
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = module.gradient
    monkeypatch.setattr(module, "gradient", gradient)
    history = train(problem)
    assert history.interrupted
    assert history.loss.shape == (1,)
    assert history[k] != 1.0


class Leap:
    """An optimiser of the user's own, without regard for the gradient."""

    def start(self, parameters):
        return None

    def step(self, state, parameters, gradients):
        return None, {key: value + 1e3 for key, value in parameters.items()}


def test_a_training_that_breaks_down_says_where(problem):
    with pytest.raises(lep.ConvergenceError, match=r"training failed in epoch 2 of 4, mini-batch 1 of 3") as caught:
        train(problem, optimiser=lep.SGD(lambda step: 1e9 if step == 2 else 1e-9))
    assert caught.value.history.loss.shape == (1,)
    with pytest.raises(lep.ConvergenceError, match=r"epoch 1 of 4, mini-batch 2 of 3: 5 of 5 samples failed"):
        train(problem, optimiser=lep.SGD(1e308))
    # a stiffness beyond the limit of stability is found by the next epoch's first mini-batch, and named
    with pytest.raises(lep.ConvergenceError, match=r"epoch 2 of 4, mini-batch 1 of 1: step must be below"):
        train(problem, batch=None, optimiser=Leap())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive integer; got 0"),
        ({"epochs": 2.0}, "epochs must be a positive integer; got 2.0"),
        ({"batch": -1}, "batch must be a positive integer; got -1"),
        ({"train": [sp.Symbol("kk")]}, "train must be one of a, g, k; got 'kk'; did you mean 'k'?"),
        ({"train": []}, "train must be at least one parameter"),
        ({"train": "k"}, "train must be a list of Symbols or names"),
        ({"train": [k, "k"]}, "train must be at least one parameter, each once"),
        ({"optimiser": lep.Adam}, "optimiser must be"),
        ({"validation": 3}, "validation must be a function of the parameters or a mapping"),
        ({"on_failure": "hide"}, "on_failure must be"),
        ({"parameters": {"kk": 1.0}}, "parameters must be one of"),
    ],
)
def test_bad_arguments(problem, options, message):
    with pytest.raises(ValueError) as caught:
        train(problem, **options)
    assert message in str(caught.value)


def test_samples_must_agree(problem):
    with pytest.raises(ValueError, match="the batch axis must be of one length everywhere"):
        train({**problem, "targets": {y: problem["targets"][y][:7]}})


# ---------------------------------------------------------------------- optimisers
def steps(optimiser, gradients):
    values = {"x": np.array([1.0, -2.0])}
    state = optimiser.start(values)
    seen = []
    for gradient in gradients:
        state, values = optimiser.step(state, values, {"x": np.array(gradient)})
        seen.append(values["x"])
    return np.array(seen)


GRADIENTS = [[0.5, -1.0], [0.1, 0.3], [-0.2, 0.0]]


def test_sgd_by_hand():
    np.testing.assert_allclose(steps(lep.SGD(0.1), GRADIENTS), [[0.95, -1.9], [0.94, -1.93], [0.96, -1.93]])
    # velocities with momentum 1/2: (0.5, -1), (0.35, -0.2), (-0.025, -0.1)
    expected = [[0.95, -1.9], [0.915, -1.88], [0.9175, -1.87]]
    np.testing.assert_allclose(steps(lep.SGD(0.1, momentum=0.5), GRADIENTS), expected)


def test_adam_by_hand():
    """With b1 = 1/2, b2 = 3/4 the means of step 2 are m = (0.175, -0.1)/0.75 and s = (0.049375, 0.21)/0.4375."""
    seen = steps(lep.Adam(0.1, b1=0.5, b2=0.75, eps=1e-30), GRADIENTS)
    np.testing.assert_allclose(seen[0], [0.9, -1.9], rtol=1e-14)
    second = np.array([0.175, -0.1])/0.75/np.sqrt(np.array([0.049375, 0.21])/0.4375)
    np.testing.assert_allclose(seen[1], seen[0] - 0.1*second, rtol=1e-14)
    # eps is added to the root, not under it
    np.testing.assert_allclose(steps(lep.Adam(0.1, eps=0.5), GRADIENTS[:1])[0], [0.95, -2 + 0.1/1.5], rtol=1e-13)


def test_a_schedule_is_asked_for_every_step():
    asked = []
    seen = steps(lep.SGD(lambda step: asked.append(step) or 0.1*(step == 1)), GRADIENTS)
    assert asked == [0, 1, 2]
    np.testing.assert_allclose(seen, [[1.0, -2.0], [0.99, -2.03], [0.99, -2.03]])
    with pytest.raises(ValueError, match=r"rate\(0\) must be a finite number of at least 0; got -1"):
        steps(lep.Adam(lambda step: -1), GRADIENTS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lep.SGD(0.0), lambda: lep.SGD(True), lambda: lep.SGD(0.1, momentum=1.0), lambda: lep.Adam(np.nan),
        lambda: lep.Adam(b1=1.0), lambda: lep.Adam(b2=-0.1), lambda: lep.Adam(eps=0.0), lambda: lep.Adam("fast"),
    ],
)  # fmt: skip
def test_settings_are_checked(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        lep.Adam().rate = 1.0


# ---------------------------------------------------------------------- files
def test_parameters_return_from_a_file(tmp_path, problem):
    file = tmp_path / "trained.npz"
    parameters = {k: np.float64(1.5), "w/../ü": np.arange(6.0).reshape(2, 3), sp.Symbol("file"): [1.0]}
    lep.save(file, parameters)
    loaded = lep.load(file)
    assert list(loaded) == ["k", "w/../ü", "file"]
    for value, expected in zip(loaded.values(), parameters.values(), strict=True):
        assert value.shape == np.shape(expected)
        assert np.array_equal(value, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["trained.npz"]
    history = train(problem, epochs=1, train=None)
    lep.save(str(file), history.parameters)
    results = [SYSTEM.gradient(**problem, parameters=values) for values in (lep.load(file), history.parameters)]
    assert results[0][k] == results[1][k]


def test_save_refuses(tmp_path):
    file = tmp_path / "a.npz"
    lep.save(file, {"k": 1.0})
    for wrong, message in [
        ({k: 1.0, "k": 2.0}, "'k' twice"),
        ({3: 1.0}, "the key 3"),
        ({"k": "much"}, r"parameters\[k\] must be an array of real numbers"),
        ({"k": object()}, r"parameters\[k\] must be an array of real numbers"),
        ([1.0], "parameters must be a mapping"),
    ]:
        with pytest.raises(ValueError, match=message):
            lep.save(file, wrong)
    assert lep.load(file) == {"k": 1.0}  # a failed save leaves the old file
    with pytest.raises(FileNotFoundError):
        lep.save(tmp_path / "nowhere" / "a.npz", {"k": 1.0})


def test_load_refuses_other_files(tmp_path):
    file = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError):
        lep.load(file)
    lep.save(file, {"k": np.arange(100.0)})
    whole = file.read_bytes()

    def refuses():
        with pytest.raises(ValueError, match="path must be a file written by lep.save; got "):
            lep.load(file)

    for content in (b"", b"rubbish", whole[: len(whole)//2], b"PK\x03\x04" + bytes(50)):
        file.write_bytes(content)
        refuses()
    np.savez(file, k=1.0)
    refuses()
    np.savez(file, description=np.array({"format": "x"}, dtype=object))  # a pickle is not opened
    refuses()
    with open(file, "wb") as stream:
        np.save(stream, np.ones(3))
    refuses()
    np.savez(file, description=np.array('{"format": "lagrangian_eqprop parameters", "version": 99, "names": []}'))
    with pytest.raises(ValueError, match="path must be of format version 1; got version 99"):
        lep.load(file)
    broken = bytearray(whole)
    broken[len(whole)//2] ^= 255
    file.write_bytes(bytes(broken))
    refuses()
