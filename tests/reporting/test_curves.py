"""Curves of a run: a panel per loss, marked parts, accuracies with their std."""

from PIL import Image

from jaxdd.reporting import curves
from jaxdd.types import Accuracy


def test_curves_have_a_panel_per_loss(tmp_path):
    history = [
        {'step': s, 'loss/objective': 10 / s, 'loss/cc': -s, 'norm': 3.0} for s in range(1, 200)
    ]
    accuracies = {
        100: {'convnet': Accuracy(0.7, 0.01, (0.7,))},
        200: {'convnet': {'mean': 0.8, 'std': 0.02}},
    }
    path = tmp_path / 'curves.png'
    curves.curves_png(path, history, accuracies, random={'convnet': {'mean': 0.6, 'std': 0.05}})
    image = Image.open(path)
    assert (image.format, image.size) == ('PNG', (1638, 390))
    curves.curves_png(path, history, {})
    assert Image.open(path).size == (1092, 390)


def test_parts_of_a_run_are_marked_and_not_joined():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    curves._loss_panel(
        axis, 'loss/x', [(s, 1.0 * s) for s in range(1, 9)], {0: 'resnet18', 2: '', 4: 'convnet_bn'}
    )
    drawn = [
        line.get_xdata().tolist()
        for line in axis.lines
        if len(line.get_xdata()) and not line.get_xdata()[0] % 1 and line.get_color() == curves.BLUE
    ]
    assert [xs for xs in drawn if xs] == [[1, 2], [3, 4], [5, 6, 7, 8]]
    assert [text.get_text().strip() for text in axis.texts] == ['resnet18', '', 'convnet_bn']


def test_curves_of_little_or_nothing(tmp_path):
    curves.curves_png(tmp_path / 'one.png', [{'step': 1, 'loss/a': 0.0}], {})
    curves.curves_png(tmp_path / 'none.png', [], {})
    assert (
        Image.open(tmp_path / 'one.png').size
        == Image.open(tmp_path / 'none.png').size
        == (546, 390)
    )


def test_a_loss_over_decades_is_logarithmic():
    from matplotlib.figure import Figure

    scales = []
    for points in ([(1, 1.0), (2, 20.0)], [(1, 1.0), (2, 5.0)], [(1, -1.0), (2, 20.0)]):
        axis = Figure().subplots()
        curves._loss_panel(axis, 'loss/x', points, {})
        scales.append(axis.get_yscale())
    assert scales == ['log', 'linear', 'linear']


def test_a_point_at_a_mark_is_of_the_part_before():
    points = [(2, 0.2), (4, 0.4), (6, 0.6)]
    assert curves.parts(points, {4: 'next'}) == [points[:2], points[2:]]
    assert curves.parts(points, {}) == [points] and curves.parts([], {0: 'a'}) == [[], []]
