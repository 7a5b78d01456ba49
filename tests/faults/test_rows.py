"""Every row of the README's tables has a test or a reason."""

import pytest
from support.fault_table import excused, row_of, rows, rows_with_tests

PARTS = {part: [row for row in rows() if ("E" if "-" in row else row[0]) == part] for part in "ABCDEFGH"}
SIZES = {"A": 25, "B": 18, "C": 21, "D": 24, "E": 29, "F": 33, "G": 32, "H": 19}


def test_the_table_has_all_rows():
    """The README's tables have 201 rows in eight parts."""
    assert {part: len(names) for part, names in PARTS.items()} == SIZES
    assert sum(SIZES.values()) == 201


@pytest.mark.parametrize("part", PARTS)
def test_every_row_has_a_test_or_a_reason(part):
    """Each row has a test, or a reason in the README, and not both."""
    tested, excuses = rows_with_tests(), excused()

    assert [row for row in PARTS[part] if row not in tested and row not in excuses] == []
    assert [row for row in PARTS[part] if row in tested and row in excuses] == []


def test_no_test_names_a_row_that_is_not_there():
    """Each row in a test's name or a reason is a row of the tables."""
    assert rows_with_tests() <= set(rows())
    assert set(excused()) <= set(rows())


NAMES = {
    "test_a09_body_drip": "A9",
    "test_f33_short_links_first": "F33",
    "test_e_b6_any_shape": "B-E6",
    "test_every_row_has_a_test_or_a_reason": None,
    "test_a_key_is_secret": None,
}


@pytest.mark.parametrize(("name", "row"), NAMES.items(), ids=NAMES)
def test_a_tests_name_says_its_row(name, row):
    """row_of() reads a row from a letter and two digits, or from `e`, the API's letter and a number."""
    assert row_of(name) == row
