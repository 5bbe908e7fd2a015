"""What a record says in a row: what it lacks is left empty, what is beside a budget is said."""

import pathlib

import pytest

from experiments.reproduction import rows, tasks
from experiments.reproduction.ledger import Ledger

ACCURACY = {'mean': 0.25, 'std': 0.0126, 'per_seed': [0.2374, 0.2626]}
PATH = pathlib.Path('somewhere/run.json')
RUN = {
    'method': 'infer',
    'plugins': [],
    'dataset': 'cifar10',
    'ipc': 10,
    'hardware': '8 x tpu',
    'steps': 2000,
    'protocol': {'name': 'infer-dynamic-20', 'labels': 'dynamic'},
    'accuracy': {
        'distilled': {'resnet18_stem3': ACCURACY, 'convnet': ACCURACY},
        'random': {'convnet': ACCURACY},
    },
}


def of_run(**changes):
    return list(rows.of_run('INFER', {**RUN, **changes}, PATH))


def test_a_run_has_a_row_per_student():
    one, other = of_run()
    assert one['set'] == '[INFER](results/run.json)' and one['ours, %'] == '25.00 ± 1.26'
    assert one['published, %'] == '30.7 ± 0.3' and other['published, %'] == ''
    assert (one['random images, %'], other['random images, %']) == ('', '25.00 ± 1.26')
    assert one['students'] == '2 x resnet18_stem3, infer-dynamic-20' and one['steps'] == '2,000'
    empty = ('λ', 'teachers, %', 'image bytes', 'label bytes', 'time')
    assert {one[name] for name in empty} == {''}


def test_replayed_labels_are_dynamic_ones_of_the_papers():
    assert of_run(protocol={'name': 'a', 'labels': 'replayed'})[0]['published, %'] == '30.7 ± 0.3'


def test_a_set_that_was_only_evaluated_is_no_cell():
    evaluated = {name: value for name, value in RUN.items() if name != 'steps'}
    for row in rows.of_run('INFER', evaluated, PATH):
        assert row['published, %'] == row['steps'] == ''


def test_a_runs_time_is_a_lower_bound_without_what_stands_within_a_stage():
    row, _ = of_run(seconds={'distil': 100.0, 'evaluate': 20.0, 'compile (within distil)': 60.0})
    assert row['time'] == '≥ 2.0 min'


def test_weights_and_teachers():
    row, _ = of_run(
        weights={'cc': {'value': 0.05}, 'cmi': {'value': 50000.0}},
        teachers={'a': 0.724, 'b': None},
        protocol={'name': 'a-1', 'labels': 'hard', 'width': 16},
    )
    assert row['λ'] == 'CC 0.05, CMI 50000' and row['teachers, %'] == 'a 72.4, b ?'
    assert row['students'] == '2 x resnet18_stem3 of width 16, a-1'


@pytest.mark.parametrize(
    'size, expected',
    [
        ({'labels': 0}, ''),
        ({'labels': 0, 'labels, were all kept': 120000, 'random labels': 0}, '0 (120,000 if kept)'),
        ({'labels': 4800, 'random labels': 2000}, '4,800 (random images: 2,000)'),
        ({'labels': 4800}, '4,800'),
    ],
)
def test_bytes_are_told_where_there_are_teachers(size, expected):
    row, _ = of_run(bytes={'images': 307200, **size}, teachers={'a': 0.5})
    assert row['label bytes'] == expected and row['image bytes'] == '307,200'
    assert of_run(bytes={'images': 307200, **size})[0]['image bytes'] == ''


@pytest.mark.parametrize(
    'seconds, expected', [(60, '1.0 min'), (7200, '120.0 min'), (9000, '2.5 h')]
)
def test_times(seconds, expected):
    assert rows.time(seconds) == expected


def test_a_cell_says_what_is_beside_its_budget():
    *_, task = tasks.choose(['cifar10/dm+cmi/10'], 'published')
    where = Ledger(pathlib.Path('folder'), 'published')
    record = {
        'ours': ACCURACY,
        'random': None,
        'steps': 20000,
        'hardware': '1 x gpu',
        'seconds': 60,
        'command': ' '.join(('python -m experiments.run', *task.words)),
        'protocol': {'name': 'dsa-1000'},
        'student_updates': {'distilled': 4004, 'random': 1001},
    }
    made = rows.of_cell(where, task, record)
    assert made['cell'] == '[cifar10/dm+cmi/10](results/cifar10-dm-cmi-10.json)'
    assert made['updates per student'] == '4,004 (random images: 1,001)'
    assert made['other options'] == made['random images, %'] == ''
    fewer = {**record, 'command': f'{record["command"]} --proxies.count 2'}
    assert rows.of_cell(where, task, fewer)['other options'] == '--proxies.count 2'


@pytest.mark.parametrize(
    'records, expected',
    [
        ([{'seconds': 600, 'steps': 20000, 'seconds_per_step': 0.02}], '10.0 min'),
        ([{'seconds': 600, 'steps': 20000, 'seconds_per_step': 0.04}], '≥ 10.0 min'),
        ([{'seconds': 600, 'steps': 20000, 'seconds_per_step': None}], '10.0 min'),
        ([{'seconds': 60}, {'seconds': 600, 'steps': 900, 'seconds_per_step': 1.0}], '≥ 11.0 min'),
        ([{'seconds': 60}, {'seconds': 600, 'steps': 300, 'seconds_per_step': 1.0}], '11.0 min'),
    ],
)
def test_a_set_that_was_there_before_makes_the_time_of_a_cell_a_lower_bound(records, expected):
    assert rows.time_of_cells(records) == expected
