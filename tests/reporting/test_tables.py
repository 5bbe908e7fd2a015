"""Tables as text."""

import pytest

from jaxdd.reporting import tables

ROWS = [['dm', '1.5'], ['infer', '10']]


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text():
    assert tables.aligned(['name', 's'], ROWS) == 'name   s\ndm     1.5\ninfer  10'
    assert tables.aligned(['name', 's'], ROWS, rule=True).splitlines()[1] == '-----  ---'


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError):
        tables.aligned(['name', 's'], [['dm']])


def test_markdown_escapes_bars_and_sets_numbers_to_the_right():
    text = tables.markdown(['a|b', 's'], ROWS, numbers=[1])
    assert text == '| a\\|b | s |\n| --- | ---: |\n| dm | 1.5 |\n| infer | 10 |'


def test_a_table_may_have_no_rows():
    assert tables.markdown(['a'], []) == '| a |\n| --- |' and tables.aligned(['a'], []) == 'a'


def test_numbers_are_set_to_the_right():
    text = tables.aligned(['name', 'steps'], ROWS, numbers=[1])
    assert text == 'name   steps\ndm       1.5\ninfer     10'
