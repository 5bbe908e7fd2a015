"""Curves of class-incremental learning: the mean is over orders and students."""

import numpy as np

from jaxdd.reporting import incremental

RESULTS = {
    'method': 'dm',
    'plugins': ['cc'],
    'dataset': 'digits',
    'ipc': 2,
    'command': 'python -m experiments.continual dm',
    'hardware': '2 x cpu',
    'commit': 'abc',
    'versions': {},
    'protocol': {'name': 'dsa-1000', 'num_seeds': 2},
    'steps per task': 100,
    'seen': [5, 10],
    'orders': [[0], [1]],
    'accuracy': {
        'distilled': [[[0.5, 0.7], [0.4, 0.4]], [[0.6, 0.8], [0.3, 0.5]]],
        'random': [[[0.5, 0.5], [0.25, 0.25]], [[0.5, 0.5], [0.25, 0.25]]],
    },
}


def test_the_std_is_of_all_orders_and_students():
    header, rows = incremental._rows(RESULTS)
    assert header == ['memory', '5 classes, %', '10 classes, %']
    std = 100 * np.std([0.5, 0.7, 0.6, 0.8])
    assert rows == [
        ['random real images', '50.00 ± 0.00', '25.00 ± 0.00'],
        ['DM + CC', f'65.00 ± {std:.2f}', f'40.00 ± {100 * np.std([0.4, 0.4, 0.3, 0.5]):.2f}'],
    ]


def test_the_page_says_how_it_was_measured():
    page = incremental.report(RESULTS, 'x.png')
    for words in (
        'DM + CC in 2 tasks',
        'Orders of the classes: 2, students each: 2',
        'dsa-1000',
        'x.png',
        '2 x cpu',
    ):
        assert words in page


def test_the_figure_is_written(tmp_path):
    incremental.curves_png(tmp_path / 'a.png', RESULTS)
    assert (tmp_path / 'a.png').stat().st_size > 5000


def test_the_html_page_needs_nothing_beside_itself():
    page = incremental.page({**RESULTS, 'bibtex': ['@article{dm}'], 'config': {'ipc': 3}}, b'png')
    for words in (
        '<h1>DM + CC in 2 tasks on ',
        '<td class=num>50.00 ± 0.00</td>',
        'accuracy on all 10 classes</dt><dd>40.00',
        'against random real images</dt><dd>+15.00',
        'src="data:image/png;base64,cG5n"',
        '@article{dm}',
        'Orders of the classes',
        'over orders and students',
    ):
        assert words in page
    assert 'http' not in page and '<script' not in page
