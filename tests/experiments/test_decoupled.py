"""SRe2L and INFER from one command:
squeeze, recover, relabel, validate; again, continued, and on wrong input."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate
from experiments.methods import parse
from experiments.stages import choosing, jobs, labelling, starts, storing
from jaxdd import data, methods, models, parallel
from jaxdd.labels import replay
from jaxdd.networks import teachers
from jaxdd.storage import distilled_set
from jaxdd.types import SyntheticSet

TEACHER = '--teachers.networks convnet_bn'
INFER = f'infer --dataset digits --ipc 3 --smoke {TEACHER}'
SRE2L = (
    f'sre2l --dataset digits --ipc 3 --smoke {TEACHER} --plugins cc cm cmi '
    '--recover.images-per-chunk 2 --evaluation.labels replayed --evaluation.label-top-k 4'
)
SPEC = data.spec('digits')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('decoupled')


@pytest.fixture(scope='module')
def infer(main, folder):
    assert main(INFER, folder / 'infer') == 0
    return folder / 'infer'


@pytest.fixture(scope='module')
def sre2l(main, folder):
    assert main(SRE2L, folder / 'sre2l') == 0
    return folder / 'sre2l'


def results(workdir):
    return json.loads((workdir / 'results.json').read_text())


def test_infer_stores_natural_images_and_compensators_and_counts_them_as_the_paper(infer):
    found, (synthetic, about) = results(infer), distilled_set.load_npz(infer / 'distilled.npz')
    assert found['images'] == {
        'nominal per class': 3,
        'natural per class': 2,
        'compensators': 2,
        'effective per class': 2.2,
        'trained on per class': 4,
    }
    natural, compensators = about['stored']['natural'], about['stored']['compensators']
    assert (natural.dtype, natural.shape, compensators.dtype, compensators.shape) == (
        np.uint8,
        (10, 2, 8, 8, 1),
        np.float16,
        (1, 2, 8, 8, 1),
    )
    assert (
        found['bytes']['images'] == natural.nbytes + compensators.nbytes == 10 * 2 * 64 + 2 * 64 * 2
    )
    rebuilt = methods.instances(
        data.normalise(SPEC, natural), jnp.asarray(compensators, jnp.float32), (SPEC.mean, SPEC.std)
    )
    np.testing.assert_allclose(synthetic.images, rebuilt, atol=1e-6)
    assert np.abs(compensators).max() > 0.01


def test_a_part_sees_the_real_images_of_its_classes_and_their_weights():
    digits = data.load('digits')
    # classes have 139 to 146
    options = {'source': digits.train, 'spec': digits.spec, 'per_class': 145}
    key, step = jax.random.key(0), jnp.int32(2)
    whole = data.stratified(**options)(key, step)
    assert 0 < (whole.real_weights == 0).sum() < 145
    part = starts.of_classes(data.stratified(**options), slice(6, 9), 10)(key, step)
    streamed = next(starts.of_classes(data.streamed(**options), slice(6, 9), 10).start(key, 2))
    for inputs in (part, streamed):
        np.testing.assert_allclose(inputs.real, whole.real[6:9], atol=1e-6)
        np.testing.assert_array_equal(inputs.real_weights, whole.real_weights[6:9])
    assert (part.real_weights == 0).any()


def test_static_labels_are_kept_beside_the_set_and_counted(infer):
    logits = np.load(infer / 'labels.npz')['static']
    assert logits.shape == (10, 4, 10) and logits.dtype == np.float16
    sizes = results(infer)['bytes']
    # 40 and 30 images, one epoch
    assert results(infer)['student_updates'] == {'distilled': 1, 'random': 1}
    assert sizes['labels'] == logits.nbytes and sizes['random labels'] == 10 * 3 * 10 * 2
    assert f'labels {logits.nbytes:,}' in (infer / 'report.md').read_text()


def test_another_architecture_is_scored_with_the_kept_labels(infer, folder, capsys, monkeypatch):
    monkeypatch.setattr(parallel, 'start', lambda: None)
    words = (
        f'{infer / "distilled.npz"} --evaluation.networks mlp --num-devices 1 --evaluation.epochs 1'
    )
    assert evaluate.main([*words.split(), '--output', str(folder / 'other.json')]) == 0
    assert results(infer)['protocol']['labels'] == 'static'
    assert 'mlp' in json.loads((folder / 'other.json').read_text())['accuracy']['distilled']
    assert (
        evaluate.main(
            [*words.split(), '--evaluation.labels', 'dynamic', '--output', str(folder / 'no.json')]
        )
        == 2
    )
    assert 'dynamic labels need the teachers' in capsys.readouterr().err


def test_sre2ls_chunks_become_one_set_of_pixels(sre2l):
    found, (synthetic, about) = results(sre2l), distilled_set.load_npz(sre2l / 'distilled.npz')
    assert synthetic.images.shape == (10, 3, 8, 8, 1) and 'stored' not in about
    levels = synthetic.images * np.float32(SPEC.std[0]) + np.float32(SPEC.mean[0])
    np.testing.assert_allclose(levels * 255, about['images_uint8'], atol=1e-3)
    assert about['images_uint8'].std() > 10 and found['bytes']['images'] == 10 * 3 * 64
    # 10 classes in parts of 4, 3 images in parts of 2
    assert sorted(
        int(path.name)
        for path in (sre2l / 'chunks' / '0-convnet_bn').iterdir()
        if path.name.isdigit()
    ) == [*range(6)]


def test_every_plugin_acts_through_the_teacher(sre2l):
    rows = [json.loads(line) for line in (sre2l / 'history.jsonl').read_text().splitlines()]
    assert all({'loss/cc', 'loss/cm', 'loss/cmi', 'loss/bn', 'loss/ce'} <= set(row) for row in rows)
    assert [row['step'] for row in rows] == sorted(row['step'] for row in rows)
    weights = results(sre2l)['weights']
    assert all(weights[name]['value'] > 0 for name in ('cc', 'cm', 'cmi'))


def test_recorded_labels_are_kept_counted_and_used_again(sre2l, main, capsys):
    recorded = replay.load(sre2l / 'replay.npz')
    assert recorded.logits.shape == (1, 30, 4) and results(sre2l)['bytes'][
        'labels'
    ] == replay.num_bytes(recorded)
    assert results(sre2l)['bytes']['labels, were all kept'] == 30 * 10 * 2
    before = (sre2l / 'replay.npz').read_bytes()
    assert main(SRE2L, sre2l) == 0
    assert (sre2l / 'replay.npz').read_bytes() == before


def test_labels_of_another_jax_are_refused(sre2l, folder, main, capsys):
    shutil.copytree(sre2l, folder / 'old')
    recorded = replay.load(sre2l / 'replay.npz')
    replay.save(
        folder / 'old' / 'replay.npz',
        recorded._replace(made_with=recorded.made_with._replace(jax='0.1.0')),
    )
    assert main(SRE2L, folder / 'old') == 2
    message = capsys.readouterr().err
    assert '0.1.0' in message and 'replay.npz' in message and 'delete the file' in message


def test_a_finished_run_repeats_nothing(infer, main, capsys):
    stamp = {
        path: path.stat().st_mtime_ns
        for path in (infer / 'chunks').rglob('*')
        if path.is_file() and path.name != 'timing.json'
    }
    accuracy, seconds = results(infer)['accuracy'], results(infer)['seconds_per_step']
    assert main(INFER, infer) == 0
    assert results(infer)['seconds_per_step'] == seconds > 0
    assert {path: path.stat().st_mtime_ns for path in stamp} == stamp
    assert results(infer)['accuracy'] == accuracy


def test_chunks_of_another_configuration_are_refused(infer, refused, main, capsys):
    assert main(f'{INFER} --recover.bn-weight 3', infer) == 2
    assert 'recover.bn_weight: stored 1.0, now 3.0' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words, message',
    [
        ('infer --dataset digits --ipc 1 --smoke', 'the smallest ipc is 2'),
        ('infer --dataset digits --ipc 900 --smoke', 'and the smallest class has'),
        ('sre2l --dataset digits --smoke --teachers.networks convnet', 'networks with batch norm'),
        (
            'sre2l --dataset digits --smoke --data.mean 0.1 0.2',
            'data.mean must be 1 numbers, one per channel, got 2',
        ),
        (
            'sre2l --dataset digits --smoke --teachers.weights nowhere.pth',
            'no file of weights at nowhere.pth',
        ),
    ],
)
def test_what_is_refused(words, message, refused, tmp_path):
    assert message in refused(words, tmp_path / 'work')


def test_storing_rounds_down_as_the_authors_do():
    images = data.normalise(SPEC, np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8, 1))
    levels = storing.as_stored(images + 0.9 / 255 / SPEC.std[0], SPEC, 'uint8')
    np.testing.assert_array_equal(levels.ravel(), np.arange(64))
    np.testing.assert_array_equal(storing.as_stored(images, SPEC, 'exact'), images)
    through = storing.as_stored(images, SPEC, 'jpeg')
    assert (
        through.dtype == np.uint8
        and 0 < np.abs(through.astype(int).ravel() - np.arange(64)).max() < 40
    )


@pytest.mark.long
@pytest.mark.parametrize(
    'words',
    [
        f'{INFER} --evaluation.protocol infer-dynamic --evaluation.epochs 1 --recover.storage jpeg',
        f'{INFER} --plugins cc cm cmi --recover.images-per-chunk 2 --evaluation.labels hard',
        f'sre2l --dataset digits --ipc 2 --smoke {TEACHER} --init real --recover.crop curriculum',
        (
            f'sre2l --dataset digits --ipc 2 --smoke {TEACHER} --init rded --recover.together 2 '
            '--steps-per-call 2'
        ),
        (
            f'dm --dataset digits --ipc 2 --smoke {TEACHER} --evaluation.labels static '
            '--evaluation.temperature 4'
        ),
        f'infer --dataset digits --ipc 3 --smoke {TEACHER} --data.feed stream',
    ],
)
def test_every_option_runs(words, main, tmp_path):
    assert main(words, tmp_path / 'work') == 0


def test_labels_of_another_set_are_refused(tmp_path):
    labelling.save_static(tmp_path / 'labels.npz', np.zeros((10, 2, 10), np.float16))
    made = jobs.load(parse('dm --dataset digits --ipc 3 --smoke'.split())).initial
    with pytest.raises(ValueError, match=r'labels \(10, 2, 10\), the set has \(10, 3, 10\)'):
        labelling.load_static(tmp_path / 'labels.npz', made)


def test_labels_that_are_damaged_or_none_are_refused(tmp_path, damage):
    logits, path = np.ones((4, 2, 4), np.float16), tmp_path / 'labels.npz'
    made = SyntheticSet(np.zeros((4, 2, 8, 8, 1)), np.zeros((4, 2, 4)))
    labelling.save_static(path, logits)
    assert damage(path, lambda: labelling.load_static(path, made)) > 100
    for content, message in (
        ({'x': logits}, 'holds no static labels'),
        ({'static': np.array('text')}, 'holds no'),
        ({'static': logits * np.nan}, 'holds labels that are not finite'),
    ):
        np.savez(path, **content)
        with pytest.raises(
            ValueError, match=f'labels.npz {message}.*; run the set.s own command again'
        ):
            labelling.load_static(path, made)


@pytest.mark.parametrize('init', ['rded', 'herding'])
def test_infer_keeps_what_rded_or_a_core_set_chooses(init):
    """The teacher looks at real images; what it chooses is kept and compensated."""
    job = jobs.load(parse(f'{INFER} --init {init}'.split()))
    model = models.by_name('convnet_bn', job.spec.image_shape, 10, width=4)
    judge = teachers.Teacher('convnet_bn', model, model.init(jax.random.key(0)), (), (), (), 10)
    prepared = jobs.Prepared([], [judge], chooser=choosing.chooser(job, [judge], []))
    found = starts.real_start(choosing.started(job, prepared), judge).images
    kept = job.config.entry.natural(job.config, job.spec)
    assert found.shape == (10, kept, 8, 8, 1)
    plain = jobs.load(parse(INFER.split()))
    assert not np.array_equal(found, starts.real_start(plain, judge).images)
    assert jobs.real_start(job.config, job.spec) == kept


@pytest.fixture(scope='module')
def watched(main, folder):
    words = (
        f'sre2l --dataset digits --ipc 2 --smoke {TEACHER} --recover.crop curriculum '
        '--recover.curriculum linear --recover.verifier convnet_aswish_bn '
        f'--evaluation.labels stored --evaluation.label-store {folder / "store"} '
        '--evaluation.strategy resized-crop-flip --evaluation.batch-size 6 '
        '--evaluation.accumulate 2'
    )
    assert main(words, folder / 'watched') == 0
    return folder / 'watched'


def test_a_verifier_looks_on_and_its_accuracy_is_in_the_history(watched):
    rows = [json.loads(line) for line in (watched / 'history.jsonl').read_text().splitlines()]
    assert rows and all(0 <= row['accuracy/verifier'] <= 1 for row in rows)


def test_labels_are_recorded_into_a_store_and_read_by_an_evaluation(watched, folder, monkeypatch):
    files = sorted(path.relative_to(folder / 'store') for path in folder.glob('store/*/*'))
    assert [str(file) for file in files] == [f'epoch_0/batch_{i}.tar' for i in range(4)]
    found = results(watched)
    assert found['bytes']['labels'] > 4 * 20 and found['accuracy']['distilled']
    monkeypatch.setattr(parallel, 'start', lambda: None)
    words = [
        str(watched / 'distilled.npz'),
        '--num-devices',
        '1',
        '--output',
        str(folder / 'e.json'),
    ]
    words += ['--evaluation.networks', 'mlp']
    assert evaluate.main(words) == 0
    assert 0 <= json.loads((folder / 'e.json').read_text())['accuracy']['distilled']['mlp']['mean']
    assert evaluate.main([*words, '--random']) == 2  # random images have no labels there
