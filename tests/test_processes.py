"""Fits in threads, in forked and in new processes: none hangs, all are equal."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
X, Y = make_series()
# Seconds after which a child counts as hung; a fit takes less than one.
PATIENCE = 120


class Pause(Callback):
    """Holds a training until it may go on, and tells that it has begun."""

    def __init__(self, begun=None, go_on=None):
        self.begun, self.go_on = begun, go_on

    def on_epoch_begin(self, net, **kwargs):
        self.begun.set()
        assert self.go_on.wait(PATIENCE)


def fit_in_a_fork(fit):
    """Return what `fit` returns in a forked process, an array; None where that hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            found = io.BytesIO()
            np.save(found, fit())
            with os.fdopen(writer, "wb") as file:
                file.write(found.getvalue())
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return None
        time.sleep(0.01)
    with os.fdopen(reader, "rb") as file:
        return np.load(io.BytesIO(file.read()))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_process_that_is_forked_while_a_thread_fits_can_fit():
    import torch

    expected = tiny_transformer().fit(X).codebook_
    torch.manual_seed(0)
    state = torch.get_rng_state()
    begun, go_on = threading.Event(), threading.Event()
    model = tiny_transformer(callbacks=[Pause(begun, go_on)])
    thread = threading.Thread(target=model.fit, args=(X,))
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        found = fit_in_a_fork(lambda: tiny_transformer().fit(X).codebook_)
        # The child's global generator is as it was before the parent's fit.
        in_child = fit_in_a_fork(lambda: torch.get_rng_state().numpy())
    finally:
        go_on.set()
        thread.join()
    assert found is not None, "the child hangs"
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(in_child, state.numpy())
    np.testing.assert_array_equal(model.codebook_, expected)
    assert torch.equal(torch.get_rng_state(), state)


class Fork(Callback):
    """Forks in the middle of a training, as a loader with workers would."""

    def __init__(self, found):
        self.found = found

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 1:
            self.found.append(fit_in_a_fork(lambda: tiny_transformer().fit(X).codebook_))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fit_may_fork_and_go_on():
    found = []
    model = tiny_transformer(callbacks=[Fork(found)]).fit(X)
    expected = tiny_transformer().fit(X).codebook_
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(model.codebook_, expected)


@pytest.mark.parametrize("mixed", [False, True])
def test_four_fits_in_four_threads_are_equal_to_those_one_after_the_other(mixed):
    """Two of each estimator, with other seeds, so that no two streams are alike."""
    makers = [tiny_transformer, tiny_generator]

    def fit(make, seed):
        model = make(random_state=seed)
        names = [name for name in model.get_params() if name.endswith("mixed_precision")]
        model.set_params(**dict.fromkeys(names, mixed)).fit(X, Y)
        drawn = [] if make is tiny_transformer else [model.sample(3, random_state=0)[0]]
        return [getattr(model, "transformer_", model).codebook_, *drawn]

    tasks = [(make, seed) for make in makers for seed in (0, 1)]
    expected = [fit(*task) for task in tasks]
    found = joblib.Parallel(4, prefer="threads")(joblib.delayed(fit)(*task) for task in tasks)
    for one, other in zip(found, expected, strict=True):
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same)
    assert not np.array_equal(expected[2][1], expected[3][1])


# A process of its own, so that a hang is seen, and what the tests before did plays no part.
SEARCH = """
import sys
sys.path.insert(0, {tests!r})
import joblib
import numpy as np
from helpers import make_series, tiny_generator
from sklearn.model_selection import GridSearchCV

if __name__ == "__main__":
    X, y = make_series()
    search = GridSearchCV(tiny_generator(), {{"prior__lr": [1e-3, 1e-2]}}, cv=2, n_jobs=2)
    with joblib.parallel_config({backend!r}, **{options!r}):
        search.fit(X, y)
    print(search.cv_results_["mean_test_score"].tolist())
"""
BACKENDS = {
    "sequential": {},
    "threading": {},
    "loky": {"inner_max_num_threads": 1},
    "multiprocessing": {},
}


@pytest.mark.slow
def test_searches_under_every_backend_are_equal():
    scores = {}
    for backend, options in BACKENDS.items():
        code = SEARCH.format(tests=os.path.dirname(__file__), backend=backend, options=options)
        output = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        scores[backend] = output.strip()
    assert set(scores.values()) == {scores["sequential"]}, scores


def test_a_search_in_threads_is_equal_to_one_without():
    searches = [
        GridSearchCV(tiny_transformer(), {"lr": [1e-3, 1e-2]}, cv=2, n_jobs=n_jobs)
        for n_jobs in (None, 2)
    ]
    with joblib.parallel_config("threading"):
        one, other = (search.fit(X).cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(one, other)
