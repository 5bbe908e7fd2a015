"""Many runs as one table: grouped by protocol, sorted, in every form, damaged ones named."""

import json

import pytest

from experiments import table
from jaxdd.storage import records

RULES = {'name': 'quick-100', 'epochs': 100, 'width': 64, 'num_seeds': 2, 'networks': ['convnet']}


def score(*per_seed):
    mean = sum(per_seed) / len(per_seed)
    return {'mean': mean, 'std': 0.01, 'per_seed': list(per_seed)}


def record(value, **more):
    return {
        'method': 'dm',
        'plugins': ['cc'],
        'dataset': 'digits',
        'ipc': 10,
        'protocol': RULES,
        'accuracy': {
            'distilled': {'convnet': score(value, value)},
            'random': {'convnet': score(0.25, 0.25)},
        },
        'students': {'convnet': 'convnet, depth 2'},
        'steps': 1500,
        'seconds': {'distil': 3600.0, 'evaluate': 1800.0, 'compile (within distil)': 60.0},
        **more,
    }


@pytest.fixture
def run(tmp_path, capsys):
    """`run(records by folder, *words) -> (exit code, printed, told)`."""

    def call(found, *words):
        for name, content in found.items():
            records.save(tmp_path / name / 'results.json', content)
        code = table.main([*(str(tmp_path / name) for name in found), *words])
        return code, *capsys.readouterr()

    return call


def test_a_line_holds_what_a_run_found(run):
    published = {'value': 0.75, 'std': 0.02, 'source': 'a paper'}
    budget = {name: {'published': '2', 'here': '1'} for name in ('num_steps', 'b', 'c')}
    code, printed, _ = run({'a': record(0.5, published=published, budget=budget)})
    title, _, header, _, line = printed.splitlines()
    assert code == 0 and title == 'protocol quick-100'
    assert header.split('  ')[0] == 'method' and header.rstrip().endswith('run')
    assert line.startswith('DM + CC  digits     10  convnet, depth 2  25.00 ± 1.00  50.00 ± 1.00')
    assert ' 2  75.00 ± 2.00  -25.00  num_steps, b and 1 more  1,500   1.50  ' in line


def test_columns_that_say_nothing_are_left_out(run):
    printed = run({'a': record(0.5)})[1]
    assert 'published' not in printed and 'Δ' not in printed and 'random' in printed


def test_more_seeds_are_no_other_protocol_and_fewer_epochs_are(run):
    """What was changed is named where it changes a student's number."""

    def changed(**settings):
        told = {name: {'protocol': 1000, 'here': value} for name, value in settings.items()}
        rules = {**RULES, 'name': 'dsa-1000', 'version': 1, **settings, 'changed': told}
        return record(0.6, protocol=rules)

    some = {'a': changed(), 'b': changed(num_seeds=3), 'c': changed(epochs=60)}
    found = json.loads(run(some, '--json')[1])
    assert [[line['run'].rpartition('/')[2] for line in group['runs']] for group in found] == [
        ['a', 'b'],
        ['c'],
    ]
    titles = ['dsa-1000 v1', 'dsa-1000 v1, changed: epochs 60']
    assert [group['protocol'] for group in found] == titles
    alone = json.loads(run({'c': some['c']}, '--json')[1])
    assert [group['protocol'] for group in alone] == titles[1:]


def test_runs_of_one_protocol_stand_together_and_others_apart(run):
    others = {
        'b': record(0.6, protocol={**RULES, 'width': 128}),
        'c': record(0.7, protocol={**RULES, 'num_seeds': 5, 'networks': ['convnet', 'vgg11']}),
        'd': record(0.8, protocol={**RULES, 'name': 'dsa-1000', 'epochs': 1000}),
    }
    found = json.loads(run({'a': record(0.5), **others}, '--json')[1])
    assert [[line['accuracy'] for line in group['runs']] for group in found] == [
        [0.5, 0.7],
        [0.6],
        [0.8],
    ]
    titles = [group['protocol'] for group in found]
    assert titles == ['quick-100 (width 64)', 'quick-100 (width 128)', 'dsa-1000']


@pytest.mark.parametrize(
    'sort, order',
    [
        (None, ['a', 'b', 'c']),
        ('accuracy', ['b', 'a', 'c']),
        ('ipc', ['c', 'b', 'a']),
        ('method', ['c', 'a', 'b']),
        ('steps', ['a', 'b', 'c']),
    ],
)
def test_lines_are_sorted_within_their_protocol(run, sort, order):
    found = {
        'a': record(0.5, ipc=50),
        'b': record(0.7, ipc=10),
        'c': record(0.3, ipc=1, method='dc'),
    }
    printed = run(found, '--json', *(['--sort', sort] if sort else []))[1]
    (group,) = json.loads(printed)
    assert [line['run'][-1] for line in group['runs']] == order


def test_every_student_has_a_line_and_the_published_number_is_the_firsts(run):
    accuracy = {'distilled': {'convnet': score(0.5), 'vgg11': score(0.25)}, 'random': {}}
    published = {'value': 0.75, 'std': None, 'source': 'a paper'}
    found = run({'a': record(0.5, accuracy=accuracy, published=published)}, '--json')[1]
    first, second = json.loads(found)[0]['runs']
    assert (first['student'], first['difference']) == ('convnet, depth 2', -0.25)
    assert (second['student'], second['difference']) == ('vgg11', None)
    assert first['random'] is None and second['published'] is None


def test_an_evaluation_adds_the_students_that_the_run_had_not(run, tmp_path):
    cross = {'distilled': {'convnet': score(0.5, 0.5), 'alexnet': score(0.4, 0.4)}}
    evaluation = record(0.5, accuracy=cross, identity={})
    del evaluation['steps'], evaluation['seconds']
    records.save(tmp_path / 'a' / 'evaluation.json', evaluation)
    (group,) = json.loads(run({'a': record(0.5)}, '--json')[1])
    assert [line['student'] for line in group['runs']] == ['convnet, depth 2', 'alexnet']
    assert [line['steps'] for line in group['runs']] == [1500, 1500]
    assert group['runs'][1]['hours'] is None


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(run, tmp_path, capsys):
    assert run({'a': record(0.5), 'b': record(0.6)})[0] == 0
    path = tmp_path / 'b' / 'results.json'
    path.write_text(path.read_text().replace('0.6', '0.9'))
    records.save(tmp_path / 'c' / 'results.json', {'seen': [1, 2]})
    (tmp_path / 'a' / 'evaluation.json').write_text('{')
    (tmp_path / 'd').mkdir()
    words = [str(tmp_path / name) for name in 'abcd']
    assert table.main(words) == 0
    printed, told = capsys.readouterr()
    assert '50.00' in printed and '60.00' not in printed and '90.00' not in printed
    told = told.splitlines()
    assert [line.startswith('left out: ') for line in told] == [True] * 4
    for line, name in zip(
        told, ('a/evaluation.json', 'b/results.json', 'c/results.json', 'd/results.json')
    ):
        assert f'{tmp_path}/{name}' in line
    assert 'checksum' in told[1] and 'method' in told[2] and 'is not there' in told[3]
    assert table.main(words[1:]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith('error: no workdir holds results')


def test_markdown_and_a_page(run, tmp_path):
    found = {'a': record(0.5, dataset='<mine>')}
    printed = run(found, '--markdown')[1]
    assert printed.startswith('## protocol quick-100\n\n| method | data set | ipc |')
    assert '| DM + CC | <mine> | 10 |' in printed
    path = tmp_path / 'deep' / 'table.html'
    code, printed, _ = run(found, '--html', str(path))
    page = path.read_text()
    assert code == 0 and printed == f'table: {path}\n'
    assert '&lt;mine&gt;' in page and '<mine>' not in page and 'None' not in page
    assert '50.00 ± 1.00' in page


def test_a_page_that_cannot_be_written(run, tmp_path):
    (tmp_path / 'file').write_text('')
    code, _, told = run({'a': record(0.5)}, '--html', str(tmp_path / 'file' / 'x.html'))
    assert code == 2 and told.startswith('error: ') and 'file' in told


@pytest.mark.parametrize('words', [[], ['a', '--sort', 'luck'], ['a', '--json', '--markdown']])
def test_wrong_words_end_with_code_2(words):
    with pytest.raises(SystemExit) as end:
        table.main(words)
    assert end.value.code == 2
