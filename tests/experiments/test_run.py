"""One command from data to report, again, on a user's own images, and on input that is wrong."""

import importlib.metadata
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxdd.storage import locks, records

SMOKE = (
    'dm --dataset digits --ipc 1 --plugins cc cm cmi --smoke --evaluation.every 1 '
    '--steps-per-call 1'
)
FILES = (
    *('results.json', 'report.md', 'report.html'),
    *('grid.png', 'curves.png', 'distilled.npz', 'history.jsonl'),
)


@pytest.fixture(scope='module')
def done(main, tmp_path_factory):
    """The workdir of a finished smoke run with every plug-in."""
    workdir = tmp_path_factory.mktemp('smoke') / 'work'
    assert main(SMOKE, workdir) == 0
    return workdir


@pytest.fixture(scope='module')
def results(done):
    return json.loads((done / 'results.json').read_text())


def test_every_file_is_there(done):
    assert all((done / name).stat().st_size > 0 for name in FILES)
    for picture in ('grid.png', 'curves.png'):
        with Image.open(done / picture) as image:
            assert image.format == 'PNG' and min(image.size) > 50


@pytest.mark.parametrize('training_set', ['distilled', 'random'])
def test_accuracies_are_fractions_over_the_seeds(results, training_set):
    accuracy = results['accuracy'][training_set]['convnet']
    assert len(accuracy['per_seed']) == results['protocol']['num_seeds'] == 2
    assert all(0 <= value <= 1 for value in accuracy['per_seed'])
    assert accuracy['mean'] == pytest.approx(np.mean(accuracy['per_seed']))
    assert accuracy['std'] == pytest.approx(np.std(accuracy['per_seed']))


def test_results_say_what_is_needed_to_repeat_them(results):
    assert results['versions'] == {
        name: importlib.metadata.version(name) for name in results['versions']
    }
    assert {'jax', 'flax', 'optax', 'numpy'} <= set(results['versions'])
    assert results['commit'] and results['hardware'].endswith(' x cpu')
    assert (
        results['method'],
        results['plugins'],
        results['dataset'],
        results['ipc'],
        results['steps'],
    ) == ('dm', ['cc', 'cm', 'cmi'], 'digits', 1, 2)
    assert results['config']['optimizer'] == {
        'name': 'sgd',
        'learning_rate': 1.0,
        'momentum': 0.5,
        'b2': 0.9,
        'schedule': 'constant',
    }
    protocol = results['protocol']
    assert (protocol['name'], protocol['version']) == ('quick-100', 1)
    assert protocol['changed'] == {
        'epochs': {'protocol': 100, 'here': 1},
        'num_seeds': {'protocol': 3, 'here': 2},
    }
    assert results['published'] is None
    assert results['real_per_class'] == {'asked': 4, 'least': 4, 'most': 4}


def test_accuracies_on_the_way(results):
    assert list(results['on_the_way']) == ['1', '2']
    assert all(len(row['convnet']['per_seed']) == 2 for row in results['on_the_way'].values())


def test_results_say_what_it_cost(results):
    assert results['seconds_per_step'] > 0
    assert set(results['seconds']) >= {'data', 'prepare', 'distil', 'evaluate'}
    assert all(seconds >= 0 for seconds in results['seconds'].values())
    assert results['bytes'] == {
        'images': 10 * 8 * 8 * 4,
        'labels': 0,
        'random images': 10 * 8 * 8,
        'random labels': 0,
    }


def test_weights_come_with_their_source(results):
    assert set(results['weights']) == {'cc', 'cm', 'cmi'}
    for weight in results['weights'].values():
        assert weight['value'] >= 0 and weight['source'] == 'not published: automatic scale'


def test_the_distilled_set_stands_alone(done):
    with np.load(done / 'distilled.npz', allow_pickle=False) as file:
        assert file['images'].shape == (10, 1, 8, 8, 1) and np.isfinite(file['images']).all()
        assert file['labels'].argmax(-1).ravel().tolist() == list(range(10))


def test_the_report_shows_both_training_sets_and_the_pictures(done):
    text = (done / 'report.md').read_text()
    for words in (
        'DM + CC + CM + CMI',
        'random real images',
        'grid.png',
        'curves.png',
        'quick-100 v1, changed: num_seeds 2, epochs 1',
        'cmi',
    ):
        assert words in text


def test_the_page_shows_the_same_numbers_and_the_pictures(done, results):
    page = (done / 'report.html').read_text()
    ours = results['accuracy']['distilled']['convnet']
    assert f'{100 * ours["mean"]:.2f} ± {100 * ours["std"]:.2f}' in page
    assert page.count('src="data:image/png;base64,') == 2
    assert 'None' not in re.sub(r'base64,[^"]*', '', page)
    assert 'Class by class' in page
    # one image per class has no inner class to measure: the weights are 0, and nothing is measured
    assert 'loss/cmi' not in (done / 'history.jsonl').read_text() and '<svg' not in page
    assert list(results['left_out'].values()) == ['a smoke run draws none']


def test_classes_add_up_to_the_accuracy(results):
    ours, counts = results['accuracy']['distilled']['convnet'], results['confusion']['counts']
    assert np.trace(counts) / np.sum(counts) == pytest.approx(ours['mean'])
    shares = np.diag(counts) / np.sum(counts, axis=1)
    assert results['per_class']['accuracy'] == pytest.approx(shares.tolist())
    assert results['per_class']['seeds'] == results['confusion']['seeds'] == 2
    assert results['per_class']['classes'] == [str(digit) for digit in range(10)]


def test_again_does_nothing_again(done, results, main, images, capsys):
    before = images(done)
    assert main(SMOKE, done) == 0
    printed = capsys.readouterr()
    assert (
        'continuing at step 2' in printed.out
        and '1 of 1 networks cached' in printed.out + printed.err
    )
    assert np.array_equal(images(done), before)
    again = json.loads((done / 'results.json').read_text())
    for kept in ('accuracy', 'confusion', 'weights', 'on_the_way', 'seconds_per_step'):
        assert again[kept] == results[kept]


@pytest.mark.parametrize(
    'old, new',
    [
        ('0.', '9.'),
        *(
            pytest.param(*pair, marks=pytest.mark.long)
            for pair in (('"convnet"', '"convmet"'), (']', ''))
        ),
    ],
)
def test_damaged_accuracies_are_named_and_measured_again(done, results, main, capsys, old, new):
    kept = sorted((done / 'students').glob('*.json')) + sorted(
        (done.parent / 'cache' / 'random').glob('*.json')
    )
    # of the distilled and the random set, and of the random set for every run
    assert len(kept) == 3
    for path in kept:
        path.write_text(path.read_text().replace(old, new, 1))
    assert main(SMOKE, done) == 0
    printed = capsys.readouterr().out
    assert all(
        f'{path} is damaged' in printed and f'renamed to {path.name}.damaged' in printed
        for path in kept
    )
    assert json.loads((done / 'results.json').read_text())['accuracy'] == results['accuracy']


def test_records_from_before_there_were_counts_are_still_used(done, results, main, capsys):
    kept = sorted((done / 'students').glob('*.json'))
    for path in kept:
        old = records.load(path, records.ANYTHING)
        bare = {name: [one['accuracy'] for one in some] for name, some in old.items()}
        records.save(path, bare)
    before = [path.read_bytes() for path in kept]
    assert main(SMOKE, done) == 0
    assert 'damaged' not in capsys.readouterr().out
    again = json.loads((done / 'results.json').read_text())
    assert again['accuracy'] == results['accuracy'] and 'per_class' not in again
    assert 'Class by class' not in (done / 'report.html').read_text()
    assert [path.read_bytes() for path in kept] == before


def test_the_table_says_how_deep_the_students_are(done, results):
    assert results['students'] == {'convnet': 'convnet of width 8, depth 2'}
    assert (
        '| random real images | convnet of width 8, depth 2 |' in (done / 'report.md').read_text()
    )


def test_a_second_process_in_the_same_workdir_is_refused(done, refused):
    with locks.alone(done):
        assert f'works in {done}; wait until it ends, or choose another folder' in refused(
            SMOKE, done
        )


def test_what_a_kill_left_behind_is_gone_after_the_next_run(done, main):
    rests = [
        done / '.curves.png.28894',
        done / 'students' / '.ab.json.3',
        done / 'checkpoints' / '.config.json.7',
    ]
    for path in rests:
        path.write_text('half')
    assert main(SMOKE, done) == 0
    assert not any(path.exists() for path in rests)


def test_fewer_steps_than_are_done_are_refused(done, refused):
    assert refused(f'{SMOKE} --num-steps 1', done).endswith(
        f'{done} holds a run that went to step 2, further than num_steps 1; ask for more steps or '
        'use another workdir'
    )


def test_a_workdir_of_another_run_is_refused_with_the_differences(done, refused):
    message = refused(f'{SMOKE} --optimizer.learning-rate 0.5 --seed 1', done)
    assert 'another configuration' in message
    assert (
        'optimizer.learning_rate: stored 1.0, now 0.5' in message
        and 'seed: stored 0, now 1' in message
    )


@pytest.fixture(scope='module')
def own():
    """Six RGB images in each of two classes, for training and for testing."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 6)
    arrays = {}
    for half in ('train', 'test'):
        noise = rng.integers(0, 100, (12, 8, 8, 3))
        arrays[f'{half}_images'] = (100 * labels[:, None, None, None] + noise).astype('uint8')
        arrays[f'{half}_labels'] = labels
    return arrays


def as_npz(arrays, tmp_path):
    np.savez(tmp_path / 'mine.npz', **arrays)
    return tmp_path / 'mine.npz'


def as_folder(arrays, tmp_path):
    for half in ('train', 'test'):
        for i, (image, label) in enumerate(zip(arrays[f'{half}_images'], arrays[f'{half}_labels'])):
            path = tmp_path / 'mine' / half / 'ab'[label] / f'{i:02}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return tmp_path / 'mine'


@pytest.mark.parametrize('write', [pytest.param(as_npz, marks=pytest.mark.long), as_folder])
def test_a_users_own_images(write, own, main, images, tmp_path):
    assert main(f'dm --dataset {write(own, tmp_path)} --ipc 2 --smoke', tmp_path / 'work') == 0
    assert images(tmp_path / 'work').shape == (2, 2, 8, 8, 3)
    assert json.loads((tmp_path / 'work' / 'results.json').read_text())['dataset'] == 'mine'


@pytest.mark.parametrize('change, message', [
    ({'train_images': np.zeros((12, 64), 'uint8')},
     'images must be [N, height, width, 1 or 3], got shape (12, 64)'),
    ({'train_images': np.zeros((12, 8, 8, 3))}, 'images must be uint8 in 0..255, got float64'),
    ({'train_labels': np.arange(5)}, 'labels must be one integer per image, [12], got shape (5,)'),
    ({'train_labels': np.zeros(12)}, 'labels must be integers, got float64'),
    ({'train_labels': np.repeat([0, 2], 6)}, 'class 1 has no images'),
    ({'test_labels': np.repeat([0, 7], 6)}, 'labels must lie in 0..1, got 0..7'),
    ({'test_images': np.zeros((12, 9, 9, 3), 'uint8')}, 'images are (9, 9, 3), expected (8, 8, 3)'),
])  # fmt: skip
def test_an_npz_file_that_is_not_a_data_set(change, message, own, refused, tmp_path):
    path = as_npz({**own, **change}, tmp_path)
    text = refused(f'dm --dataset {path} --ipc 1 --smoke')
    assert message in text and str(path) in text


def test_images_that_changed_under_the_same_name(own, main, refused, tmp_path):
    words = f'dm --dataset {as_npz(own, tmp_path)} --ipc 1 --smoke --evaluation.epochs 0'
    assert main(words, tmp_path / 'work') == 0
    as_npz({**own, 'train_images': own['train_images'][::-1]}, tmp_path)
    assert 'data_set.checksum: stored ' in refused(words, tmp_path / 'work')


@pytest.mark.parametrize(
    'words, message',
    [
        ('--dataset cifar11', "unknown data set 'cifar11'; valid: cifar10, "),
        ('--dataset missing.npz', 'missing.npz: no such file'),
        ('--dataset cifar10 --data.data-dir EMPTY', 'cifar10 is not prepared under '),
        ('--dataset imagenette --data.data-dir EMPTY', 'imagenette is not there: '),
        ('--dataset digits --data.image-size 16', 'image_size is for image folders'),
        (
            '--dataset digits --ipc 1000',
            'ipc must be between 1 and the size of the smallest class (class ',
        ),
        ('--dataset digits --ipc 0', 'ipc must be at least 1, got 0'),
        ('--dataset digits --num-steps 0', 'num_steps must be at least 1, got 0'),
        ('--dataset digits --data.per-class -2', 'data.per_class must be at least 1, got -2'),
        (
            '--dataset digits --evaluation.num-seeds 0',
            'evaluation.num_seeds must be at least 1, got 0',
        ),
        ('--dataset digits --evaluation.epochs -1', 'evaluation.epochs must be at least 0, got -1'),
        ('--dataset digits --checkpoint-every 0', 'checkpoint_every must be at least 1, got 0'),
        ('--dataset digits --encoder.name resnet', "unknown encoder.name 'resnet'; valid: "),
        ('--dataset digits --encoder.depth 9', 'depth'),
        ('--dataset digits --augmentation.mode X', "'X'"),
        ('--dataset digits --augmentation.strategy color_spin', "'spin'"),
        ('--dataset digits --plugins cc --proxies.network.depth 9', 'depth'),
        ('--dataset digits --plugins dd', "unknown plug-in 'dd'; valid: cc, cm, cmi."),
    ],
)
def test_wrong_input_is_refused_before_computing(words, message, refused, tmp_path):
    assert message in refused('dm ' + words.replace('EMPTY', str(tmp_path)))


def test_folders_that_cannot_be_written(refused, tmp_path):
    (tmp_path / 'file').write_text('')
    assert refused('dm --dataset digits', tmp_path / 'file' / 'work') == (
        f'the workdir {tmp_path}/file/work cannot be written (Not a directory); give another with '
        '--workdir'
    )
    (tmp_path / 'deeper').mkdir()
    (tmp_path / 'deeper' / 'cache').write_text('')
    assert refused('dm --dataset digits', tmp_path / 'deeper' / 'work') == (
        f'the cache_dir {tmp_path}/deeper/cache cannot be written (File exists); give another with '
        '--cache-dir'
    )


def test_an_unknown_option_ends_with_code_2(main, tmp_path):
    with pytest.raises(SystemExit) as end:
        main('dm --dataset digits --ipcc 1', tmp_path / 'work')
    assert end.value.code == 2
