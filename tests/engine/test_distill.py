"""The engine: what a step sees, what it refuses, and how it moves the images."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import augment, models, parallel
from jaxdd.engine.distill import init_state, make_gradient, make_step
from jaxdd.methods import dm
from jaxdd.parametrizations import partitioned, pixels
from jaxdd.regularizers import cc, cm, cmi
from jaxdd.terms import named, regularize
from jaxdd.types import Inputs, Method, Networks, Read, SyntheticSet, Term

KEY = jax.random.key(0)
NET = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
IMAGES = jax.random.normal(KEY, (3, 2, 8, 8, 3))
REAL = jax.random.normal(jax.random.key(1), (3, 4, 8, 8, 3))
INITIAL = SyntheticSet(IMAGES, jnp.full((3, 2, 3), 1 / 3))
SGD = optax.sgd(0.1, momentum=0.5)
NONE = Networks(
    lambda key: (),
    lambda state, key, inputs: (None, inputs),
    lambda state, key, inputs, synthetic: state,
)
PROXY = Inputs(real=REAL, pretrained={'proxy': NET.init(jax.random.key(2))})
SYNTHETIC_PIXELS, REAL_PIXELS = Read('', 'synthetic'), Read('', 'real')


def toy(function, *reads, **axes):
    """A method whose objective is a function of the observation, without networks."""
    objective = Term(frozenset(reads), lambda seen, key: (function(seen), {}))
    return Method(pixels(), objective, NONE, {}, augment.identity())._replace(**axes)


def start(method, optimizer=SGD, initial=INITIAL):
    return init_state(KEY, method, optimizer, initial)


def traced(method, inputs=Inputs(real=REAL)):
    """Traces one step; compiles and computes nothing."""
    return jax.eval_shape(make_step(method, SGD), start(method), inputs)


# The first state


@pytest.mark.parametrize('images, labels, message', [
    (IMAGES[0], INITIAL.labels,
     r'initial images must be \[classes, per class, .*got shape \(2, 8, 8, 3\)'),
    (IMAGES, INITIAL.labels[0], r'initial labels must be \[3, 2, classes\], got shape \(2, 3\)'),
    (IMAGES, INITIAL.labels[:, :1],
     r'initial labels must be \[3, 2, classes\], got shape \(3, 1, 3\)'),
    (IMAGES, jnp.zeros((3, 2), jnp.int32),
     r'initial labels must be \[3, 2, classes\], got shape \(3, 2\)'),
    (jnp.zeros(IMAGES.shape, jnp.uint8), INITIAL.labels,
     'normalised floats, got uint8; see data.normalise'),
    (IMAGES.at[0, 1, 2].set(jnp.nan), INITIAL.labels, 'hold NaN or infinite values'),
    (IMAGES.at[2, 0, 0].set(jnp.inf), INITIAL.labels, 'hold NaN or infinite values')])  # fmt: skip
def test_a_wrong_initial_set_is_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        start(dm(NET, augment=augment.identity()), initial=SyntheticSet(images, labels))


def test_the_first_state_stands_at_step_zero_with_the_initial_images():
    state = start(dm(NET, augment=augment.identity()))
    assert state.step == 0 and state.networks == ()
    np.testing.assert_array_equal(state.params['images'], IMAGES)
    np.testing.assert_array_equal(state.fixed['labels'], INITIAL.labels)
    np.testing.assert_array_equal(state.opt_state[0].trace['images'], 0 * IMAGES)


# What is missing is said while tracing


def test_missing_real_images():
    with pytest.raises(
        ValueError,
        match=r'a term reads real/augmented, but the feed has no real images; '
        r'use a feed that supplies Inputs.real, e.g. data.stratified\(...\)',
    ):
        traced(dm(NET, augment=augment.identity()), Inputs())


def test_missing_network():
    method = regularize(
        dm(NET, augment=augment.identity()), {'cc': (0.1, cc())}, models={'proxy': NET}
    )
    with pytest.raises(
        ValueError,
        match=r'a term reads proxy/synthetic/augmented, but there is no network for the '
        r"role 'proxy' \(there are: encoder\).*pools.attach\(feed, 'proxy', pool\)",
    ):
        traced(method)


def test_missing_architecture():
    method = regularize(dm(NET, augment=augment.identity()), {'cmi': (0.1, cmi())})
    with pytest.raises(
        ValueError,
        match=r'a term reads proxy/synthetic/raw, but there is no architecture for the '
        r"role 'proxy' \(there are: encoder\).*models=\{'proxy': model\}",
    ):
        traced(method, PROXY)


def test_a_method_without_any_network():
    with pytest.raises(
        ValueError, match=r"no architecture for the role 'proxy' \(there are: none\)"
    ):
        traced(toy(lambda seen: 0.0, Read('proxy', 'synthetic')))


@pytest.mark.parametrize(
    'read, message',
    [
        (Read('encoder', 'reel'), "a term reads 'reel' images; valid: real, synthetic"),
        (
            Read('encoder', 'real', 'flipped'),
            "a term reads the view 'flipped'; valid: augmented, raw",
        ),
    ],
)
def test_an_unknown_read(read, message):
    with pytest.raises(ValueError, match=message):
        traced(toy(lambda seen: 0.0, read))


# What terms see


def test_the_siamese_difference_of_equal_images_is_zero():
    def difference(seen):
        gap = seen.images['real', 'augmented'] - seen.images['synthetic', 'augmented']
        return (gap**2).sum()

    method = toy(difference, REAL_PIXELS, SYNTHETIC_PIXELS, augment=augment.shared())
    step, state = jax.jit(make_step(method, SGD)), start(method)
    for _ in range(4):
        state, metrics = step(state, Inputs(real=IMAGES))
        assert metrics['loss/total'] < 1e-6
    np.testing.assert_allclose(state.params['images'], IMAGES, atol=1e-4)


def test_synthetic_images_that_do_not_divide_are_shared_by_all_devices(monkeypatch):
    monkeypatch.setattr(parallel, 'on_cpu', lambda: False)
    images = jax.random.normal(KEY, (3, 20, 8, 8, 3))
    method = dm(NET, augment=augment.shared('flip'))
    state, step = (
        start(method, initial=SyntheticSet(images, jnp.ones((3, 20, 3)))),
        make_step(method, SGD),
    )
    expected, _ = jax.jit(step)(state, Inputs(real=REAL))
    with parallel.use(parallel.mesh(8)):
        given = parallel.replicate((state, Inputs(real=REAL)))
        compiled = jax.jit(lambda *given: parallel.replicate(step(*given))).lower(*given).compile()
        found, _ = compiled(*given)
    np.testing.assert_allclose(found.params['images'], expected.params['images'], atol=1e-6)
    program = compiled.as_text()
    # feature maps of a device's images
    assert 'f32[8,8,8,4]' in program and 'f32[60,8,8,4]' not in program
    # features, gradient
    assert program.count(' all-gather(') == 2 and 'collective-permute(' not in program


def test_a_pass_that_several_terms_read_is_computed_once():
    images = collections.Counter()

    def counted(role):
        def apply(variables, batch):
            # runs with the pass, not with the trace
            jax.debug.callback(lambda: images.update({role: len(batch)}))
            return NET.apply(variables, batch)

        return NET._replace(apply=apply)

    plugins = {
        'cm': (1.0, cm()),
        'cc': (1.0, cc()),
        'cc on encoder': (1.0, cc(Read('encoder', 'synthetic'))),
        'cmi': (1.0, cmi()),
        'cmi on encoder': (1.0, cmi(Read('encoder', 'synthetic'))),
    }
    method = regularize(
        dm(counted('encoder'), augment=augment.shared('flip')),
        plugins,
        models={'proxy': counted('proxy')},
    )
    jax.block_until_ready(jax.jit(make_step(method, SGD))(start(method), PROXY))
    jax.effects_barrier()
    assert images == {'encoder': 12 + 6, 'proxy': 6 + 6}  # real and synthetic; augmented and raw


# How the images move


def test_metrics_are_named_and_are_the_steps_own():
    method = regularize(
        dm(NET, augment=augment.identity()),
        {'cc': (0.3, cc()), 'cmi': (2.0, cmi())},
        models={'proxy': NET},
    )
    state, metrics = jax.jit(make_step(method, SGD))(start(method), PROXY)
    assert metrics.keys() == {'loss/dm', 'loss/cc', 'loss/cmi', 'loss/total', 'images/max_abs'}
    assert all(value.shape == () for value in metrics.values())
    np.testing.assert_allclose(
        metrics['loss/total'],
        metrics['loss/dm'] + 0.3 * metrics['loss/cc'] + 2 * metrics['loss/cmi'],
        rtol=1e-5,
    )
    np.testing.assert_array_equal(metrics['images/max_abs'], np.abs(state.params['images']).max())
    assert state.step == 1


def toward_real(seen):
    """Squared distance of the images to the mean real image of their class,
    plus a pull that depends on the labels."""
    gap = seen.images['synthetic', 'raw'] - seen.images['real', 'raw'].mean(1, keepdims=True)
    return (gap**2).sum() + (
        seen.synthetic.labels.sum(2) * seen.images['synthetic', 'raw'].sum((2, 3, 4))
    ).sum()


RAW = Read('', 'real', 'raw'), Read('', 'synthetic', 'raw')


@pytest.mark.parametrize('num_classes', [3, 1])
def test_sequential_classes_are_a_loop_over_classes_with_one_optimizer(num_classes):
    labels = jnp.stack([jnp.full((2, 1), float(c)) for c in range(num_classes)])
    initial, real = SyntheticSet(IMAGES[:num_classes], labels), REAL[:num_classes]
    method = toy(toward_real, *RAW, classes='sequential')
    state, step = start(method, initial=initial), jax.jit(make_step(method, SGD))
    x, momentum = np.array(initial.images, np.float64), np.zeros(initial.images.shape)
    for _ in range(3):
        state, metrics = step(state, Inputs(real=real))
        total = 0.0
        for c in range(num_classes):
            gap = x[c] - np.mean(np.asarray(real[c], np.float64), axis=0, keepdims=True)
            total += (gap**2).sum() + c * x[c].sum()
            gradient = np.zeros(x.shape)
            gradient[c] = 2 * gap + c
            momentum = 0.5 * momentum + gradient  # the other classes move on, too
            x = x - 0.1 * momentum
        np.testing.assert_allclose(metrics['loss/total'], total, rtol=1e-4)
    np.testing.assert_allclose(state.params['images'], x, atol=1e-5)
    assert state.step == 3


def test_sequential_is_joint_where_classes_do_not_meet():
    images = {}
    for classes in ('joint', 'sequential'):
        method = dm(NET, augment=augment.shared('scale'))._replace(classes=classes)
        plain = optax.sgd(1.0)
        state, step = start(method, plain), jax.jit(make_step(method, plain))
        for _ in range(2):
            state, metrics = step(state, Inputs(real=REAL))
        images[classes] = state.params['images']
    assert np.abs(images['joint'] - IMAGES).max() > 0.01
    np.testing.assert_allclose(images['sequential'], images['joint'], atol=1e-5)


@pytest.mark.parametrize('stored', [
    pixels(),
    partitioned(2, order='column', shrink='mean'),
    partitioned(2, order='row', shrink='nearest', box=((0.5,) * 3, (0.2,) * 3), form='multi'),
])  # fmt: skip
def test_one_class_is_decoded_from_its_own_rows_alone(stored, x64):
    initial = SyntheticSet(
        jax.random.normal(KEY, (3, 4, 8, 8, 3)),
        jax.nn.softmax(jax.random.normal(KEY, (3, 4, 3))),
    )
    params, fixed = stored.init(KEY, initial)
    whole = stored.decode(params, fixed)
    assert stored.by_class
    for c in range(3):
        one = stored.decode(*jax.tree.map(lambda x, c=c: x[c : c + 1], (params, fixed)))
        np.testing.assert_array_equal(one.images, whole.images[c : c + 1])
        np.testing.assert_array_equal(one.labels, whole.labels[c : c + 1])

    method = toy(toward_real, *RAW)._replace(parametrization=stored)
    state = start(method, initial=initial)
    inputs = Inputs(real=jax.random.normal(KEY, (3, 2, 8, 8, 3)))
    apart = method._replace(parametrization=stored._replace(by_class=False))
    for c in range(3):
        found, expected = (make_gradient(m)(state, inputs, jnp.int32(c)) for m in (method, apart))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, expected)


def test_one_class_alone_has_a_gradient_nowhere_else():
    method = dm(NET, augment=augment.shared('scale'))
    gradient = jax.jit(make_gradient(method))
    whole, _ = gradient(start(method), Inputs(real=REAL), None)
    one, _ = gradient(start(method), Inputs(real=REAL), jnp.int32(1))
    np.testing.assert_array_equal(one['images'][jnp.array([0, 2])], 0.0)
    np.testing.assert_allclose(one['images'][1], whole['images'][1], atol=1e-6)


BOX = pixels()._replace(
    project=lambda params, fixed: jax.tree.map(lambda x: x.clip(-0.5, 0.5), params)
)


def test_stored_parameters_return_to_their_box():
    method = toy(
        lambda seen: -100 * (seen.images['synthetic', 'raw'] ** 2).sum(),
        RAW[1],
        parametrization=BOX,
    )
    state, metrics = jax.jit(make_step(method, SGD))(start(method), Inputs())
    np.testing.assert_allclose(state.params['images'], (21 * IMAGES).clip(-0.5, 0.5), atol=1e-5)
    assert metrics['images/max_abs'] == 0.5


def test_stored_parameters_may_return_to_their_box_only_now_and_then():
    method = toy(
        lambda seen: -100 * (seen.images['synthetic', 'raw'] ** 2).sum(),
        RAW[1],
        parametrization=BOX,
        project_every=3,
    )
    step, state, largest = jax.jit(make_step(method, SGD)), start(method), []
    for _ in range(6):
        state, metrics = step(state, Inputs())
        largest.append(float(metrics['images/max_abs']))
    assert largest[2] == largest[5] == 0.5 and min(largest[:2] + largest[3:5]) > 1


def test_a_step_may_look_at_a_few_images_of_each_class_and_every_term_at_the_same():
    views = [Read('', 'synthetic', 'raw'), Read('', 'synthetic')]
    method = toy(
        lambda seen: sum((seen.images['synthetic', v] ** 2).sum() for v in ('raw', 'augmented')),
        *views,
        looks_at=1,
    )
    gradient = jax.jit(make_gradient(method))
    chosen = []
    for step in range(8):
        slope = gradient(start(method)._replace(step=jnp.int32(step)), Inputs(), None)[0]['images']
        moved = np.asarray(slope != 0).any((2, 3, 4))
        np.testing.assert_array_equal(moved.sum(1), 1)  # both terms look at the same one
        np.testing.assert_allclose(slope[moved], 4 * IMAGES[moved], rtol=1e-5)
        chosen.append(moved)
    assert np.any(chosen, axis=0).all() and len({m.tobytes() for m in chosen}) > 2


def test_a_pass_that_is_read_now_and_then_is_computed_only_then():
    calls = []

    def apply(variables, images):
        jax.debug.callback(lambda: calls.append(1))
        return NET.apply(variables, images)

    rare = Read('proxy', 'synthetic', 'raw', every=2)
    method = toy(lambda seen: jnp.sum(seen.outputs[rare].features ** 2), rare)
    method = method._replace(models={'proxy': NET._replace(apply=apply)})
    values, gradient = [], jax.jit(make_gradient(method))
    for step in range(4):
        state = start(method)._replace(step=jnp.int32(step))
        slope, metrics = gradient(state, PROXY, None)
        values.append(float(metrics['loss/total']))
        assert np.any(slope['images']) == (step % 2 == 0)
    jax.effects_barrier()
    assert values[1] == values[3] == 0 < values[0] == values[2] and len(calls) == 2


def test_networks_are_updated_with_the_moved_set():
    keep = NONE._replace(
        init=lambda key: 0 * IMAGES, update=lambda state, key, inputs, synthetic: synthetic.images
    )
    method = toy(toward_real, *RAW, networks=keep)
    state, _ = jax.jit(make_step(method, SGD))(start(method), Inputs(real=REAL))
    assert np.abs(state.params['images'] - IMAGES).max() > 0.1
    np.testing.assert_array_equal(state.networks, state.params['images'])


def test_draws_follow_from_key_and_step_alone():
    objective = named(
        'noise',
        Term(frozenset(RAW), lambda seen, key: (jax.random.normal(key) + toward_real(seen), {})),
    )
    method = toy(toward_real, *RAW)._replace(objective=objective)
    step, optimizer = jax.jit(make_step(method, optax.sgd(0.0))), optax.sgd(0.0)
    state = start(method, optimizer)

    def loss(state):
        return float(step(state, Inputs(real=REAL))[1]['loss/noise'])

    assert loss(state) == loss(state)
    assert loss(state) != loss(state._replace(step=jnp.int32(1)))
    assert loss(state) != loss(state._replace(key=jax.random.key(9)))
