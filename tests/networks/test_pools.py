"""Pools: trained once, kept on disk, drawn at every step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, losses, models, optimizers
from jaxdd.engine import fit, loop
from jaxdd.networks import pools
from jaxdd.storage.fingerprint import Store, fingerprint
from jaxdd.types import Inputs, Recipe, Variables

SET = data.fake(per_class=4)
MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
RECIPE = Recipe(optimizers.sgd(0.05), 3, 8, losses.soft_cross_entropy)
SAMPLE = data.epochs(SET.train, SET.spec, batch_size=8)
KEY = jax.random.key(2)
FEED = jax.tree_util.Partial(lambda key, step: Inputs(real=jax.random.fold_in(key, step)))


def proxies(cache, count, identity={'pool': 1}, **options):
    return pools.proxies(
        KEY,
        MODEL,
        SAMPLE,
        RECIPE,
        count=count,
        store=Store(cache, identity),
        control=loop.Control(**options),
    )


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """(folder, networks) of a pool of two."""
    cache = tmp_path_factory.mktemp('pool')
    return cache, proxies(cache, 2)


@pytest.fixture
def trainings(monkeypatch):
    """The keys of every network that is trained."""
    keys, real = [], fit.fit_seeds

    def counted(group, *args, **options):
        keys.extend(group)
        return real(group, *args, **options)

    monkeypatch.setattr(fit, 'fit_seeds', counted)
    return keys


def test_networks_are_trained_from_their_own_keys(shared):
    expected = [fit.fit(jax.random.fold_in(KEY, i), MODEL, SAMPLE, RECIPE) for i in range(2)]
    chex.assert_trees_all_close(shared[1], expected, atol=1e-5)


def test_a_cached_pool_trains_nothing(shared, trainings):
    log = []
    chex.assert_trees_all_equal(proxies(shared[0], 2, log=log.append), shared[1])
    chex.assert_trees_all_equal(proxies(shared[0], 1, together=2), shared[1][:1])
    assert trainings == [] and len(log) == 1 and log[0].endswith('2 of 2 networks cached')


@pytest.mark.parametrize('together', [1, 2])
def test_a_larger_pool_extends_a_smaller_one(tmp_path, trainings, together):
    log = []
    small = proxies(tmp_path, 1)
    large = proxies(tmp_path, 3, together=together, log=log.append)
    assert len(trainings) == 3 and 'training 2' in log[0]
    chex.assert_trees_all_equal(large[:1], small)
    chex.assert_trees_all_equal(proxies(tmp_path, 3), large)
    assert len(trainings) == 3


def test_another_identity_is_another_pool(shared, tmp_path, trainings):
    proxies(tmp_path, 1)
    proxies(tmp_path, 1, identity={'pool': 2})
    assert len(trainings) == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {fingerprint({'pool': 1}), fingerprint({'pool': 2})}


def test_a_damaged_network_is_trained_again_and_said_so(tmp_path, trainings):
    log, whole = [], proxies(tmp_path, 2)
    member = tmp_path / fingerprint({'pool': 1}) / '1'
    for path in [path for path in member.rglob('*') if path.is_file()]:
        path.write_bytes(b'damaged')
    chex.assert_trees_all_close(proxies(tmp_path, 2, log=log.append), whole, atol=1e-6)
    assert len(trainings) == 3
    assert str(member) in log[0] and 'made again' in log[0] and '1 of 2 networks cached' in log[1]
    proxies(tmp_path, 2)
    assert len(trainings) == 3


def test_an_interrupted_pool_keeps_what_is_finished(tmp_path, trainings):
    answers = iter([False] * 4 + [True] * 9)  # one question before every step
    stopped = proxies(tmp_path, 3, should_stop=lambda: next(answers))
    assert len(stopped) == 1
    del trainings[:]
    chex.assert_trees_all_equal(proxies(tmp_path, 2)[:1], stopped)
    assert len(trainings) == 1


def test_a_pool_has_networks(tmp_path):
    with pytest.raises(ValueError, match='at least one network, got count=0'):
        proxies(tmp_path, 0)
    with pytest.raises(ValueError, match="role 'proxy' is empty"):
        pools.attach(FEED, 'proxy', [])


def network(value):
    return Variables(
        {'w': jnp.full((2,), value, jnp.float32)}, {}, jnp.int32(value), jnp.float32(0)
    )


def test_attach_draws_every_member_uniformly_and_whole():
    feed = pools.attach(FEED, 'proxy', [network(i) for i in range(4)])
    drawn = jax.jit(jax.vmap(feed, (None, 0)))(KEY, jnp.arange(400)).pretrained['proxy']
    np.testing.assert_array_equal(drawn.params['w'], np.stack([drawn.age] * 2, 1))
    counts = np.bincount(drawn.age, minlength=4)
    assert counts.shape == (4,) and counts.min() > 70


def test_a_drawn_network_serves_as_many_steps_as_told():
    feed = pools.attach(FEED, 'proxy', [network(i) for i in range(50)], every=4)
    ages = jax.vmap(feed, (None, 0))(KEY, jnp.arange(40)).pretrained['proxy'].age.reshape(10, 4)
    assert (ages == ages[:, :1]).all() and len(set(ages[:, 0].tolist())) > 5
    with pytest.raises(ValueError, match='at least 1 step, got every=0'):
        pools.attach(FEED, 'proxy', [network(0)], every=0)


def test_attach_leaves_the_rest_of_the_inputs_alone():
    inputs = pools.attach(FEED, 'proxy', [network(0)])(KEY, jnp.int32(3))
    assert inputs.pretrained.keys() == {'proxy'}
    np.testing.assert_array_equal(
        jax.random.key_data(inputs.real), jax.random.key_data(FEED(KEY, 3).real)
    )
    assert inputs._replace(real=None, pretrained={}) == Inputs()


def test_two_roles_draw_independently():
    pool = [network(i) for i in range(4)]
    feed = pools.attach(pools.attach(FEED, 'proxy', pool), 'encoder', pool)
    drawn = jax.vmap(feed, (None, 0))(KEY, jnp.arange(100)).pretrained
    assert drawn.keys() == {'proxy', 'encoder'}
    assert 5 < np.sum(drawn['proxy'].age == drawn['encoder'].age) < 60


def test_the_draw_is_a_function_of_key_and_step():
    feed = pools.attach(FEED, 'proxy', [network(i) for i in range(50)])
    ages = [
        int(feed(key, jnp.int32(step)).pretrained['proxy'].age)
        for key, step in ((KEY, 1), (KEY, 1), (KEY, 2), (jax.random.key(9), 1))
    ]
    assert ages[0] == ages[1] and len(set(ages)) == 3


def test_attach_gives_a_stream_the_same_networks_as_a_device_feed():
    fake = data.fake()
    model = models.by_name('convnet', (8, 8, 3), 3, width=4)
    pool = [jax.jit(model.init)(jax.random.key(i)) for i in range(3)]
    key = jax.random.key(7)
    feed = pools.attach(data.stratified(fake.train, fake.spec, per_class=2), 'proxy', pool)
    stream = pools.attach(data.streamed(fake.train, fake.spec, per_class=2), 'proxy', pool).start(
        key, 2
    )
    for step in (2, 3, 4):
        chex.assert_trees_all_equal(
            next(stream).pretrained, dict(feed(key, jnp.int32(step)).pretrained)
        )
