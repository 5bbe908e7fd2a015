"""Everything that a configuration can say wrong is refused before anything trains."""

import contextlib
import functools

import pytest
from config_fields import leaves, replaced

from experiments.configs import validation
from experiments.methods import parse
from experiments.stages import jobs, rehearsal, teaching
from jaxdd import parallel

# One command per kind of method, so that every field is of use to one of them.
COMMANDS = (
    'dm --dataset digits --smoke --ipc 1 --plugins cc cm cmi',
    'idm --dataset digits --smoke --ipc 1',
    'idc --dataset digits --smoke --ipc 1',
    'dsa --dataset digits --smoke --ipc 1 --data.sampling representative',
    (
        'sre2l --dataset digits --smoke --ipc 1 --evaluation.labels replayed '
        '--evaluation.label-top-k 4'
    ),
    'datm --dataset digits --smoke --ipc 1',
)
FREE = (
    'regularizers.cc.source',
    'regularizers.cm.source',
    'regularizers.cmi.source',
    'data.data_dir',
)  # any text
WRONG = {
    int: (-1, 2**40),
    float: (-1.0, float('nan'), float('inf'), 1e39, 1e-46),
    str: ('', 'no such thing'),
}
TUPLES = {
    'data.mean': ((-0.1,), (1.5,), (float('nan'),), (0.5, 0.5)),
    'teachers.weights': (('nowhere.pth',),),
    'data.std': ((0.0,), (1e-40,), (-0.2,), (float('nan'),), (63.0,), (0.5, 0.5)),
}
FINE = (('workdir', 'no such thing'), ('cache_dir', 'no such thing'))  # folders are made


@functools.cache
def parsed(words):
    return parse(words.split())


def wrong_values():
    """(field, wrong value), for every field that can be wrong."""
    fields = dict.fromkeys(pair for words in COMMANDS for pair in leaves(parsed(words)))
    for name, kind in fields:
        values = (
            TUPLES.get(name, (('no such thing',),))
            if name in TUPLES
            or kind is str
            and name in ('plugins', 'evaluation.networks', 'teachers.networks')
            else WRONG.get(kind, ())
        )
        if name not in FREE:
            yield from ((name, value) for value in values if (name, value) not in FINE)


@functools.cache
def fields_of(words):
    """The fields that a command's method has."""
    return {name for name, _ in leaves(parsed(words))}


def user(field):
    """The first command whose method has a use for a field."""
    return next(
        words
        for words in COMMANDS
        if field in fields_of(words)
        and ('sre2l' in words)
        == field.startswith(('teachers', 'recover', 'evaluation.label', 'evaluation.temperature'))
    )


def load(config):
    """What happens before anything trains."""
    validation.require(config)
    return jobs.load(config)


@pytest.mark.parametrize('field, value', wrong_values(), ids=str)
def test_every_wrong_value_of_every_field_is_refused_by_name_or_reason(field, value, tmp_path):
    config = replaced(parsed(user(field)), field, value)
    with pytest.raises(ValueError) as error:
        if field == 'num_devices':
            parallel.mesh(value)
        load(config)
        if field == 'teachers.weights':
            teaching.prepare(jobs.load(config), lambda: False)
    assert str(error.value)


@pytest.mark.parametrize('words', COMMANDS)
def test_what_is_right_is_not_refused(words):
    load(parsed(words))


@pytest.mark.parametrize(
    'words, message',
    [
        ('--evaluation.strategy foo', "'foo'"),
        ('--evaluation.mode X', "'X'"),
        ('--evaluation.schedule cosine --evaluation.epochs 3 --evaluation.warmup-epochs 5', 'warm'),
        ('--num-steps 2147483648', 'num_steps must be at most 2147483647, got 2147483648'),
        ('--evaluation.epochs 2147483000 --evaluation.batch-size 1', 'more than can be counted'),
        (
            '--data.std 0',
            'data.std must be numbers from 0.001 to 1, one per channel, of pixels in [0, 1], got 0',
        ),
        (
            '--data.mean 33',
            'data.mean must be numbers from 0 to 1, one per channel, of pixels in [0, 1], got 33',
        ),
        ('--workdir=', "workdir must be given, got ''"),
    ],
)
def test_what_was_refused_late_or_not_at_all(words, message):
    with pytest.raises(ValueError) as error:
        load(parse(f'dm --dataset digits --smoke --ipc 1 {words}'.split()))
    assert message in str(error.value)


def test_images_that_do_not_fit_into_memory(monkeypatch):
    config = parsed(COMMANDS[0])
    monkeypatch.setattr(parallel, 'memory', lambda: 32 * 2**30)
    rehearsal.require_memory(config, (8, 8, 1), 10, 40)
    with pytest.raises(
        ValueError,
        match=r'1 images of 20000x20000 pixels and 4 real ones .*; lower data.image_size',
    ):
        rehearsal.require_memory(config, (20_000, 20_000, 3), 1, 4)
    # 10 stored images with gradient and momentum, 40 real bytes and 4 floats, 8 channels twice
    needed = 64 * (10 * 3 * 4 + 40 + 4 * 4 + 2 * 8 * 4)
    for there, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(parallel, 'memory', lambda: there)
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match='need at least'):
            rehearsal.require_memory(config, (8, 8, 1), 10, 40)
