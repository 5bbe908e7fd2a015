"""Bytes against accuracy: what is drawn where."""

import pytest
from matplotlib.axes import Axes
from PIL import Image

from jaxdd.reporting import sizes
from jaxdd.reporting.sizes import Point
from jaxdd.types import Accuracy


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """drawn(lines, marks) -> the axes of a figure, which is also a file."""

    def draw(*args, **kwargs):
        found = []
        plain = sizes.save

        def keep(path, figure):
            found.append(figure.axes[0])
            plain(path, figure)

        monkeypatch.setattr(sizes, 'save', keep)
        sizes.sizes_png(tmp_path / 'x.png', *args, **kwargs)
        assert Image.open(tmp_path / 'x.png').format == 'PNG'
        return found[0]

    return draw


def test_lines_are_joined_by_size_and_marks_stand_alone(drawn):
    axis: Axes = drawn(
        {
            'patch 8': [
                Point(400, Accuracy(0.9, 0.01, (0.9,)), '8'),
                Point(100, Accuracy(0.5, 0.02, (0.5,)), '2'),
            ]
        },
        {'float32': Point(1600, {'mean': 0.91, 'std': 0.0})},
        title='a set',
    )
    points = [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axis.lines
        if line.get_linestyle() == '-' or line.get_marker() == 'D'
    ]
    assert ([100, 400], [50, 90]) in points and ([1600], [91]) in points
    assert [text.get_text() for text in axis.texts] == ['2', '8', '']
    assert axis.get_xscale() == 'log' and axis.get_title(loc='left') == 'a set'
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ['patch 8', 'float32']
    (dashed,) = [line for line in axis.lines if line.get_linestyle() == '--']
    assert set(dashed.get_ydata()) == {91}


def test_one_point_is_enough(drawn):
    axis = drawn({'patch 4': [Point(7, {'mean': 1.0, 'std': 0.0})]})
    assert axis.get_xlim()[0] < 7 < axis.get_xlim()[1]
