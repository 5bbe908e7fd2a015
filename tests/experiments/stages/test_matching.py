"""What the stages decide by themselves:
what makes two runs the same, weights, and the words on the way."""

import time

import jax
import numpy as np
import pytest

from experiments.methods import parse
from experiments.stages import going, identity, jobs, matching, messages, progress, weighing
from jaxdd import data, models
from jaxdd.storage import records


def job(words=''):
    return jobs.load(parse(f'dm --dataset digits --ipc 1 --smoke {words}'.split()))


@pytest.mark.parametrize(
    'words',
    [
        '--num-steps 9',
        '--evaluation.epochs 5',
        '--workdir elsewhere',
        '--keep 3',
        '--cache-dir x',
        '--checkpoint-every 7',
        '--steps-per-call 1',
        '--num-devices 1',
        '--proxies.count 4',
        '--proxies.epochs 9',
    ],
)
def test_what_does_not_change_the_images_is_not_in_the_identity(words):
    assert identity.of_run(job(words)) == identity.of_run(job())


@pytest.mark.parametrize(
    'words',
    [
        '--seed 1',
        '--optimizer.momentum 0.1',
        '--data.per-class 5',
        '--encoder.width 4',
        '--augmentation.strategy none',
        '--plugins cm',
        '--plugins cmi',
    ],
)
def test_what_changes_the_images_is_in_the_identity(words):
    assert identity.of_run(job(words)) != identity.of_run(job())


def test_proxies_and_weights_count_where_they_are_used():
    base = identity.of_run(job('--plugins cc'))
    for words in (
        '--proxies.count 4',
        '--regularizers.cc.weight 2',
        '--regularizers.cc-form exp_hinge',
    ):
        assert identity.of_run(job(f'--plugins cc {words}')) != base
    assert identity.of_run(job('--plugins cm cc')) == identity.of_run(job('--plugins cc cm'))


@pytest.mark.parametrize(
    'plugins, needed',
    [('', False), ('--plugins cm', False), ('--plugins cc', True), ('--plugins cmi', True)],
)
def test_who_needs_a_proxy(plugins, needed):
    made = job(plugins)
    assert jobs.needs_proxy(made.config) == needed == ('proxy' in made.models)
    assert ('nothing to prepare' in messages.prepare(made)) != needed


@pytest.mark.parametrize(
    'per_class, words',
    [('4', ' 4 real'), ('256', ' 256 (classes with fewer: all of theirs, 139 at least) real')],
)
def test_what_is_said_to_be_drawn_is_drawn(per_class, words):
    made = job(f'--data.per-class {per_class}')
    assert f'{words} images per class and step' in messages.distil(made)
    found = matching.build.feed(made.config, made.dataset)(jax.random.key(0), 0)
    least = (
        found.real.shape[1] if found.real_weights is None else int(found.real_weights.sum(1).min())
    )
    assert jobs.real_per_class(made) == {
        'asked': int(per_class),
        'least': least,
        'most': found.real.shape[1],
    }


@pytest.mark.parametrize(
    'plugins, drawn', [('', None), ('--plugins cm', {'asked': 4, 'least': 4, 'most': 4})]
)
def test_recovery_draws_real_images_for_a_plugin_alone(plugins, drawn):
    made = jobs.load(parse(f'sre2l --dataset digits --ipc 1 --smoke {plugins}'.split()))
    assert jobs.real_per_class(made) == drawn
    assert ('real images' in messages.distil(made)) == bool(drawn)


def test_a_teachers_draws_depend_on_its_own_name_alone():
    assert identity.number('convnet_bn') == 218710979  # so that networks to come change no teacher
    keys = [jax.random.fold_in(jax.random.key(0), identity.number(name)) for name in models.NAMES]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == len(models.NAMES)
    made = jobs.load(parse('sre2l --dataset digits --ipc 1 --smoke'.split()))
    assert identity.of_teacher(made, 'convnet_bn')['number'] == 218710979


def test_configured_weights_are_taken_as_they_are(capsys):
    made = job('--plugins cc cm --regularizers.cc.weight 0.5 --regularizers.cm.weight 0')
    assert weighing.weigh(made, made.method, None, None) == {'cc': 0.5, 'cm': 0.0}
    assert 'weight of cc: 0.5 (' in capsys.readouterr().out


def test_the_start_is_real_and_differs_by_seed():
    first, again, other = (np.asarray(job(words).initial.images) for words in ('', '', '--seed 1'))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    real = np.asarray(data.normalise(data.spec('digits'), job().dataset.train.images))
    assert all((real == image).all((1, 2, 3)).any() for image in first[:, 0])


def history_of(path, *steps):
    """A history file with these steps."""
    path.write_text(''.join(records.sealed({'step': step, 'a': float(step)}) for step in steps))
    return path


def test_history_drops_what_a_resumed_run_repeats_and_a_torn_line(tmp_path, capsys):
    path = history_of(tmp_path / 'history.jsonl', 1, 2, 3)
    path.write_text(path.read_text()[:-9])
    history = progress.History(path, up_to=1)
    assert history.rows() == [{'step': 1, 'a': 1.0}] and not capsys.readouterr().out
    history.callback(2).call(None, 2, {'a': np.array([1.0, 2.0])})
    assert history.rows() == [{'step': 1, 'a': 1.0}, {'step': 2, 'a': 1.5}]


@pytest.mark.parametrize(
    'damage',
    [
        lambda text: text.replace('"a": 2.0', '"a": 7.0'),
        lambda text: text.replace('{"step": 2', '"step": 2'),
        lambda text: text.replace('"step": 2', '"step": 1'),
        lambda text: text.replace('"a": 2.0', 'é'),
    ],
)
def test_rows_that_cannot_be_right_are_dropped_with_a_word(damage, tmp_path, capsys):
    path = history_of(tmp_path / 'history.jsonl', 1, 2, 3)
    path.write_text(damage(path.read_text()))
    assert [row['step'] for row in progress.History(path, up_to=9).rows()] == [1, 3]
    assert '1 of 3 rows were damaged and are left out' in capsys.readouterr().out


def test_rows_of_a_second_process_are_dropped(tmp_path):
    path = history_of(tmp_path / 'history.jsonl', 1, 1, 2, 2, 3, 3)
    assert [row['step'] for row in progress.rows_of(path)] == [1, 2, 3]


def test_rows_come_at_whole_dispatches():
    assert going._history_period(job('--num-steps 100 --steps-per-call 50')) == 50
    assert going._history_period(job('--num-steps 20000 --steps-per-call 50')) == 50
    assert going._history_period(job('--num-steps 20000 --steps-per-call 1')) == 40


def test_the_clock_leaves_compilation_out_and_remembers():
    clock = progress.Clock((0.25, 9.0))
    assert clock.summary(1) == (0.25, 9.0)
    clock.times = [0.0, 10.0, 12.0, 14.0]
    assert clock.summary(2) == (1.0, 8.0)


def test_stages_are_counted_and_timed(capsys):
    stages_ = progress.Stages(2)
    stages_.begin('one', 'first')
    time.sleep(0.02)
    stages_.begin('two', 'second')
    stages_.end()
    assert capsys.readouterr().out == '[1/2] first\n[2/2] second\n'
    assert list(stages_.seconds) == ['one', 'two'] and stages_.seconds['one'] >= 0.02


def test_seconds_of_every_process_of_a_run_are_added_up(tmp_path):
    path = tmp_path / 'seconds.json'
    records.save(path, {'run': 'ab', 'seconds': {'one': 10.0, 'two': 5.0}})
    for run, least in (('ab', 10.0), ('ab', 10.0), ('other', 0.0)):
        one = progress.Stages(2)
        one.begin('one', 'first')
        one.keep(path, run)
        one.end()
        assert least <= one.seconds['one'] < least + 1
    assert records.load(path, progress.SECONDS)['run'] == 'other'


def test_a_plugin_without_a_gradient_is_said_to_change_nothing(monkeypatch, capsys):
    monkeypatch.setattr(
        weighing.auto_weights, 'automatic_weights', lambda *args, **knobs: {'cc': 0.0, 'cm': 2.0}
    )
    made = job('--plugins cc cm --regularizers.cm.ratio 0.5')
    assert weighing.weigh(made, made.method, None, None) == {'cc': 0.0, 'cm': 1.0}
    cc, cm = capsys.readouterr().out.splitlines()
    assert cc.endswith('no gradient at the start: it changes nothing)') and 'no gradient' not in cm
