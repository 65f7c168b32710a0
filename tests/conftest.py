"""One cache of generated modules for the whole session, shared by all workers and removed at its end."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import settings

VARIABLE = "LAGRANGIAN_EQPROP_CACHE"
MADE = pytest.StashKey[str]()

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    """Runs before workers start, which inherit the variable: only the first process makes a folder."""
    if not os.environ.get(VARIABLE):
        config.stash[MADE] = os.environ[VARIABLE] = tempfile.mkdtemp(prefix="lagrangian_eqprop_tests_")


def pytest_unconfigure(config):
    folder = config.stash.get(MADE, None)
    if folder is not None:
        os.environ.pop(VARIABLE, None)
        shutil.rmtree(folder, ignore_errors=True)
