"""Checkpoints come back bit for bit, and damage is noticed."""

import json
import pathlib
import resource
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from stored_trees import assert_identical, change_record, data_file, state_at

from jaxdd.storage import records
from jaxdd.storage.checkpoint import Checkpoints

CONFIG = {'method': 'dm', 'ipc': 2, 'optimizer': {'name': 'sgd', 'learning_rate': 1.0}}


def fill(directory, *steps, keep=2):
    with Checkpoints(directory, CONFIG, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step), {'position': step * 10})
    return directory


def read(directory, like=None):
    messages = []
    with Checkpoints(directory, CONFIG) as checkpoints:
        return checkpoints.restore(
            state_at(0) if like is None else like, warn=messages.append
        ), messages


# ------------------------------------------------------------------------------------------ the run


def test_empty_folder_restores_none(tmp_path):
    assert read(tmp_path / 'new') == (None, [])
    assert records.load(tmp_path / 'new' / 'config.json', records.ANYTHING) == CONFIG


def test_state_comes_back_bitwise_and_keeps_two(tmp_path):
    fill(tmp_path, 1, 2, 3)
    (state, step, extra), messages = read(tmp_path)
    assert (step, extra, messages) == (3, {'position': 30}, [])
    assert_identical(state, state_at(3))
    assert jax.random.uniform(state.key) == jax.random.uniform(state_at(3).key)
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.is_dir()) == [2, 3]


def test_donating_right_after_saving_does_no_harm(tmp_path):
    update = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        state = {'x': jnp.arange(1e6)}
        checkpoints.save(1, state)
        update(state)
        state = {'x': jnp.zeros(1000000)}
        assert_identical(checkpoints.restore(state)[0], {'x': jnp.arange(1e6)})


def test_same_step_twice_is_a_no_op_and_an_older_one_is_refused(tmp_path):
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(4, {'x': jnp.ones(2)})
        checkpoints.save(4, {'x': jnp.zeros(2)})
        assert float(checkpoints.restore({'x': jnp.zeros(2)})[0]['x'][0]) == 1.0
        with pytest.raises(ValueError, match='already holds step 4, which is newer than step 3'):
            checkpoints.save(3, {'x': jnp.ones(2)})
        assert checkpoints.steps == (4,)


def test_another_configuration_is_refused_with_the_differences(tmp_path):
    fill(tmp_path, 1)
    with pytest.raises(ValueError, match='another workdir or the stored configuration') as caught:
        Checkpoints(tmp_path, {**CONFIG, 'optimizer': {'name': 'sgd', 'learning_rate': 0.5}})
    assert str(caught.value).splitlines()[1:] == ['  optimizer.learning_rate: stored 1.0, now 0.5']
    (tmp_path / 'config.json').unlink()
    with pytest.raises(ValueError, match='no config.json'):
        Checkpoints(tmp_path, CONFIG)


def test_a_damaged_configuration_is_set_aside_and_the_checkpoints_tell_whose_they_are(tmp_path):
    fill(tmp_path, 1)
    file = tmp_path / 'config.json'
    for config, mine in ((CONFIG, True), ({**CONFIG, 'ipc': 3}, False)):
        file.write_text(file.read_text().replace('"ipc": ', '"ipc": 7'))
        with pytest.warns(
            UserWarning, match='config.json is damaged .*renamed to config.json.damaged'
        ):
            run = Checkpoints(tmp_path, config)
        with run:
            if mine:
                assert run.restore(state_at(0))[1] == 1
            else:
                with pytest.raises(
                    ValueError,
                    match='does not fit this run: it is of the configuration d0fc6b1cfa25',
                ):
                    run.restore(state_at(0))


def test_a_record_of_the_first_version_is_still_read(tmp_path):
    fill(tmp_path, 1)
    file = tmp_path / '1' / 'record' / 'metadata'
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({name: whole[name] for name in ('leaves', 'extra')}))
    assert read(tmp_path)[0][1] == 1


def test_a_configuration_without_checkpoints_may_change(tmp_path):
    fill(tmp_path)
    with Checkpoints(tmp_path, {'other': 1}):
        assert records.load(tmp_path / 'config.json', records.ANYTHING) == {'other': 1}


def truncate(directory):
    file = data_file(directory, 2)
    file.write_bytes(file.read_bytes()[:100])


def flip(directory):
    file = data_file(directory, 2)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def garbage(directory):
    for file in (directory / '2').rglob('*'):
        if file.is_file():
            file.write_bytes(b'\x93garbage\x00' * 7)


DAMAGE = {
    'a digit of the facts': lambda d: change_record(d / '2', '"position": 20', '"position": 21'),
    'a fact lost': lambda d: change_record(d / '2', '"position": 20', ''),
    'the checksum renamed': lambda d: change_record(d / '2', '"checksum": "', '"checkzum": "'),
    'a checksum of a leaf': lambda d: change_record(d / '2', '"checksum": ', '"checksum": 1'),
    'truncated data': truncate,
    'one bit flipped': flip,
    'garbage everywhere': garbage,
    'data deleted': lambda d: data_file(d, 2).unlink(),
    'manifest deleted': lambda d: (d / '2' / 'arrays' / 'manifest.ocdbt').unlink(),
    'record deleted': lambda d: (d / '2' / 'record' / 'metadata').unlink(),
    'everything deleted': lambda d: [p.unlink() for p in (d / '2').rglob('*') if p.is_file()],
    'other shapes': lambda d: (d / '2').rename(d / 'gone') and other(d),
}


def other(directory):
    with Checkpoints(directory, CONFIG) as checkpoints:
        checkpoints.save(2, {'x': jnp.ones(1)})


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('damage', DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_used(tmp_path, damage):
    damage(fill(tmp_path, 1, 2))
    (state, step, _), messages = read(tmp_path)
    assert step == 1
    assert_identical(state, state_at(1))
    assert len(messages) == 1 and 'step 2 is unreadable' in messages[0]
    assert 'moved to unreadable-2, continuing from step 1' in messages[0]
    assert (tmp_path / 'unreadable-2').is_dir() and not (tmp_path / '2').exists()
    fill(tmp_path, 2)
    assert read(tmp_path)[0][1] == 2


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_nothing_is_left_when_all_are_damaged(tmp_path):
    garbage(fill(tmp_path, 2))
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        with pytest.warns(UserWarning, match='no checkpoint is left'):
            assert checkpoints.restore(state_at(0)) is None
        assert checkpoints.steps == ()
        checkpoints.save(1, state_at(1))
    assert read(tmp_path)[0][1] == 1


def test_a_whole_state_of_another_run_is_an_error_and_stays(tmp_path):
    fill(tmp_path, 1, 2)
    with pytest.raises(
        ValueError, match=r'params\.images: stored float32\[8, 2,.*expected float32\[4, 2'
    ):
        read(tmp_path, state_at(0, classes=4))
    assert {'1', '2'} <= {p.name for p in tmp_path.iterdir()}


def test_half_written_checkpoints_are_never_counted(tmp_path):
    fill(tmp_path, 1)
    (tmp_path / '2.orbax-checkpoint-tmp' / 'arrays').mkdir(parents=True)
    (tmp_path / '2.orbax-checkpoint-tmp' / 'arrays' / 'd').write_bytes(b'half')
    (_, step, _), messages = read(tmp_path)
    assert (step, messages) == (1, [])
    fill(tmp_path, 2)
    assert read(tmp_path)[0][1] == 2


KILLED = """
import os, sys, jax.numpy as jnp
from jaxdd.storage.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1], {})
checkpoints.save(1, {'x': jnp.ones(4_000_000)})
checkpoints.wait()
checkpoints.save(2, {'x': jnp.arange(4e6)})
os.kill(os.getpid(), 9)
"""


@pytest.mark.long
def test_a_killed_save_leaves_the_one_before(tmp_path):
    assert subprocess.run([sys.executable, '-c', KILLED, tmp_path]).returncode == -9
    with Checkpoints(tmp_path, {}) as checkpoints:
        _, step, _ = checkpoints.restore({'x': jnp.zeros(4_000_000)})
        assert step == 1 or (tmp_path / '2').is_dir()


def test_restores_to_the_shardings_of_like(tmp_path):
    fill(tmp_path, 1)
    devices = Mesh(np.array(jax.devices()), ('d',))
    spread, everywhere = NamedSharding(devices, P('d')), NamedSharding(devices, P())
    like = jax.tree.map(
        lambda x: x if isinstance(x, int) else jax.device_put(x, everywhere), state_at(0)
    )
    like.params['images'] = jax.device_put(like.params['images'], spread)
    like.fixed['keys'] = jax.device_put(like.fixed['keys'], spread)
    (state, _, _), _ = read(tmp_path, like)
    assert state.params['images'].sharding == spread and state.key.sharding == everywhere
    assert state.fixed['keys'].sharding.is_equivalent_to(spread, 1)
    assert len(state.params['images'].addressable_shards) == 8
    assert_identical(
        jax.tree.map(np.asarray, state.params), jax.tree.map(np.asarray, state_at(1).params)
    )
    assert not read(tmp_path, state_at(0))[0][0].params['images'].committed
    with Checkpoints(tmp_path / 'back', CONFIG) as checkpoints:
        checkpoints.save(1, state)
        assert_identical(checkpoints.restore(state_at(0))[0], state_at(1))


def test_training_continues_as_if_it_had_not_stopped(tmp_path):
    optimizer = optax.adam(0.1)

    @jax.jit
    def update(state):
        key, noise = jax.random.split(state['key'])
        gradient = state['x'] + jax.random.normal(noise, state['x'].shape)
        change, opt = optimizer.update(gradient, state['opt'])
        return {'x': state['x'] + change, 'opt': opt, 'key': key}

    start = {'x': jnp.ones(5), 'opt': optimizer.init(jnp.ones(5)), 'key': jax.random.key(3)}
    middle = update(update(start))
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(2, middle)
        resumed, _, _ = checkpoints.restore(start)
    assert_identical(update(update(resumed)), update(update(middle)))


# ------------------------------------------------------------------------------------------ failing
# disks


def test_a_folder_below_a_file_is_an_os_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError):
        Checkpoints(tmp_path / 'file' / 'run', CONFIG)


def test_a_vanished_folder_is_an_os_error_at_once(tmp_path):
    with pytest.raises(OSError, match='could not save a checkpoint in .*run.*NotADirectoryError'):
        with Checkpoints(tmp_path / 'run', CONFIG) as checkpoints:
            checkpoints.save(1, {'x': jnp.ones(3)})
            checkpoints.wait()
            (tmp_path / 'run').rename(tmp_path / 'away')
            (tmp_path / 'run').write_text('')
            checkpoints.save(2, {'x': jnp.ones(3)})
    (tmp_path / 'run').unlink()
    (tmp_path / 'away').rename(tmp_path / 'run')
    with Checkpoints(tmp_path / 'run', CONFIG) as checkpoints:
        assert checkpoints.restore({'x': jnp.zeros(3)})[1] == 1


@pytest.fixture
def full_disk():
    """Writes beyond 4 kB fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(full=True):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if full else soft, hard))

    yield switch
    switch(False)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('call', ['wait', 'save', 'exit'])
def test_a_full_disk_surfaces_and_the_last_whole_checkpoint_stays(tmp_path, full_disk, call):
    big = {'x': jax.random.normal(jax.random.key(0), (100_000,))}
    with pytest.raises(
        OSError, match='could not save .*File too large; the newest whole .* is step 1'
    ):
        with Checkpoints(tmp_path, CONFIG) as checkpoints:
            checkpoints.save(1, big)
            checkpoints.wait()
            full_disk()
            checkpoints.save(2, big)
            if call == 'wait':
                checkpoints.wait()
            elif call == 'save':
                checkpoints.save(3, big)
    full_disk(False)
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        state, step, _ = checkpoints.restore(big)
        assert step == 1
        assert_identical(state, big)


def test_the_error_of_the_body_is_not_masked(tmp_path, full_disk):
    with warnings.catch_warnings(record=True):
        with pytest.raises(KeyError, match='body'):
            with Checkpoints(tmp_path, CONFIG) as checkpoints:
                full_disk()
                checkpoints.save(2, {'x': jax.random.normal(jax.random.key(0), (100_000,))})
                raise KeyError('body')


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match='at least 1'):
        Checkpoints(pathlib.Path(tmp_path), CONFIG, keep=0)
