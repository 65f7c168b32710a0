"""The committed table of exactness: complete, within its limits, and the same where a sample is measured anew."""

import numpy as np
import pytest
import table

WRITTEN = table.load()
ROWS = [" | ".join(cell) for cell in table.cells()]
# about sixty cells: eight rows with errors and three of reasons, drawn once, of six estimators each
MEASURED = [name for name in ROWS if isinstance(WRITTEN[name]["Exact"], float)]
SAMPLE = [names[k] for names, count in ((MEASURED, 8), (ROWS, 3))
          for k in np.random.default_rng(4).choice(len(names), count, replace=False)]  # fmt: skip
WANTED = ("Exact", "Adjoint", "Centered", "OneSided", "Echo", "ConvolutionAction")


def test_every_cell_is_there_and_within_its_limit():
    assert list(WRITTEN) == ROWS
    for name, row in WRITTEN.items():
        assert list(row) == list(table.ESTIMATORS), name
        for estimator, value in row.items():
            if isinstance(value, str):
                assert len(value) > 20, (name, estimator, value)
            else:
                assert value <= table.LIMITS.get(estimator, table.BIASED), (name, estimator, value)


def test_the_document_shows_what_was_measured():
    assert table.FILE.with_suffix(".md").read_text(encoding="utf-8") == table.document(WRITTEN)


def test_much_of_the_table_exists():
    numbers = sum(not isinstance(value, str) for row in WRITTEN.values() for value in row.values())
    assert numbers > 500


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_measured_anew(name):
    found = table.measure(*name.split(" | "), WANTED)
    for estimator in WANTED:
        before, now = WRITTEN[name][estimator], found[estimator]
        if isinstance(before, str):
            assert now == before
        else:
            assert now <= max(30*before, table.LIMITS.get(estimator, table.BIASED)/10)
