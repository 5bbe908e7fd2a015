"""Networks that a user wrote with `flax.linen`."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, losses, optimizers
from jaxdd.engine import fit
from jaxdd.models import MLP, model, norms
from jaxdd.types import Batch, Recipe

SHAPE = (8, 8, 1)


class Own(nn.Module):
    """Parameters of every kind: beside a kernel, under known names, under names of its own."""

    width: int = 16

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        x = nn.relu(x @ self.param('w', nn.initializers.lecun_normal(), (x.shape[-1], self.width)))
        x = x + nn.LayerNorm(name='norm')(x) * self.param(
            'scale', nn.initializers.constant(1e-4), (1, 1)
        )
        x = x + self.param('bias', nn.initializers.normal(0.02), (1, self.width))
        x = x + nn.Embed(1, self.width, name='position')(jnp.zeros((1,), jnp.int32))
        logits = nn.Dense(10, name='head')(x) * self.param(
            'temperature', nn.initializers.constant(0.5), (1, 1)
        )
        return logits, x, x[:, None]


def leaves(params):
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def of_the_module(seed, module=Own()):
    return leaves(jax.jit(module.init)(jax.random.key(seed), jnp.zeros((1, *SHAPE)))['params'])


@pytest.fixture(scope='module')
def own():
    return model(Own(), SHAPE)


def test_the_modules_own_initialisers_are_kept(own):
    ours, theirs = leaves(own.init(jax.random.key(3)).params), of_the_module(3)
    assert list(ours) == list(theirs)
    for name in set(ours) - {'head/kernel', 'head/bias'}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)
    assert (ours['scale'] == np.float32(1e-4)).all() and (ours['temperature'] == 0.5).all()
    assert min(np.std(ours[name]) for name in ('w', 'bias', 'position/embedding')) > 0.01


def test_kernels_and_their_biases_are_drawn_as_torch_does(own):
    ours = leaves(own.init(jax.random.key(3)).params)
    for name in ('head/kernel', 'head/bias'):
        assert 0.2 < np.abs(ours[name]).max() <= 0.25  # 1 / sqrt(16)


def test_the_key_decides_under_jit_and_vmap(own):
    one, other = (leaves(own.init(jax.random.key(seed)).params) for seed in (3, 4))
    assert all(
        (one[name] != other[name]).any()
        for name in ('w', 'bias', 'position/embedding', 'head/kernel')
    )
    mapped = jax.jit(jax.vmap(own.init))(jnp.stack([jax.random.key(3), jax.random.key(4)]))
    for name, stacked in leaves(mapped.params).items():
        np.testing.assert_allclose(stacked, [one[name], other[name]], rtol=1e-6, err_msg=name)


def test_all_initialisers_are_kept_on_demand():
    ours, theirs = (
        leaves(model(Own(), SHAPE, initial='module').init(jax.random.key(3)).params),
        of_the_module(3),
    )
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match="unknown initial 'flax'; valid: module, torch"):
        model(Own(), SHAPE, initial='flax')


def test_the_librarys_networks_keep_theirs_on_demand():
    module = MLP(3, width=4)
    ours = leaves(model(module, SHAPE, initial='module').init(jax.random.key(1)).params)
    for name, theirs in of_the_module(1, module).items():
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, err_msg=name)


def test_drawing_costs_no_forward_pass(own):
    program = jax.jit(own.init).lower(jax.random.key(0)).compile().as_text()
    assert ' dot(' not in program and '__onednn$matmul' not in program


def test_a_student_of_own_parameters_learns_digits(own):
    digits = data.load('digits').train
    images = jnp.asarray(digits.images[:500] / 128 - 1, jnp.float32)
    batch = Batch(images, jnp.eye(10)[digits.labels[:500]], jnp.ones(500))
    recipe = Recipe(optimizers.sgd(0.1, momentum=0.9), 30, 500, losses.soft_cross_entropy)
    student = jax.jit(lambda key: fit.fit(key, own, lambda key, step: batch, recipe))(
        jax.random.key(0)
    )
    hits = own.apply(student, images).logits.argmax(-1) == digits.labels[:500]
    assert hits.mean() > 0.5


class Changed(nn.Module):
    """A small network around what a test puts into it."""

    body: nn.Module | None = None
    returns: Callable = lambda logits, x: (logits, x, x[:, None])
    extra: Callable = lambda module: None

    @nn.compact
    def __call__(self, images):
        self.extra(self)
        x = nn.Conv(4, (3, 3), name='conv')(images)
        x = self.body(x) if self.body else x
        x = x.mean((1, 2))
        return self.returns(nn.Dense(10, name='head')(x), x)


class Normed(nn.Module):
    """Batch norm in the mode that the attribute says, or in one of its own."""

    batch_statistics: bool = False
    fixed: bool | None = None

    @nn.compact
    def __call__(self, images):
        mode = self.batch_statistics if self.fixed is None else self.fixed
        x = norms.norm('batch', batch_statistics=mode, name='norm')(
            nn.Conv(4, (3, 3), name='conv')(images)
        )
        return nn.Dense(10)(x.mean((1, 2))), x.mean((1, 2)), x.reshape(len(x), -1, 4)


class NoMode(nn.Module):
    """Batch norm without the attribute that sets its mode."""

    @nn.compact
    def __call__(self, images):
        return Normed(name='inner')(images)


class Stale(nn.Module):
    """A norm by running moments alone."""

    @nn.compact
    def __call__(self, x):
        return x - self.variable('batch_stats', 'mean', jnp.zeros, (1, 1, 1, 4)).value


@pytest.mark.parametrize(
    'returns, received',
    [
        (lambda logits, x: logits, r'returned \[3, 10\] for 3 images'),
        (lambda logits, x: (logits, x), r'returned \(\[3, 10\], \[3, 4\]\)'),
        (lambda logits, x: {'logits': logits}, r"returned \{'logits': \[3, 10\]\}"),
        (lambda logits, x: (logits, x, None), r'returned \(\[3, 10\], \[3, 4\], None\)'),
        (lambda logits, x: (logits[0], x, x[:, None]), r'the logits of Changed have shape \[10\]'),
        (
            lambda logits, x: (logits, x[:, None], x[:, None]),
            r'the features of Changed have shape \[3, 1, 4\]',
        ),
        (
            lambda logits, x: (logits, x, x[:, None, None]),
            r'the maps of Changed have shape \[3, 1, 1, 4\]',
        ),
        (lambda logits, x: (logits, x, x[:1, None]), r'the maps of Changed have shape \[1, 1, 4\]'),
    ],
)
def test_what_a_network_returns_is_checked(returns, received):
    with pytest.raises(
        ValueError,
        match=received + r'.*returns \(logits \[N, Y\], features \[N, D\], maps \[N, P, C\]',
    ):
        model(Changed(returns=returns), SHAPE)


def test_integer_outputs_are_refused():
    with pytest.raises(ValueError, match='the logits of Changed are int32; they must be floats'):
        model(Changed(returns=lambda logits, x: (logits.argsort(-1), x, x[:, None])), SHAPE)


@pytest.mark.parametrize(
    'options', [{}, {'use_running_average': False}, {'use_running_average': True}]
)
def test_flax_batch_norm_is_refused(options):
    with pytest.raises(
        ValueError, match=r"Changed has an nn.BatchNorm \(body\).*jaxdd.models.norms.norm\('batch'"
    ):
        model(Changed(nn.BatchNorm(**options)), SHAPE)


def test_dropout_must_be_deterministic():
    with pytest.raises(
        ValueError, match=r'Changed draws random numbers.*deterministic=True.*or leave it out'
    ):
        model(Changed(nn.Dropout(0.5, deterministic=False)), SHAPE)
    model(Changed(nn.Dropout(0.5, deterministic=True)), SHAPE)


def test_other_state_is_refused():
    def counted(module):
        count = module.variable('state', 'count', jnp.zeros, (), jnp.int32)
        count.value += 1

    with pytest.raises(
        ValueError, match='Changed keeps state besides its parameters.*leave that state out'
    ):
        model(Changed(extra=counted), SHAPE)


def test_parameters_per_image_of_a_batch_are_refused():
    class PerImage(nn.Module):
        @nn.compact
        def __call__(self, images):
            return images + self.param('offset', nn.initializers.zeros, images.shape)

    with pytest.raises(
        ValueError, match='parameters of PerImage have other shapes for other numbers of images'
    ):
        model(PerImage(), SHAPE)


def test_integer_parameters_are_refused():
    with pytest.raises(ValueError, match='parameter table of Changed is int32.*must be floats'):
        model(Changed(extra=lambda module: module.param('table', lambda key: jnp.arange(3))), SHAPE)


def test_a_network_without_parameters_is_refused():
    class Empty(nn.Module):
        def __call__(self, images):
            x = images.reshape(len(images), -1)
            return x, x, x[:, None]

    with pytest.raises(ValueError, match='Empty has no parameters'):
        model(Empty(), SHAPE)


def test_further_arguments_need_defaults():
    class Moody(nn.Module):
        def __call__(self, images, train):
            return images

    with pytest.raises(
        ValueError, match="Moody must be callable with images .* alone .*'train'.*defaults"
    ):
        model(Moody(), SHAPE)


def test_own_batch_norm_moves_its_moments():
    train = model(Normed(), SHAPE, batch_statistics=True)
    variables = train.init(jax.random.key(0))
    np.testing.assert_array_equal(variables.batch_stats['norm']['var'], np.ones(4))
    moments = jax.eval_shape(train.apply, variables, jnp.ones((2, *SHAPE))).moments
    assert list(moments) == ['norm'] and moments['norm'].mean.shape == (4,)


def test_the_mode_of_own_batch_norm_is_checked():
    with pytest.raises(
        ValueError,
        match=r'batch norm norm of Normed has batch_statistics=False, but .* asked for True',
    ):
        model(Normed(fixed=False), SHAPE, batch_statistics=True)
    with pytest.raises(
        ValueError, match=r'inner/norm of NoMode .*give the module the attribute `batch_statistics'
    ):
        model(NoMode(), SHAPE, batch_statistics=True)


def test_running_moments_that_no_layer_reports_are_refused():
    with pytest.raises(
        ValueError,
        match=(
            r"Changed keeps running moments in \['body'\].* in \[\]; both must be the same layers"
        ),
    ):
        model(Changed(Stale()), SHAPE)
