import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.models import (
    MLP,
    NAMES,
    VGG,
    AlexNet,
    ConvNet,
    ResNet,
    by_name,
    default_depth,
    model,
    open_options,
    update_batch_stats,
)

SHAPE = (8, 8, 1)


def images(seed=0, n=4, shape=SHAPE):
    return jax.random.normal(jax.random.key(seed), (n, *shape))


def init(net, seed=0):
    return jax.jit(net.init)(jax.random.key(seed))


def small(name, **options):
    return by_name(name, SHAPE, 5, width=8 if 'width' in open_options(name) else None, **options)


def batch_normed(name):
    return NAMES[name][1] == 'batch' or NAMES[name][1] is None and name not in ('lenet', 'mlp')


TOO_DEEP_FOR_DIGITS = [
    'lenet',
    *(name for name in NAMES if name.startswith(('vgg', 'densenet', 'resnet10_ap'))),
]
DEEPER_THAN_DIGITS = ['convnet_d4']


def by_cost(names=NAMES):
    """The deep networks, those that a file of tests of their own runs, and ImageNet's forms,
    in the long tests."""
    deep = (
        *('resnet34', 'resnet50', 'resnet101', 'resnet152', 'vgg13', 'vgg16', 'vgg19'),
        *('efficientnet', 'mobilenet', 'shufflenet', 'densenet'),
    )
    return [
        pytest.param(
            name,
            marks=pytest.mark.long if name.startswith(deep) or name.endswith('imagenet') else (),
        )
        for name in sorted(names)
    ]


@pytest.mark.parametrize('name', by_cost(set(NAMES) - {*TOO_DEEP_FOR_DIGITS, *DEEPER_THAN_DIGITS}))
def test_names_take_digits(name):
    net = small(name)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    out = jax.eval_shape(net.apply, variables, images())
    assert out.logits.shape == (4, 5)
    assert set(out.moments) == set(variables.batch_stats)
    assert bool(out.moments) == batch_normed(name)


@pytest.mark.parametrize('name', TOO_DEEP_FOR_DIGITS)
def test_names_too_deep_for_digits_say_what_fits(name):
    with pytest.raises(
        ValueError,
        match='too deep for images of side 8: it needs a side of (16|32|64) or more. '
        'Networks that fit: mlp, convnet, resnet18, alexnet',
    ):
        small(name)


@pytest.mark.parametrize('name', by_cost())
def test_every_name_runs_at_32x32_or_the_side_it_needs(name, weights):
    width = 4 if 'width' in open_options(name) else None
    side = 64 if name in ('resnet10_ap_stem7', 'densenet121_stem7') else 32
    net = by_name(name, (side, side, 3), 5, width=width, batch_statistics=True)
    variables = weights(net)
    out = jax.jit(net.apply)(variables, images(shape=(side, side, 3)))
    assert out.logits.shape == (4, 5) and np.isfinite(out.logits).all()
    assert out.features.shape == (4, variables.params['classifier']['kernel'].shape[0])
    assert list(out.moments) == sorted(variables.batch_stats)
    assert bool(out.moments) == batch_normed(name)


@pytest.mark.parametrize(
    'name, count',
    [
        ('mlp', 411_146),
        ('lenet', 62_006),
        ('alexnet', 1_872_202),
        ('vgg11', 9_231_114),
        ('resnet34', 21_282_122),
        ('resnet50', 23_520_842),
        ('convnet_w256', 1_229_834),
        ('convnet_d1', 331_530),
        ('resnet18_bn_ap', 11_250_762),
    ],
)
def test_parameter_counts_are_the_papers(name, count):
    variables = jax.eval_shape(by_name(name, (32, 32, 3), 10).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count


def test_fresh_variables_have_explicit_types():
    variables = init(small('convnet_bn'))
    assert (variables.age.dtype, variables.accuracy.dtype) == (jnp.int32, jnp.float32)
    assert variables.age == 0 and variables.accuracy == 0
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(variables))
    np.testing.assert_array_equal(variables.batch_stats['norm0']['mean'], np.zeros(8))
    np.testing.assert_array_equal(variables.batch_stats['norm0']['var'], np.ones(8))


def test_the_key_alone_decides_the_weights():
    first, same, other = (init(small('convnet'), k).params for k in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, same)
    assert not np.allclose(first['conv0']['kernel'], other['conv0']['kernel'])
    bn = [init(small('convnet_bn', batch_statistics=mode), 3) for mode in (True, False)]
    jax.tree.map(np.testing.assert_array_equal, *bn)


def test_the_batch_mode_decides_whether_images_interact():
    variables = init(small('convnet_bn'))
    for batch_statistics in (True, False):
        net = small('convnet_bn', batch_statistics=batch_statistics)
        together, alone = (
            net.apply(variables, images()).logits[:1],
            net.apply(variables, images()[:1]).logits,
        )
        assert np.allclose(together, alone, atol=1e-5) != batch_statistics


def test_moments_are_those_of_the_first_norms_input():
    net = small('convnet_bn')
    variables = init(net)
    x = images()
    conv = jax.lax.conv_general_dilated(
        x,
        variables.params['conv0']['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    conv = np.asarray(conv) + np.asarray(variables.params['conv0']['bias'])
    mean, var, count = net.apply(variables, x).moments['norm0']
    np.testing.assert_allclose(mean, conv.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(var, conv.var((0, 1, 2)), rtol=1e-4)
    assert count == 4 * 8 * 8


def test_moments_and_running_moments_share_paths_in_network_order():
    net = model(ResNet(3, stage_sizes=(1, 1), width=2, norm='batch'), SHAPE, batch_statistics=True)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    moments = jax.eval_shape(net.apply, variables, images()).moments
    assert (
        list(moments)
        == sorted(variables.batch_stats)
        == [
            'norm',
            'stage0_block0/layer0_norm',
            'stage0_block0/layer1_norm',
            'stage1_block0/layer0_norm',
            'stage1_block0/layer1_norm',
            'stage1_block0/shortcut_norm',
        ]
    )


def test_running_moments_converge_to_the_batch_moments():
    train, test = (small('convnet_bn', batch_statistics=mode) for mode in (True, False))
    variables = init(train)
    out = train.apply(variables, images(n=64))
    stats = update_batch_stats(variables.batch_stats, out.moments, momentum=1.0)
    assert jax.tree.structure(stats) == jax.tree.structure(variables.batch_stats)
    again = test.apply(variables._replace(batch_stats=stats), images(n=64))
    np.testing.assert_allclose(again.logits, out.logits, atol=5e-3)  # apart from n / (n - 1)


def test_networks_map_over_keys_and_weights():
    net = small('convnet_bn', batch_statistics=True)
    keys = jax.random.split(jax.random.key(0), 2)
    stacked = jax.jit(jax.vmap(net.init))(keys)
    out = jax.jit(jax.vmap(net.apply, in_axes=(0, None)))(stacked, images())
    for i, key in enumerate(keys):
        single = jax.jit(net.apply)(jax.jit(net.init)(key), images())
        np.testing.assert_allclose(out.logits[i], single.logits, atol=1e-5)
        np.testing.assert_allclose(
            out.moments['norm1'].var[i], single.moments['norm1'].var, rtol=1e-4
        )


def test_moments_pass_through_a_gradient_and_a_scan():
    net = small('convnet_bn', batch_statistics=True)
    variables = init(net)

    def step(stats, x):
        def loss(params):
            out = net.apply(variables._replace(params=params, batch_stats=stats), x)
            return jnp.square(out.logits).mean() + sum(
                m.var.sum() for m in out.moments.values()
            ), out.moments

        gradient, moments = jax.grad(loss, has_aux=True)(variables.params)
        return update_batch_stats(stats, moments), gradient['conv0']['kernel']

    batches = jnp.stack([images(0), images(1)])
    stats, gradients = jax.jit(lambda: jax.lax.scan(step, variables.batch_stats, batches))()
    assert np.abs(gradients).max() > 0 and np.isfinite(gradients).all()
    assert (stats['norm0']['var'] != 1).all()


@pytest.mark.parametrize(
    'module',
    [
        ConvNet(5, width=8, depth=2, norm='batch'),
        ResNet(5, stage_sizes=(1, 1), width=8, norm='batch'),
        ResNet(5, stage_sizes=(1, 1), width=8, norm='batch', downsampling='average_pool'),
        AlexNet(5, width=8),
        VGG(5, stages=((1, 1), (2,)), width=8),
        MLP(5, width=16),
    ],
)
def test_a_half_precision_body_returns_float32(module, weights):
    half, full = (
        model(module.clone(dtype=dtype), SHAPE, batch_statistics=True)
        for dtype in ('bfloat16', None)
    )
    variables = weights(full)
    ours, theirs = (jax.jit(net.apply)(variables, images()) for net in (half, full))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(ours._replace(moments={})))
    assert all(m.mean.dtype == m.var.dtype == jnp.float32 for m in ours.moments.values())
    assert 'bf16' in str(jax.make_jaxpr(half.apply)(variables, images()))
    assert np.linalg.norm(ours.logits - theirs.logits) < 0.02 * np.linalg.norm(theirs.logits)
    assert not np.array_equal(ours.logits, theirs.logits)


@pytest.mark.parametrize(
    'side, depth', [(2, 1), (4, 1), (8, 2), (15, 2), (16, 3), (28, 3), (32, 3), (64, 3)]
)
def test_default_depth_keeps_a_two_by_two_map(side, depth):
    assert default_depth((side, side, 3)) == depth


def test_variants_reach_the_module():
    params = init(
        by_name('convnet', SHAPE, 5, width=4, depth=3, norm='layer', pooling='none')
    ).params
    assert params['norm2']['scale'].shape == (8, 8, 4)
    x = images()
    swish, relu = (small('convnet', activation=a) for a in ('swish', None))
    variables = init(relu)
    assert not np.allclose(swish.apply(variables, x).logits, relu.apply(variables, x).logits)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match="unknown network 'resnet_18'; valid: alexnet.*mean 'resnet18'"
    ):
        by_name('resnet_18', SHAPE, 5)


def test_convnet_options_are_refused_elsewhere():
    with pytest.raises(ValueError, match=r'resnet18 has no option depth \(got 3\)'):
        by_name('resnet18', SHAPE, 5, depth=3)


@pytest.mark.parametrize('width', [0, -4])
def test_an_impossible_width_is_refused(width):
    with pytest.raises(ValueError, match=f'convnet needs a width of at least 1, got {width}'):
        by_name('convnet', SHAPE, 5, width=width)


def test_impossible_networks_are_refused_when_built():
    with pytest.raises(ValueError, match='between 1 and 3 for images of side 8'):
        by_name('convnet', SHAPE, 5, depth=4)


def test_images_of_another_shape_are_refused():
    net = small('convnet')
    with pytest.raises(ValueError, match=r'takes images \[N, 8, 8, 1\].*got shape \(2, 8, 8, 3\)'):
        net.apply(init(net), jnp.zeros((2, 8, 8, 3)))
