"""Lines within a page: where points lie, round marks, and parts that are not joined."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from jaxdd.reporting import charts

SVG = '{http://www.w3.org/2000/svg}'


def lines(text):
    return [
        [tuple(map(float, pair.split(','))) for pair in points.split()]
        for points in re.findall(r'<polyline class="line" points="([^"]*)"', text)
    ]


def test_points_lie_between_the_marks():
    drawn = charts.line([[(0, 0.0), (50, 5.0), (100, 10.0)]], title='a')
    ((left, bottom), (middle, centre), (right, top)) = lines(drawn)[0]
    assert (left, right) == (charts._LEFT, charts._WIDTH - charts._RIGHT)
    assert (bottom, top) == (charts._HEIGHT - charts._BOTTOM, charts._TOP)
    assert middle == (left + right) / 2 and centre == (top + bottom) / 2


def test_a_range_of_decades_is_logarithmic():
    ((_, low), (_, middle), (_, high)) = lines(
        charts.line([[(0, 1.0), (1, 10.0), (2, 100.0)]], title='a')
    )[0]
    assert middle == pytest.approx((low + high) / 2)
    ((_, low), (_, middle), (_, high)) = lines(
        charts.line([[(0, 1.0), (1, 2.0), (2, 9.0)]], title='a')
    )[0]
    assert middle != pytest.approx((low + high) / 2)


def test_parts_are_not_joined_and_a_single_point_is_a_dot():
    drawn = charts.line([[(0, 1.0), (1, 2.0)], [(2, 1.0), (3, 1.5)], [(4, 1.0)]], title='a')
    assert [len(part) for part in lines(drawn)] == [2, 2] and drawn.count('<circle') == 1


@pytest.mark.parametrize('parts', [[], [[]], [[(0, float('nan'))]]])
def test_without_points_there_is_no_chart(parts):
    assert charts.line(parts, title='a') == ''


@pytest.mark.parametrize('value', [0.0, 3.0, -2.5])
def test_a_constant_has_a_chart(value):
    ElementTree.fromstring(charts.line([[(0, value), (10, value)]], title='a <b> & "c"'))


@pytest.mark.parametrize(
    'low, high, found',
    [
        (0, 10, [0, 5, 10]),
        (0.0154, 0.0337, [0.015, 0.02, 0.025, 0.03, 0.035]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (0, 20000, [0, 5000, 10000, 15000, 20000]),
    ],
)
def test_marks_are_round_and_enclose_the_range(low, high, found):
    assert charts.ticks(low, high) == found


@pytest.mark.parametrize(
    'low, high, found', [(1, 1000, [1, 10, 100, 1000]), (3, 40, [5, 10, 20]), (3, 4, [3, 4])]
)
def test_marks_of_decades(low, high, found):
    assert charts._powers(low, high) == found
