"""The page of several sets shows what their plug-ins measured, a line per set."""

import pytest

from experiments.methods import parse
from experiments.stages import several
from experiments.stages.progress import History
from jaxdd.reporting import html


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / f'set-{i}' for i in (0, 1)]
    for i, folder in enumerate(made):
        folder.mkdir()
        history = History(folder / 'history.jsonl', up_to=0)
        history.add(5, {'loss/cm': 2.0 + i})
        history.add(10, {'loss/cm': 1.0 + i})
    return made


def test_each_set_has_a_line_of_its_own(folders):
    config = parse('dm --dataset digits --ipc 2 --plugins cm --num-sets 2'.split())
    series = several._series(config, folders)
    assert series == {'cm': [[(5, 2.0), (10, 1.0)], [(5, 3.0), (10, 2.0)]]}
    page = html.page({'sets': 2}, {}, series)
    assert page.count('<polyline') == 2 and 'A line for each of 2 distilled sets.' in page


def test_sets_that_are_made_in_parts_have_their_lines_on_their_own_pages(folders):
    config = parse('sre2l --dataset digits --ipc 2 --plugins cm --num-sets 2'.split())
    assert several._series(config, folders) == {}
