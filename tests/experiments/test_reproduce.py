"""The papers' cells, a few minutes at a time:
their names and order, stopping and going on, and what is recorded."""

import itertools
import json
import shutil
import signal

import jax
import numpy as np
import pytest

from experiments import reproduce
from experiments.methods import CELLS, METHODS, parse
from experiments.reproduction import ledger, tasks
from experiments.reproduction.ledger import Ledger
from experiments.stages import following
from jaxdd import parallel
from jaxdd.engine.distill import NonFiniteError

TINY = (
    '--num-steps 12 --steps-per-call 1 --checkpoint-every 5 --encoder.width 8 --data.per-class 4 '
    '--proxies.network.name convnet --proxies.network.width 8 --proxies.count 2 '
    '--proxies.epochs 0.3 --proxies.batch-size 16 --evaluation.epochs 1 --evaluation.num-seeds 2 '
    '--evaluation.width 8'
)
SOFT = (
    '--num-steps 2 --teachers.networks convnet_bn --teachers.width 8 --teachers.epochs 0.3 '
    '--teachers.batch-size 16 --evaluation.width 8 --evaluation.epochs 1 --evaluation.num-seeds 2'
)
ONE = ('--num-devices', '1')
DM = 'cifar10/dm/10'
KEY = jax.random.key(0)
ENOUGH_FOR_ONE = 5  # questions whether to stop: a student's steps, and those outside


# names and order


def test_every_cell_has_a_name_of_its_own():
    names = list(map(tasks.name_of, CELLS))
    assert len(set(names)) == len(names) and set(names) < set(tasks.tasks('published'))
    assert {DM, 'cifar10/dm+cc+cm/10', 'cifar100/infer/50/dynamic-convnet_bn'} < set(names)


def test_file_names_are_different_too(tmp_path):
    chosen = [
        (Ledger(tmp_path, budget), task)
        for budget in tasks.BUDGETS
        for task in tasks.tasks(budget).values()
    ]
    assert len({ledger.path(*one) for one in chosen}) == len(chosen)


@pytest.mark.parametrize('budget', tasks.BUDGETS)
def test_what_is_needed_goes_before(budget):
    seen = set()
    for task in tasks.tasks(budget).values():
        assert set(task.needs) <= seen
        seen.add(task.name)


def test_the_order_of_cifar10():
    names = [name for name in tasks.tasks('published') if name.startswith('cifar10/')]
    kinds = list(dict.fromkeys(name.split('/')[1] for name in names))
    assert names[:7] == [
        DM,
        'cifar10/dm/50',
        'cifar10/proxies',
        'cifar10/dm+cc+cm/10',
        'cifar10/dm+cc+cm/50',
        'cifar10/dm+cmi/10',
        'cifar10/dm+cmi/50',
    ]
    assert kinds[:9] == [
        'dm',
        'proxies',
        'dm+cc+cm',
        'dm+cmi',
        'idm',
        'idm+cc+cm',
        'dsa+cmi',
        'teachers',
        'infer',
    ]
    assert list(tasks.tasks('published'))[: len(names)] == names


@pytest.mark.parametrize(
    'patterns, expected',
    [
        ([DM], [DM]),
        (['cifar10/dm/*'], [DM, 'cifar10/dm/50', 'cifar10/dm/1']),
        (['cifar10/dm+cmi/10'], ['cifar10/proxies', 'cifar10/dm+cmi/10']),
        (
            ['cifar10/sre2l/50/*', DM],
            [DM, 'cifar10/teachers', 'cifar10/sre2l/50/dynamic-resnet18_stem3'],
        ),
        (['svhn*/proxies'], ['svhn_cropped/proxies']),
    ],
)
def test_wildcards_bring_what_is_needed(patterns, expected):
    assert [task.name for task in tasks.choose(patterns, 'published')] == expected


def test_the_number_of_proxies_can_be_another():
    usual, few = tasks.tasks('published'), tasks.tasks('published', proxies=2)
    assert {name for name in few if few[name] != usual[name]} == {
        name
        for name in few
        if name.endswith('/proxies') or any('proxies' in need for need in few[name].needs)
    }
    for name in ('cifar10/proxies', 'cifar10/dm+cmi/10'):
        assert parse(few[name].words).proxies.count == 2
    assert (
        few['cifar10/sre2l+cc/10/dynamic-resnet18_stem3']
        == usual['cifar10/sre2l+cc/10/dynamic-resnet18_stem3']
    )


def test_a_star_is_everything():
    assert tasks.choose(['*'], 'reduced') == list(tasks.tasks('reduced').values())


def test_the_published_budget_is_the_cells_own_command():
    for task in tasks.choose(['*/1?', '*/50'], 'published'):
        if task.cell:
            assert ('python', '-m', 'experiments.run', *task.words) == tuple(
                task.cell.command.split()
            )


@pytest.mark.parametrize('method', METHODS)
def test_the_reduced_budget_is_smaller_and_of_the_same_cell(method):
    for name, task in tasks.tasks('reduced').items():
        if task.cell and task.cell.method == method and task.dataset == 'cifar10':
            config = parse(task.words)
            full = parse(tasks.tasks('published')[name].words)
            assert config.num_steps < full.num_steps and config.evaluation.num_seeds == 2
            assert (
                config.evaluation.epochs <= 60
                and config.evaluation.networks == full.evaluation.networks
            )
            assert (config.method, config.plugins, config.ipc) == (
                method,
                task.cell.plugins,
                task.cell.ipc,
            )


@pytest.mark.parametrize('budget', tasks.BUDGETS)
def test_the_networks_made_beforehand_are_those_of_the_cells(budget):
    known = tasks.tasks(budget)
    made = {name: parse(known[name].words) for name in known if known[name].cell is None}
    for name in ('cifar10/dm+cmi/50', 'cifar100/idm+cc+cm/10'):
        config = parse(known[name].words)
        assert config.proxies == made[f'{config.dataset}/proxies'].proxies
    for name in (
        'cifar10/sre2l/50/dynamic-resnet18_stem3',
        'cifar100/infer/10/dynamic-convnet_bn',
        'imagenet/sre2l/10/dynamic-resnet50_stem7',
    ):
        config, other = parse(known[name].words), made[f'{name.partition("/")[0]}/teachers']
        assert set(config.teachers.networks) <= set(other.teachers.networks)
        assert {**vars(config.teachers), 'networks': ()} == {**vars(other.teachers), 'networks': ()}


def test_experts_are_trained_before_the_cells_that_need_as_many_epochs():
    known = tasks.tasks('published')
    assert known['cifar10/mtt/10'].needs == ('cifar10/experts-zca/21',)
    assert known['cifar10/datm/10'].needs == ('cifar10/experts-zca-gsam/100',)
    assert known['cifar10/mtt/50'].needs == ('cifar10/experts/41',)
    assert known['tiny_imagenet/mtt+cmi/10'].needs == (
        'tiny_imagenet/proxies', 'tiny_imagenet/experts/41',
    )  # fmt: skip
    config, own = (
        parse(known[name].words) for name in ('cifar10/mtt/10', 'cifar10/experts-zca/21')
    )
    assert config.experts == own.experts and config.data.zca and own.data.zca
    assert following.needed_epochs(config) == following.needed_epochs(own) == 21


# work


@pytest.fixture(scope='module', autouse=True)
def programs_stay():
    """A call forgets its programs for the memory of long ones;
    here the next call compiles the same ones again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, 'clear_caches', lambda: None)
        yield


def shrink(patch):
    for name, entry in METHODS.items():
        small = SOFT if entry.config.recovers else TINY
        patch.setitem(METHODS, name, entry._replace(reduced=lambda dataset, small=small: small))


@pytest.fixture
def tiny(monkeypatch):
    """A reduced budget of seconds."""
    shrink(monkeypatch)


@pytest.fixture(scope='module')
def npz(tmp_path_factory):
    """A file in the form in which CIFAR-10 is exported:
    12 and 4 images per class, brighter by class."""
    rng, arrays = np.random.default_rng(0), {}
    for half, count in (('train', 12), ('test', 4)):
        labels = np.repeat(np.arange(10), count)
        noise = rng.integers(0, 100, (len(labels), 32, 32, 3))
        arrays.update(
            {
                f'{half}_images': (15 * labels[:, None, None, None] + noise).astype(np.uint8),
                f'{half}_labels': labels,
            }
        )
    path = tmp_path_factory.mktemp('exported') / 'cifar10.npz'
    np.savez(path, **arrays)
    return path


@pytest.fixture
def main(monkeypatch, tiny):
    """`main(words, **options) -> exit code`, on one device of this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(parallel, 'start', lambda: None)
    real = reproduce.work
    monkeypatch.setattr(reproduce, 'work', lambda *given, **named: real(*given, **named, more=ONE))
    yield lambda words, **options: reproduce.main(str(words).split(), **options)
    for number, handler in before.items():
        signal.signal(number, handler)


def after(polls):
    """A stop that becomes true once it was asked so many times."""
    count = itertools.count()
    return lambda: next(count) >= polls


def work(patterns, folder, npz, stop=lambda: False):
    where = Ledger(folder, 'reduced')
    chosen = tasks.choose(patterns, 'reduced')
    return reproduce.work(chosen, where, stop, data_dir=str(npz.parent), more=ONE)


def recorded(folder, name):
    return json.loads((folder / 'results' / f'{name}.json').read_text())


@pytest.fixture(scope='module')
def whole(npz, tmp_path_factory):
    """The folder of one cell that nothing stopped."""
    folder = tmp_path_factory.mktemp('whole')
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        assert work([DM], folder, npz) == 0
    return folder


def test_stopped_again_and_again_ends_in_the_same_numbers(whole, tiny, npz, tmp_path, capsys):
    codes = [work([DM], tmp_path / 'parts', npz, after(polls)) for polls in (6, 9, 9, 4, 5, 1000)]
    printed = capsys.readouterr().out
    assert codes == [reproduce.STOPPED] * 5 + [0]
    assert 'continuing at step' in printed and 'stopped during evaluation' in printed
    assert (
        'the whole call was not enough for one student, which starts anew: give more --minutes'
        in printed
    )
    parts, once = (
        recorded(folder, 'cifar10-dm-10-reduced') for folder in (tmp_path / 'parts', whole)
    )
    assert parts['ours'] == once['ours'] and parts['random'] == once['random']
    images = [
        np.load(folder / 'cifar10-dm-10-reduced' / 'distilled.npz')['images']
        for folder in (tmp_path / 'parts', whole)
    ]
    np.testing.assert_array_equal(*images)
    assert [call['ended'] for call in parts['calls']] == ['stopped'] * 5 + ['finished']
    assert parts['seconds'] == pytest.approx(sum(call['seconds'] for call in parts['calls']))


@pytest.mark.long
def test_the_students_end_though_no_call_is_enough_for_all_of_them(
    whole, tiny, npz, tmp_path, capsys
):
    shutil.copytree(
        whole / 'cifar10-dm-10-reduced',
        tmp_path / 'cifar10-dm-10-reduced',
        ignore=shutil.ignore_patterns('students', 'calls-*'),
    )
    for finished in (1, 2, 3, 4):
        assert work([DM], tmp_path, npz, after(ENOUGH_FOR_ONE)) == reproduce.STOPPED
        kept = [
            json.loads(path.read_text())['convnet'] for path in tmp_path.glob('*/students/*.json')
        ]
        assert sum(map(len, kept)) == finished
    assert work([DM], tmp_path, npz, after(ENOUGH_FOR_ONE)) == 0
    assert 'not enough for one student' not in capsys.readouterr().out
    parts, once = (recorded(folder, 'cifar10-dm-10-reduced') for folder in (tmp_path, whole))
    assert parts['ours'] == once['ours'] and parts['random'] == once['random']


def test_a_record_says_what_was_published_and_what_came_out(whole, npz):
    found = recorded(whole, 'cifar10-dm-10-reduced')
    assert (found['cell'], found['budget'], found['seeds'], found['steps']) == (
        DM,
        'reduced',
        2,
        12,
    )
    assert found['published'] == {
        'value': 0.489,
        'std': 0.006,
        'source': 'DM row of PAD (2024), table 1',
    }
    for accuracy in (found['ours'], found['random']):
        assert (
            len(accuracy['per_seed']) == 2 and 0 <= accuracy['mean'] <= 1 and accuracy['std'] >= 0
        )
    assert (
        found['protocol']['name'] == 'dsa-1000'
        and found['hardware'] == '1 x cpu'
        and found['commit']
    )
    assert found['command'] == f'python -m experiments.run dm --dataset cifar10 --ipc 10 {TINY}'
    assert str(whole) not in json.dumps(found)
    results = json.loads((whole / 'cifar10-dm-10-reduced' / 'results.json').read_text())
    assert (
        results['command']
        == f'{found["command"]} --num-devices 1 --workdir {whole / "cifar10-dm-10-reduced"} '
        f'--cache-dir {whole / "cache"} --data.data-dir {npz.parent}'
    )


def test_a_record_counts_the_devices_that_were_used(tmp_path, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(reproduce, '_cell', lambda *args: seen.append(parallel.hardware()) or {})
    [task] = tasks.choose([DM], 'reduced')
    assert (
        reproduce.work(
            [task], Ledger(tmp_path, 'reduced'), lambda: False, more=('--num-devices', '4')
        )
        == 0
    )
    found = recorded(tmp_path, 'cifar10-dm-10-reduced')
    assert (
        seen == [found['hardware']] == [call['hardware'] for call in found['calls']] == ['4 x cpu']
    )


def test_the_file_keeps_the_data_sets_own_normalisation(whole):
    with np.load(whole / 'cifar10-dm-10-reduced' / 'distilled.npz') as file:
        np.testing.assert_allclose(file['mean'], (0.4914, 0.4822, 0.4465), atol=1e-6)
        assert list(file['class_names'])[:2] == ['airplane', 'automobile']


def test_finished_cells_are_not_done_again(whole, tiny, npz, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, '_cell', None)
    assert work([DM], whole, npz, stop=lambda: True) == 0
    assert '1 of 1 done, budget: reduced' in capsys.readouterr().out


def test_the_budgets_are_kept_apart(whole, tiny):
    one = tasks.choose([DM], 'published')
    assert '0 of 1 done, budget: published' in ledger.table(Ledger(whole, 'published'), one)
    assert 'to do' in ledger.table(Ledger(whole, 'published'), one)


@pytest.mark.long
def test_proxies_are_made_once_and_used(tiny, npz, tmp_path, capsys):
    assert work(['cifar10/proxies'], tmp_path, npz, after(3)) == reproduce.STOPPED
    assert work(['cifar10/dm+cc+cm/10'], tmp_path, npz) == 0
    printed = capsys.readouterr()
    assert '2 of 2 networks cached' in printed.out + printed.err
    assert recorded(tmp_path, 'cifar10-proxies-reduced')['proxies'] == 2
    assert set(recorded(tmp_path, 'cifar10-dm-cc-cm-10-reduced')['weights']) == {'cc', 'cm'}


@pytest.mark.long
def test_cells_of_other_students_share_the_distilled_set(tiny, npz, tmp_path):
    names = ['cifar10/infer/10/static-convnet_bn', 'cifar10/infer/10/dynamic-convnet_bn']
    assert work(names, tmp_path, npz) == 0
    static, dynamic = (recorded(tmp_path, f'{name.replace("/", "-")}-reduced') for name in names)
    assert static['workdir'] == dynamic['workdir'] == 'cifar10-infer-10-reduced'
    assert static['protocol']['labels'] == 'static' and dynamic['protocol']['labels'] == 'dynamic'
    assert recorded(tmp_path, 'cifar10-teachers-reduced')['teachers'] == static['teachers']


@pytest.mark.long
def test_a_cell_that_fails_does_not_stop_the_others(tiny, npz, tmp_path, monkeypatch, capsys):
    real = reproduce._cell

    def fail(task, *rest):
        if task.name == DM:
            raise NonFiniteError('loss is nan')
        return real(task, *rest)

    monkeypatch.setattr(reproduce, '_cell', fail)
    assert work(['cifar10/dm/1', DM], tmp_path, npz) == 2
    printed = capsys.readouterr()
    assert f'error: {DM}: loss is nan' in printed.err and '1 of 2 done' in printed.out
    assert (tmp_path / 'results' / 'cifar10-dm-1-reduced.json').exists()


# the command line


@pytest.mark.long
def test_the_deadline_is_acted_on(main, npz, tmp_path, capsys):
    ticks = itertools.count()
    words = f'--reduced --cells {DM} --npz {npz} --out {tmp_path} --minutes 0.1'
    assert main(words, clock=lambda: next(ticks)) == reproduce.STOPPED
    assert main(f'{words} --list') == 0
    assert f'{DM}  running (step ' in capsys.readouterr().out
    assert main(words, clock=lambda: 0) == 0
    assert main(f'{words} --list') == 0
    printed = capsys.readouterr().out.splitlines()
    row = next(line for line in reversed(printed) if line.startswith(DM))
    assert (
        row.split()[1] == 'done'
        and '48.9 ± 0.6' in row
        and printed[-1] == '1 of 1 done, budget: reduced'
    )


def test_the_list_needs_nothing(main, tmp_path, capsys):
    assert main(f'--list --cells cifar10/dm* --out {tmp_path / "none"}') == 0
    printed = capsys.readouterr().out
    assert 'cifar10/proxies' in printed and '0 of 8 done, budget: published' in printed
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize(
    'words, message',
    [
        ('--cells cifar10/dn/10', "no cell is called 'cifar10/dn/10'; nearest: cifar10/dm/10"),
        ('--cells cifar10/dm/7', "no cell is called 'cifar10/dm/7'; nearest: cifar10/dm/"),
        ('--minutes 0', '--minutes must be above 0, got 0'),
        ('--proxies 0', '--proxies must be at least 1 network, got 0'),
        ('--npz NPZ --data-dir .', 'give either --data-dir or --npz'),
        ('--npz NPZ --cells cifar100/dm/1 cifar10/dm/1', 'they also need cifar100'),
        ('--npz missing/cifar10.npz', 'missing/cifar10.npz: no such file'),
        ('--npz cifar10', '--npz cifar10 must be called <dataset>.npz'),
        ('--data-dir OUT', 'cifar10 is not prepared under '),
        ('--out NPZ/out', 'cannot be written (Not a directory); give another with --out'),
    ],
)
def test_refusals(words, message, main, npz, tmp_path, capsys):
    words = words.replace('NPZ', str(npz)).replace('OUT', str(tmp_path))
    assert main(words if '--out' in words else f'{words} --out {tmp_path}') == 2
    printed = capsys.readouterr().err
    assert printed.startswith('error: ') and message in printed
