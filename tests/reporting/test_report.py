"""The report says what was measured, in percent."""

import pytest

from jaxdd.reporting import report
from jaxdd.types import Accuracy

RESULTS = {
    'method': 'dm',
    'plugins': ['cc', 'cm'],
    'dataset': 'digits',
    'ipc': 1,
    'seed': 3,
    'steps': 1500,
    'command': 'python -m experiments.run dm --ipc 1',
    'commit': 'abc1234',
    'hardware': '8 x cpu',
    'config': {'optimizer': {'learning_rate': 0.5}, 'batch|size': 256},
    'versions': {'jax': '0.10.2'},
    'weights': {
        'cc': {'value': 0.05, 'source': 'published, table 7'},
        'cm': {'value': 1e-7, 'source': 'calibrated'},
    },
    'protocol': {'name': 'dc-hard', 'epochs': 300, 'num_seeds': 2},
    'accuracy': {
        'distilled': {
            'convnet': {'mean': 0.8125, 'std': 0.0125, 'per_seed': [0.8, 0.825]},
            'vgg': Accuracy(0.7, 0.0, (0.7, 0.7)),
        },
        'random': {'convnet': {'mean': 0.628, 'std': 0.053, 'per_seed': [0.575, 0.681]}},
    },
    'scores': {
        'convnet': {'ior': 0.1845, 'hlr': 0.08, 'lrs': 0.2898, 'protocol': 'dc-hard'},
        'vgg': {'hlr': 0.2, 'protocol': 'dc-hard'},
    },
    'seconds': {'prepare': 1.0, 'compile': 12.25, 'distil': 1234.5, 'evaluate': 30},
    'seconds_per_step': 0.0123,
    'bytes': {'images': 2560, 'labels': 400, 'random images': 1280, 'random labels': 0},
    'published': {'value': 0.8, 'std': 0.01, 'source': 'A, table 1'},
    'real_per_class': {'asked': 256, 'least': 139, 'most': 146},
    'pictures': {'initial and distilled': 'grid.png', 'curves': 'curves.png'},
}


def test_the_page_holds_every_value():
    page = report.report(RESULTS)
    assert page.startswith('# DM + CC + CM on digits, 1 image per class\n')
    for text in (
        '| random real images | convnet | 62.80 ± 5.30 | 2 | dc-hard | 300 | 1,280 | 0 |',
        '| DM + CC + CM | convnet | 81.25 ± 1.25 | 2 | dc-hard | 300 | 2,560 | 400 |',
        '| DM + CC + CM | vgg | 70.00 ± 0.00 | 2 |',
        '| published (A, table 1) | - | 80.00 ± 1.00 |',
        '| ours - published | convnet | +1.25 points |',
        '2,960 bytes (images 2,560, labels 400)',
        '| cc | 0.05 | published, table 7 |',
        '| cm | 1e-07 | calibrated |',
        '| distil | 1,234.5 |',
        '| one step | 0.0123 |',
        '| hardware | 8 x cpu |',
        '| commit | abc1234 |',
        '| jax | 0.10.2 |',
        'Real images per class and step: 256 (classes with fewer: all of theirs, 139 at least).',
        '![initial and distilled](grid.png)',
        '    python -m experiments.run dm --ipc 1',
        '| `optimizer.learning_rate` | 0.5 |',
        r'| `batch\|size` | 256 |',
        '1,500',
        'Seed: 3.',
        'Scores of convnet under dc-hard, fractions: IOR 0.1845, HLR 0.0800, LRS 0.2898.\n',
        'Scores of vgg under dc-hard, fractions: HLR 0.2000.\n',
    ):
        assert text in page
    assert page.index('random real images') < page.index('81.25') < page.index('published (A')


def test_a_protocol_is_shown_with_its_version_and_what_was_changed_of_it():
    under = {
        'name': 'dsa-1000',
        'version': 2,
        'changed': {'epochs': {'protocol': 1000, 'here': 100}},
        'epochs': 100,
    }
    assert report.protocol(under) == 'dsa-1000 v2, changed: epochs 100'
    assert report.protocol({**under, 'changed': {}}) == 'dsa-1000 v2'
    assert report.protocol({'name': 'dsa-60'}) == 'dsa-60' and report.protocol({}) == '-'
    for shown in (report.table, report.report):
        assert 'dsa-1000 v2, changed: epochs 100' in shown({**RESULTS, 'protocol': under})


def test_a_chosen_accuracy_is_shown_under_its_own_name_alone():
    chosen = {'convnet': {'mean': 0.9, 'std': 0.0, 'per_seed': [0.9]}}
    for name in ('best', 'distilled, best epoch'):
        with pytest.raises(ValueError, match=f'{name} names the best .* begins with best_of/'):
            report.table({'accuracy': {**RESULTS['accuracy'], name: chosen}})
    shown = report.table({'accuracy': {**RESULTS['accuracy'], 'best_of/test': chosen}})
    assert 'best_of/test' in shown


@pytest.mark.parametrize('missing', sorted(RESULTS))
def test_any_part_may_be_missing(missing):
    some = {key: value for key, value in RESULTS.items() if key != missing}
    for text in (report.report(some), report.report({**some, missing: None}), report.table(some)):
        assert 'None' not in text
    assert report.report({}).startswith('# METHOD')
    assert report.table({}).startswith('training set')


def test_as_many_images_as_asked_need_no_further_words():
    assert report.real_per_class({'asked': 1000, 'least': 1000, 'most': 1000}) == '1,000'


def test_without_published_there_is_no_difference():
    assert 'published' not in report.table({**RESULTS, 'published': None})
    assert '± ' not in report.table({'published': {'value': 0.5}})


def test_a_difference_to_another_budget_says_so():
    budget = {'num_steps': {'published': '20000', 'here': '10'}}
    for text in (
        report.table({**RESULTS, 'budget': budget}),
        report.report({**RESULTS, 'budget': budget}),
    ):
        assert 'ours at another budget - published' in text
        assert (
            'The published number has another budget: here num_steps 10 (published: 20000).' in text
        )
    assert 'another budget' not in report.table({**RESULTS, 'budget': {}})
    many = {str(i): {'published': '1', 'here': '2'} for i in range(9)}
    assert ', and 3 more.' in report.table({**RESULTS, 'budget': many})
    assert 'another budget' not in report.table({**RESULTS, 'budget': budget, 'published': None})


def test_warnings_and_missing_rows_stand_below_the_table():
    results = {
        **RESULTS,
        'warnings': ['the distilled pixels reach 6e+29'],
        'missing': {'random': 'too few', 'vgg11': 'x'},
        'students': {'convnet': 'convnet, depth 3'},
    }
    for text in (report.table(results), report.report(results)):
        for words in (
            'WARNING: the distilled pixels reach 6e+29.',
            'No row for random real images: too few.',
            'No row for vgg11: x.',
            'convnet, depth 3',
        ):
            assert words in text


def test_the_table_is_aligned():
    lines = report.table(RESULTS).splitlines()
    assert len(lines) == 7 and set(lines[1]) == {'-', ' '}
    column = lines[0].index('accuracy')
    assert lines[2][column:].startswith('62.80 ± 5.30') and lines[3][column:].startswith(
        '81.25 ± 1.25'
    )


def test_parts_that_are_left_out_are_named():
    results = {**RESULTS, 'left_out': {'t-SNE': 'a smoke run draws none'}}
    for text in (report.table(results), report.report(results)):
        assert 'Left out: t-SNE, because a smoke run draws none.' in text
