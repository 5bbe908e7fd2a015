"""Experts: trained by `fit`, kept epoch by epoch, extended by number and by epochs."""

import re

import chex
import jax
import numpy as np
import pytest

from jaxdd import data, losses, models, optimizers, parallel
from jaxdd.engine import fit, loop
from jaxdd.networks import experts
from jaxdd.networks.experts import Plan
from jaxdd.storage.fingerprint import Store, fingerprint
from jaxdd.types import Recipe

SET = data.fake(per_class=4)
MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
RECIPE = Recipe(optimizers.sgd(0.05, momentum=0.5), 0, 6, losses.soft_cross_entropy)
SAMPLE = data.epochs(SET.train, SET.spec, batch_size=6)
KEY, PER_EPOCH, WHO = jax.random.key(2), 2, {'experts': 1}


def train(cache, count, epochs, identity=WHO, model=MODEL, recipe=RECIPE, **options):
    return experts.train(
        KEY,
        model,
        SAMPLE,
        recipe,
        Plan(count, epochs, PER_EPOCH),
        store=Store(cache, identity),
        control=loop.Control(**options),
    )


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """(folder, parameters) of two experts of three epochs."""
    cache = tmp_path_factory.mktemp('experts')
    return cache, train(cache, 2, 3)


@pytest.fixture
def updates(monkeypatch):
    """Updates of the programs that are run; of several experts at once they count once."""
    taken, real = [], loop.run

    def counted(step, state, feed, *, num_steps, **options):
        before = int(state.step)
        after = real(step, state, feed, num_steps=num_steps, **options)
        taken.append(int(after.step) - before)
        return after

    monkeypatch.setattr(loop, 'run', counted)
    return taken


def epoch(trajectory, number):
    return jax.tree.map(lambda leaf: leaf[number], trajectory)


def test_each_epoch_is_what_fit_reaches(shared):
    for i, trajectory in enumerate(shared[1]):
        own = jax.random.fold_in(KEY, i)
        start = fit.init_fit(own, MODEL, RECIPE).variables.params
        chex.assert_trees_all_close(epoch(trajectory, 0), start, atol=1e-6)
        for number in (1, 3):
            reached = fit.fit(own, MODEL, SAMPLE, RECIPE._replace(num_steps=number * PER_EPOCH))
            chex.assert_trees_all_close(epoch(trajectory, number), reached.params, atol=1e-5)


def test_cached_experts_are_read_as_far_as_asked(shared, updates):
    log = []
    chex.assert_trees_all_equal(train(shared[0], 2, 3, log=log.append), shared[1])
    (short,) = train(shared[0], 1, 2)
    chex.assert_trees_all_equal(short, jax.tree.map(lambda leaf: leaf[:3], shared[1][0]))
    assert updates == [] and log == [f'experts {fingerprint(WHO)}: 2 of 2 cached']


@pytest.mark.parametrize('together', [1, 2])
def test_they_are_extended_by_number_and_by_epochs(shared, tmp_path, updates, together):
    log = []
    train(tmp_path, 1, 1)
    assert sum(updates) == PER_EPOCH
    longer = train(tmp_path, 2, 3, together=together, log=log.append)
    # they do not stand at the same epoch, so they are no one program
    assert sum(updates) == PER_EPOCH * (1 + 2 + 3)
    assert log[0].endswith('0 of 2 cached, training 2 up to epoch 3')
    chex.assert_trees_all_close(longer, shared[1], atol=1e-5)
    folders = {path.name for path in (tmp_path / fingerprint(WHO) / '0').iterdir()}
    assert folders == {'3'}, 'what was replaced is gone'


def test_several_as_one_program_are_the_same_experts(shared, tmp_path, updates):
    chex.assert_trees_all_close(train(tmp_path, 2, 3, together=2), shared[1], atol=1e-5)
    assert sum(updates) == 3 * PER_EPOCH


def test_devices_share_them_out(shared, tmp_path, updates):
    with parallel.use(parallel.mesh(2)):
        found = train(tmp_path, 2, 3, together=2)
    chex.assert_trees_all_close(found, shared[1], atol=1e-5)
    assert sum(updates) == 3 * PER_EPOCH


@pytest.mark.parametrize('stop_after', [3, 4, 5])
def test_an_interrupted_expert_goes_on_bit_for_bit(shared, tmp_path, updates, stop_after):
    answers = iter([False] * stop_after + [True] * 99)  # one question before every step
    first = train(tmp_path, 2, 3, should_stop=lambda: next(answers))
    assert first == [] and sum(updates) == stop_after
    chex.assert_trees_all_equal(train(tmp_path, 2, 3), shared[1])
    assert sum(updates) == 2 * 3 * PER_EPOCH


def test_saves_come_after_as_many_steps_as_asked(tmp_path, monkeypatch):
    saved, real = [], experts._save
    monkeypatch.setattr(
        experts, '_save', lambda store, one: (saved.append(len(one.params) - 1), real(store, one))
    )
    train(tmp_path / 'a', 1, 4, checkpoint_every=3)
    assert saved == [2, 4]
    del saved[:]
    train(tmp_path / 'b', 1, 4, checkpoint_every=100)
    assert saved == [4]


def test_a_damaged_expert_is_trained_again_and_said_so(tmp_path, capsys, updates):
    whole = train(tmp_path, 2, 2)
    del updates[:]
    damaged = tmp_path / fingerprint(WHO) / '1' / '2'
    for path in [path for path in damaged.rglob('*') if path.is_file()]:
        path.write_bytes(b'damaged')
    chex.assert_trees_all_equal(train(tmp_path, 2, 2), whole)
    assert sum(updates) == 2 * PER_EPOCH and str(damaged) in capsys.readouterr().out


def test_a_diverging_expert_is_named_and_what_was_is_kept(tmp_path, updates):
    train(tmp_path, 1, 1)
    wild = RECIPE._replace(optimizer=optimizers.sgd(1e30, momentum=0.5))
    with pytest.raises(
        loop.NonFiniteError, match=r'expert 0: loss/train is .* at step \d+; lower '
    ):
        train(tmp_path, 1, 3, recipe=wild)
    del updates[:]
    train(tmp_path, 1, 1)
    assert updates == []


def load(folder, count, epochs, identity=WHO, model=MODEL):
    plan = Plan(count, epochs, PER_EPOCH)
    return experts.load(model, RECIPE, plan, Store(folder, identity))


def test_anothers_experts_are_read(shared):
    found = load(shared[0] / fingerprint(WHO), 1, 2)
    chex.assert_trees_all_equal(found[0], jax.tree.map(lambda leaf: leaf[:3], shared[1][0]))


WIDE = models.by_name('convnet', (8, 8, 3), 3, width=8, depth=1)


@pytest.mark.parametrize(
    'count, epochs, options, said',
    [
        (3, 3, {}, 'must hold 3 experts of 3 epochs; expert 2 has none'),
        (2, 4, {}, 'expert 0 has only 3'),
        (1, 3, {'identity': {'experts': 2}}, 'experts: stored 1, now 2'),
        (1, 3, {'model': WIDE}, 'conv0.kernel: stored .*4.*, expected .*8'),
    ],
)
def test_experts_that_do_not_fit_are_refused(shared, count, epochs, options, said):
    with pytest.raises(ValueError, match=said):
        load(shared[0] / fingerprint(WHO), count, epochs, **options)


@pytest.mark.parametrize('plan', [Plan(0, 1, 1), Plan(1, 0, 1), Plan(1, 1, 0)])
def test_a_plan_of_nothing_is_refused(tmp_path, plan):
    with pytest.raises(ValueError, match=r'(count|num_epochs|steps_per_epoch) of experts must be'):
        experts.train(KEY, MODEL, SAMPLE, RECIPE, plan, store=Store(tmp_path, WHO))


def test_batch_norm_is_refused(tmp_path):
    batch = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1, batch_statistics=True)
    with pytest.raises(ValueError, match=re.escape('without batch norm')):
        train(tmp_path, 1, 1, model=batch)


def test_leaves_are_numpy_on_the_host(shared):
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(shared[1]))
