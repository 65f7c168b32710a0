"""The cases, in the order in which they are run."""

from __future__ import annotations

from ..harness import Case
from . import chain, cold_start, dense, implicit, layers, long_run, pendula, scaling, tracking, two_point, unlisted

_MODULES = (pendula, chain, tracking, unlisted, implicit, two_point, long_run, dense, layers, cold_start, scaling)

CASES: dict[str, Case] = {module.CASE.name: module.CASE for module in _MODULES}
