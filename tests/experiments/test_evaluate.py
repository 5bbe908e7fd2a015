"""A distilled set scored on several architectures, by its own command."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import evaluate
from experiments.configs import presets, scoring
from experiments.methods import parse
from experiments.stages import existing, jobs
from jaxdd import data, parallel
from jaxdd.storage import distilled_set, locks, records
from jaxdd.types import Accuracy, SyntheticSet

WORDS = (
    '--evaluation.networks mlp lenet --evaluation.epochs 1 --evaluation.num-seeds 2 '
    '--evaluation.width 4'
)


@pytest.fixture
def call(monkeypatch, capsys):
    """call(words) -> (exit code, printed, errors) in this process, on one device."""
    monkeypatch.setattr(parallel, 'start', lambda: None)

    def run(path, words=''):
        code = evaluate.main([str(path), '--num-devices', '1', *words.split()])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def write(path, dataset='fake', mean=(0.3056,), std=(0.376,), num_classes=10, side=8):
    images = (
        np.random.default_rng(0).normal(size=(num_classes, 4, side, side, 1)).astype(np.float32)
    )
    labels = np.tile(np.eye(num_classes, dtype=np.float32)[:, None], (1, 4, 1))
    info = {
        'config': {
            'method': 'idm',
            'plugins': ['cc'],
            'dataset': 'digits',
            'ipc': 1,
            'data': {'data_dir': None},
            'evaluation': dataclasses.asdict(presets.protocol('quick')),
        }
    }
    distilled_set.save_npz(
        path,
        SyntheticSet(images, labels),
        mean=mean,
        std=std,
        info=info,
        stored=images[:, :1],
        class_names=list('0123456789')[:num_classes],
    )
    return path


@pytest.fixture
def distilled(tmp_path):
    return write(tmp_path / 'distilled.npz')


@pytest.mark.long
def test_every_architecture_is_scored_and_the_largest_drop_is_named(call, tmp_path):
    path = write(tmp_path / 'distilled.npz')
    words = WORDS.replace('mlp lenet', 'mlp convnet') + ' --random'
    code, printed, _ = call(path, words)
    assert code == 0
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert {kind: list(scores) for kind, scores in found['accuracy'].items()} == {
        'distilled': ['mlp', 'convnet'],
        'random': ['mlp', 'convnet'],
    }
    for scores in found['accuracy'].values():
        assert all(len(row['per_seed']) == 2 and 0 <= row['mean'] <= 1 for row in scores.values())
    assert found['protocol']['name'] == 'quick-100' and found['learning_rates'] == {
        'mlp': 0.01,
        'convnet': 0.01,
    }
    assert 'IDM + CC' in printed and 'largest drop from mlp: ' in printed

    stamp = (tmp_path / 'evaluation.json').read_text()
    assert call(path, words)[0] == 0  # nothing left to train
    assert (tmp_path / 'evaluation.json').read_text() == stamp


def test_the_protocol_of_the_set_is_the_default(distilled):
    options, (synthetic, about, _) = scoring.parse([str(distilled)])
    assert (options.evaluation.protocol, options.evaluation.epochs) == ('quick', 100)
    assert options.evaluation.networks == scoring.CROSS and options.dataset == 'digits'
    assert about['stored'].shape[1] == 1 and synthetic.images.shape[1] == 4
    for name in ('dc', 'dc-hard'):
        made = scoring.parse([str(distilled), '--evaluation.protocol', name])[0].evaluation
        assert (made.protocol, made.strategy) == ('dc', 'none')


def test_the_largest_drop():
    scores = {
        name: Accuracy(mean, 0.0, (mean,)) for name, mean in (('a', 0.5), ('b', 0.52), ('c', 0.411))
    }
    assert evaluate.drop(scores, ('a', 'b', 'c')) == 'largest drop from a: 8.90 points (c, 41.10 %)'
    assert evaluate.drop(scores, ('b',)).startswith('one architecture')


def test_another_evaluation_is_not_overwritten(call, distilled):
    path = distilled.parent / 'evaluation.json'
    options, given = scoring.parse([str(distilled)])
    who = evaluate._identity(options, existing.read(options, given), given)
    records.save(path, {'identity': {**who, 'seed': 7}, 'accuracy': {}})
    before = path.read_bytes()
    code, _, error = call(distilled, WORDS.replace('mlp lenet', 'mlp'))
    assert (
        code == 2
        and 'holds another evaluation' in error
        and '--output' in error
        and 'seed: stored 7, now 0' in error
    )
    assert path.read_bytes() == before


@pytest.fixture
def scored(monkeypatch):
    """Counts the trainings, which give 0.5; `scored` is what was trained on."""
    trained = []

    def score(options, dataset, labelled, stop, *, title):
        trained.append((labelled, dataset))
        return {name: Accuracy(0.5, 0.0, (0.5,)) for name in options.evaluation.networks}

    monkeypatch.setattr(evaluate.scores, 'score', score)
    return trained


def test_a_damaged_record_is_set_aside_and_measured_again(call, distilled, scored):
    path = distilled.parent / 'evaluation.json'
    for damage, trainings in ((str, 1), (str, 1), (lambda text: text.replace('0.5', '305.97'), 2)):
        if path.exists():
            path.write_text(damage(path.read_text()))
        code, printed, _ = call(distilled, '--evaluation.networks mlp')
        assert (
            code == 0
            and '50.00' in printed
            and '305' not in printed.splitlines()[-1]
            and len(scored) == trainings
        )
    assert (
        'evaluation.json is damaged' in printed
        and (path.parent / 'evaluation.json.damaged').exists()
    )


def test_scores_stand_beside_what_is_known_to_compare_with(call, distilled, scored):
    found = {}
    for words in ('', '--evaluation.full-accuracy 0.9', '--evaluation.full-accuracy 0.8 --random'):
        code, printed, _ = call(distilled, f'--evaluation.networks mlp {words}')
        assert code == 0
        found[words] = json.loads((distilled.parent / 'evaluation.json').read_text())['scores']
    assert len(scored) == 2  # what is compared with an accuracy does not change it
    alone, told, both = (of.get('mlp', {}) for of in found.values())
    assert alone == {} and told['hlr'] == pytest.approx(0.4) and 'lrs' not in told
    assert (both['ior'], both['protocol']) == (0, 'quick-100 v1')
    # a = 0.5 * 0 - 0.5 * 0.3; (0.860708 - 0.367879) / 2.350402
    assert both['hlr'] == pytest.approx(0.3) and both['lrs'] == pytest.approx(0.209679, abs=1e-6)
    assert 'Scores of mlp under quick-100 v1, fractions: IOR 0.0000, HLR 0.3000' in printed


def own_set(tmp_path, test_labels, names=None):
    """A data set of one's own of 10 classes, as a file."""
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1)).astype('uint8')
    labels = np.arange(20) % 10
    more = {} if names is None else {'class_names': np.array(names)}
    np.savez(
        tmp_path / 'mine.npz',
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=test_labels,
        **more,
    )
    return tmp_path / 'mine.npz'


def test_scores_on_other_test_labels_are_not_taken_for_these(call, distilled, scored, tmp_path):
    for labels, code in ((np.arange(20) % 10, 0), ((np.arange(20) + 1) % 10, 2)):
        words = f'--dataset {own_set(tmp_path, labels)} --evaluation.networks mlp'
        found, _, error = call(distilled, words)
        assert found == code
    assert 'holds another evaluation' in error and 'test: stored ' in error and len(scored) == 1


SPEC = data.spec('digits')


@pytest.mark.parametrize(
    'set_, test, order',
    [
        (('a', 'b', 'c'), ('a', 'b', 'c'), [0, 1, 2]),
        (('a', 'b', 'c'), ('c', 'a', 'b'), [2, 0, 1]),
        (('0', '1', '2'), ('c', 'a', 'b'), [0, 1, 2]),
        (('a', 'b', 'c'), None, [0, 1, 2]),
    ],
)
def test_classes_are_matched_by_name(set_, test, order):
    assert existing.class_order(set_, SPEC._replace(class_names=test)) == order


def test_classes_of_other_names_are_refused_with_the_difference():
    with pytest.raises(ValueError, match='only in the set: ant; only in digits: formica'):
        existing.class_order(
            ('ant', 'bee', 'cat'), SPEC._replace(class_names=('bee', 'cat', 'formica'))
        )


def test_a_set_whose_classes_come_in_another_order(distilled):
    options, given = scoring.parse([str(distilled), '--evaluation.networks', 'mlp'])
    names = [*'0123456789'][::-1]
    dataset = data.load('digits')
    shown = existing.labelled_sets(
        options, dataset, given._replace(about={**given.about, 'class_names': tuple(names)})
    )
    images, labels, _ = shown['distilled'].synthetic
    np.testing.assert_array_equal(images, given.synthetic.images[::-1])
    np.testing.assert_array_equal(labels.argmax(-1), np.tile(np.arange(10)[:, None], (1, 4)))


@pytest.mark.parametrize(
    'words, own',
    [
        ('--data.mean 0.5 --data.std 0.25', False),
        ('--data.resize stretched --data.image-size 6', True),
    ],
)
def test_test_images_are_prepared_as_the_sets_own_were(words, own, tmp_path):
    folder = (
        data.write_jpeg_folder(tmp_path / 'mine', num_classes=2, per_class=4, side=(12, 16))
        if own
        else 'digits'
    )
    config = parse(f'dm --dataset {folder} --smoke --ipc 1 {words}'.split())
    job = jobs.load(config)
    distilled_set.save_npz(
        tmp_path / 'distilled.npz',
        job.initial,
        mean=job.spec.mean,
        std=job.spec.std,
        class_names=job.spec.class_names,
        info={'config': dataclasses.asdict(config)},
    )
    dataset = existing.read(*scoring.parse([str(tmp_path / 'distilled.npz')]))
    np.testing.assert_array_equal(dataset.test.images, job.dataset.test.images)
    np.testing.assert_allclose(
        data.normalise(dataset.spec, dataset.test.images[:1]),
        data.normalise(job.spec, job.dataset.test.images[:1]),
    )


def test_architectures_that_do_not_fit_are_left_out_with_a_word_unless_asked_for(
    call, distilled, scored
):
    code, printed, _ = call(distilled)
    assert (
        code == 0
        and 'No row for vgg11: VGG is too deep for images of side 8' in printed
        and len(scored) == 3
    )
    assert 'convnet, depth 2' in printed


def test_help_ends_well(capsys):
    for words in (['--help'], ['set.npz', '-h']):
        with pytest.raises(SystemExit) as end:
            evaluate.main(words) if words[0] == '--help' else evaluate.main(['--help', *words])
        assert end.value.code == 0 and '--evaluation.networks' in capsys.readouterr().out


def test_two_processes_do_not_write_one_record(call, distilled):
    with locks.alone(distilled.parent, name='.evaluation.json.lock'):
        code, _, error = call(distilled, '--evaluation.networks mlp')
    assert code == 2 and 'works in' in error


@pytest.mark.parametrize(
    'config, message',
    [
        ({'evaluation': 3}, 'info.config'),
        ({'evaluation': {'epochs': 'many'}}, 'info.config'),
        ([], 'info.config'),
        ({'data': None}, 'info.config'),
    ],
)
def test_a_file_whose_configuration_is_none(call, distilled, config, message):
    synthetic, about = distilled_set.load_npz(distilled)
    distilled_set.save_npz(
        distilled,
        synthetic,
        mean=about['mean'],
        std=about['std'],
        class_names=about['class_names'],
        info={'config': config},
    )
    code, _, error = call(distilled, '--evaluation.networks mlp')
    assert code == 2 and message in error and 'Traceback' not in error


@pytest.mark.parametrize(
    'made, message', [({'num_classes': 9}, '9 classes'), ({'side': 6}, r'(6, 6, 1)')]
)
def test_a_set_of_other_data_is_refused(call, tmp_path, made, message):
    code, _, error = call(
        write(tmp_path / 'distilled.npz', **made), WORDS.replace('mlp lenet', 'mlp')
    )
    assert code == 2 and message in error and '--dataset' in error


@pytest.mark.parametrize(
    'words, message',
    [
        ('--evaluation.networks vgg11', 'VGG is too deep for images of side 8'),
        ('--evaluation.epochs -1', 'evaluation.epochs must be at least 0'),
        ('--evaluation.networks convnet convnet', 'names that differ'),
        ('--evaluation.networks vgg', 'unknown'),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, distilled, words, message):
    code, _, error = call(distilled, words)
    assert code == 2 and message in error and 'Traceback' not in error


def test_a_student_that_diverges_is_reported_in_one_line(call, distilled):
    words = WORDS.replace('mlp lenet', 'mlp').replace('epochs 1', 'epochs 5')
    code, _, error = call(distilled, f'{words} --evaluation.learning-rate 1e30')
    assert code == 2 and error.splitlines()[-1].startswith('error: ') and 'Traceback' not in error
    assert 'loss/train is nan at step' in error
    assert not (distilled.parent / 'evaluation.json').exists()


def test_a_missing_file(call, tmp_path):
    code, _, error = call(tmp_path / 'nothing.npz')
    assert code == 2 and 'does not exist' in error
    assert evaluate.main([]) == 2
