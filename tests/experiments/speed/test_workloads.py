"""The two sides of the benchmark compute the same:
losses, gradients and updates from the same weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.speed import workloads
from experiments.speed.eager.networks import ConvNet, load
from experiments.speed.workloads import WORKLOADS, Sizes
from jaxdd import data
from jaxdd.engine import loop
from jaxdd.types import Variables

TINY = Sizes(per_class=8, ipc=3, num_classes=3, side=16, width=8, resnet_width=4, pool=12)
FOLLOWING = ['mtt']
DISTILLING = [
    name for name, workload in WORKLOADS.items() if not workload.students and name not in FOLLOWING
]
STUDENTS = [name for name, workload in WORKLOADS.items() if workload.students]
pytestmark = pytest.mark.usefixtures('quick_compilation')


# Most rows' single precision is for `make test-long`: double precision is the sharper test,
# compiling takes long.
BOTH = ('dm', 'evaluation')
LONG = ('dm-cc-cm', 'sre2l')  # in either precision; 'dm-cmi' and 'infer' look at the same parts


def cases(names):
    """`name, dtype, tolerance` of every row."""
    for name in names:
        yield pytest.param(name, 'float64', 1e-9, marks=pytest.mark.long if name in LONG else [])
        yield pytest.param(name, 'float32', 1e-4, marks=[] if name in BOTH else pytest.mark.long)


@functools.cache
def drawn(name):
    return workloads.draw(WORKLOADS[name], sizes(name), plain=True)


def sizes(name):
    return TINY._replace(inner_steps=2) if name in FOLLOWING else TINY


def given(name, dtype):
    """Everything drawn in this precision, and no weight at the value that it starts from."""
    start, generator = drawn(name), np.random.default_rng(1)

    def moved(leaf):
        leaf = np.asarray(leaf)
        changed = leaf * generator.uniform(0.8, 1.2, leaf.shape) + generator.normal(
            0, 0.05, leaf.shape
        )
        return changed.astype(dtype) if leaf.ndim else leaf

    return start._replace(
        images=start.images.astype(dtype),
        labels=start.labels.astype(dtype),
        real=None if start.real is None else start.real.astype(dtype),
        networks=jax.tree.map(moved, start.networks),
    )


def one_step(name, dtype):
    """Both sides after their first step: (our states, our losses, what theirs is, its loss)."""
    start = given(name, dtype)
    theirs = workloads.theirs(WORKLOADS[name], sizes(name), start, 'cpu', plain=True)
    loss = theirs.step(0)
    ours = workloads.ours(WORKLOADS[name], sizes(name), start, plain=True)
    pairs = [loop.run_steps(ours.step, 1, state, ours.feed, jnp.int32(1)) for state in ours.states]
    states, metrics = zip(*pairs)
    return states, [{key: value[0] for key, value in row.items()} for row in metrics], theirs, loss


def in_torch(images):
    return np.moveaxis(np.asarray(images), -1, -3)


def joined(tensors):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def close(actual, expected, tolerance):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize('name, dtype, tolerance', list(cases(DISTILLING)))
def test_both_sides_have_one_loss_and_one_gradient(name, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        [state], [metrics], theirs, loss = one_step(name, dtype)
        np.testing.assert_allclose(
            metrics['loss/total'], loss, rtol=1e-9 if dtype == 'float64' else 1e-5
        )
        first, [learned] = state.opt_state[0], state.params.values()
        [buffers] = theirs.optimizers[0].state.values()
        # Of one step the buffer is the gradient, of Adam half of it (b1 = 0.5);
        # of a step per class it holds them all.
        [ours] = (first.trace if hasattr(first, 'trace') else first.mu).values()
        assert ours.dtype == dtype
        close(
            in_torch(ours),
            buffers['momentum_buffer' if 'momentum_buffer' in buffers else 'exp_avg'].numpy(),
            tolerance,
        )
        if WORKLOADS[name].method not in ('idm', 'idc'):
            gradient = 2 * ours if hasattr(first, 'mu') else ours
            close(in_torch(gradient), theirs.learned.grad.numpy(), tolerance)
        if dtype == 'float64':
            np.testing.assert_allclose(
                in_torch(learned), theirs.learned.detach().numpy(), atol=1e-6
            )


@pytest.mark.parametrize('name, dtype, tolerance', list(cases(FOLLOWING)))
def test_both_sides_follow_an_expert_alike(name, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        [state], [metrics], theirs, loss = one_step(name, dtype)
        np.testing.assert_allclose(metrics['loss/total'], loss, rtol=tolerance)
        config, before = WORKLOADS[name].config(sizes(name)), given(name, dtype)
        start = np.asarray(config.matching.start_rate, dtype)
        [rate] = theirs.optimizers[1].param_groups[0]['params']
        ours, pairs = state.params, (
            (in_torch(before.images), in_torch(state.params['images']), theirs.learned),
            (start, state.params['learning_rate'], rate),
        )  # fmt: skip
        assert ours['images'].dtype == ours['learning_rate'].dtype == dtype
        for old, mine, other in pairs:
            # updates of float32 images are what rounding leaves of their difference
            slack = 1e-9 if dtype == 'float64' else 1e-2
            close(np.asarray(mine) - old, other.detach().numpy() - old, slack)
        gradient = theirs.learned.grad.numpy() * config.optimizer.learning_rate
        close(in_torch(before.images) - in_torch(ours['images']), gradient, 1e-9 if dtype ==
              'float64' else 1e-2)  # fmt: skip


@pytest.mark.parametrize('name, dtype, tolerance', list(cases(STUDENTS)))
def test_both_sides_students_have_one_loss_one_gradient_and_one_update(name, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        states, metrics, theirs, loss = one_step(name, dtype)
        assert len(states) == len(theirs.nets) == WORKLOADS[name].students
        mean = np.mean([row['loss/train'] for row in metrics])
        np.testing.assert_allclose(mean, loss, rtol=1e-9 if dtype == 'float64' else 1e-5)
        for stacked, net, optimizer in zip(states, theirs.nets, theirs.optimizers):
            state = jax.tree.map(lambda leaf: leaf[0], stacked.states)
            slopes = Variables(state.opt_state[1], {}, None, None)
            ours, gradient = (load(ConvNet(3, 16, 8), v) for v in (state.variables, slopes))
            buffers = [optimizer.state[p]['momentum_buffer'] for p in net.parameters()]
            # As one vector: of the biases before an instance norm only rounding is left.
            close(joined(gradient.parameters()), joined(buffers), tolerance)
            for a, b in zip(ours.parameters(), net.parameters(), strict=True):
                close(joined([a]), joined([b]), tolerance)


def test_plain_steps_alternate_between_real_batches():
    start = given('dm', 'float32')
    feed = workloads.ours(WORKLOADS['dm'], TINY, start, plain=True).feed
    for step in range(3):
        inputs = feed(jax.random.key(0), jnp.int32(step))
        np.testing.assert_array_equal(inputs.real, start.real[step % 2])


def test_steps_that_draw_make_their_own_network_in_dm_alone():
    for name, roles in {'dm': set(), 'idm': {'encoder'}}.items():
        start = workloads.draw(WORKLOADS[name], TINY, plain=False)
        ours = workloads.ours(WORKLOADS[name], TINY, start, plain=False)
        inputs = ours.feed(jax.random.key(0), jnp.int32(0))
        assert set(inputs.pretrained) == roles
        _, metrics = jax.eval_shape(ours.step, ours.states[0], inputs)
        assert metrics['loss/total'].shape == ()


def test_steps_that_draw_gather_their_class_from_the_set():
    start = workloads.draw(WORKLOADS['dm'], TINY, plain=False)
    feed = workloads.ours(WORKLOADS['dm'], TINY, start, plain=False).feed
    first, second = (np.asarray(feed(jax.random.key(0), jnp.int32(step)).real) for step in range(2))
    assert first.shape == (3, 8, 16, 16, 3) and not np.array_equal(first, second)
    pool = np.asarray(data.normalise(workloads._spec(TINY), start.pool))
    for mine, of_class in zip(first, pool):
        found = [int(np.abs(of_class - image).max((1, 2, 3)).argmin()) for image in mine]
        assert len(set(found)) == 8
        np.testing.assert_allclose(of_class[found], mine, atol=1e-6)


def test_students_of_one_evaluation_differ():
    first, second, *_ = drawn('evaluation-5').networks.values()
    assert not np.array_equal(
        first.params['classifier']['kernel'], second.params['classifier']['kernel']
    )


def test_reduced_is_a_quarter_of_the_images():
    assert (
        workloads.size('dm', False).per_class == 256 and workloads.size('dm', True).per_class == 64
    )
    assert workloads.size('evaluation', True).ipc == 2
    infer = workloads.size('infer', True)
    assert (infer.ipc, infer.num_classes) == (1, 25)
