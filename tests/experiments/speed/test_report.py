"""The benchmark's outputs: lines, a Markdown table, a figure."""

import numpy as np
import pytest
from PIL import Image

from experiments.speed import report
from jaxdd.storage import records


def ours(seconds, ratios):
    return {
        'seconds per step': seconds,
        'of the ceiling': 0.5,
        'compile seconds': 2.25,
        'temporary bytes': 3_000_000,
        'ratio': dict(zip(('min', 'median', 'max'), ratios)),
    }


@pytest.fixture
def result():
    found = {'FLOPs': 2e9, 'theirs': {'seconds per step': 0.5, 'of the ceiling': 0.25}}
    return {
        'hardware': '2 x cpu',
        'cores': 2,
        'load': [0.5, 0, 0],
        'theirs on': 'cpu',
        'commit': 'abc',
        'repeats': 3,
        'plain': False,
        'versions': {'jax': '1', 'torch': '2'},
        'ceiling GFLOP/s': {'ours': 100, 'theirs': 90},
        'workloads': {
            'dm': {
                **found,
                'ours': {'1': ours(0.25, (1.9, 2.0, 2.2)), '5': ours(0.2, (2.4, 2.5, 2.6))},
            },
            'idc': {**found, 'ours': {'1': ours(1.0, (0.4, 0.5, 0.6))}},
        },
    }


def test_there_is_a_line_per_workload_and_size(result):
    lines = report.table(result)
    assert [line.split()[:2] for line in lines[-3:]] == [['dm', '1'], ['dm', '5'], ['idc', '1']]
    assert lines[-2].split()[2:] == [
        '0.5000',
        '0.2000',
        '2.40/2.50/2.60',
        '2.2',
        '3',
        '2.0',
        '25%',
        '50%',
    ]


def test_markdown_has_cells_as_many_as_its_header(result):
    lines = report.markdown(result)
    assert (
        '2 x cpu' in lines[0] and 'draws and augmentation included' in lines[0] and lines[1] == ''
    )
    assert {line.count('|') for line in lines[2:]} == {lines[2].count('|')}
    assert lines[4] == '| dm | 0.5 | 0.25 | 1.90/2.00/2.20 | 2.2 | 3 | 2 | 25% / 50% |'
    assert lines[5].startswith('| dm, 5 steps per call |')


def test_the_command_writes_what_is_asked_for(result, tmp_path, capsys):
    records.save(tmp_path / 'speed.json', result)
    words = [
        str(tmp_path / 'speed.json'),
        '--markdown',
        str(tmp_path / 'speed.md'),
        '--figure',
        str(tmp_path / 'speed.png'),
    ]
    assert report.main(words) == 0
    assert 'idc' in capsys.readouterr().out
    assert (tmp_path / 'speed.md').read_text() == '\n'.join(report.markdown(result)) + '\n'
    pixels = np.asarray(Image.open(tmp_path / 'speed.png').convert('RGB'))
    assert pixels.shape[0] > 300 and pixels.shape[1] > 500
    marks = [
        np.all(pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)], axis=-1).sum()
        for colour in report._COLOURS[:2]
    ]
    assert min(marks) > 100


def test_a_file_that_is_no_measurement_is_one_line(tmp_path, capsys):
    assert report.main([str(tmp_path / 'none.json')]) == 2
    assert capsys.readouterr().err.count('\n') == 1
