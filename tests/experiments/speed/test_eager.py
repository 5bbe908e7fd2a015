"""The benchmark's PyTorch side: its augmentation is ours, its networks take our weights,
its arithmetic is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.speed import workloads
from experiments.speed.eager import augment, made, meter, mosaic, networks
from experiments.speed.workloads import WORKLOADS, Sizes
from jaxdd.augment import color, cropping, geometry
from jaxdd.parametrizations import mosaics

SIZES = [(9, 9), (6, 10)]  # the rectangle that cutout erases has an odd and an even side
APPLIED = {
    'color': lambda x, p: color.color(x, color.ColorDraw(*p.T)),
    'crop': geometry.crop,
    'cutout': geometry.cutout,
    'flip': geometry.flip,
    'scale': geometry.scale,
    'rotate': geometry.rotate,
}
DRAWN = {
    'color': lambda key, n, size: jnp.stack(color.draw_color(key, n), 1),
    'crop': geometry.draw_crop,
    'cutout': geometry.draw_cutout,
    'flip': lambda key, n, size: geometry.draw_flip(key, n),
    'scale': lambda key, n, size: geometry.draw_scale(key, n),
    'rotate': lambda key, n, size: geometry.draw_rotate(key, n),
}
TINY = Sizes(per_class=4, ipc=2, num_classes=3, side=16, width=4, resnet_width=4, pool=6)


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape)


def in_torch(images):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images), -1, -3)))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('rows', [1, 5])
@pytest.mark.parametrize('name', APPLIED)
def test_the_same_draw_gives_the_same_images(x64, name, rows, size):
    images = noise(5, *size, 3)
    draw, apply = jax.jit(DRAWN[name], static_argnums=(1, 2)), jax.jit(APPLIED[name])
    for seed in range(8):
        parameter = np.asarray(draw(jax.random.key(seed), rows, size))
        ours = apply(images, parameter)
        theirs = augment.OPERATIONS[name][1](in_torch(images), torch.tensor(parameter))
        assert theirs.dtype == torch.float64
        np.testing.assert_allclose(
            theirs, in_torch(ours), rtol=0, atol=1e-6 if name in ('scale', 'rotate') else 1e-12
        )


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', APPLIED)
def test_draws_have_the_same_range(name, size):
    torch.manual_seed(0)
    draw = jax.jit(DRAWN[name], static_argnums=(1, 2))
    ours = np.asarray(draw(jax.random.key(0), 4000, size), np.float64)
    theirs = augment.OPERATIONS[name][0](4000, size).double().numpy()
    assert theirs.shape == ours.shape
    # Of 4,000 uniform numbers the outermost lie within 0.3 % of the range's ends,
    # whole numbers on them.
    slack = 0.003 * np.ptp(ours, axis=0) if name in ('color', 'scale', 'rotate') else 0
    for of in (np.min, np.max):
        assert np.all(np.abs(of(theirs, axis=0) - of(ours, axis=0)) <= slack)
    np.testing.assert_allclose(
        theirs.mean(0), ours.mean(0), rtol=0, atol=0.03 * np.ptp(ours, axis=0).max()
    )


def test_the_same_roll_gives_the_same_images():
    images = noise(2, 6, 7, 3)
    ours = cropping.roll(jnp.asarray(images), jnp.array([2, 3]))
    np.testing.assert_array_equal(augment.roll(in_torch(images), (2, 3)).float(), in_torch(ours))


def test_rolls_go_down_and_right_up_to_the_jitter():
    np.random.seed(0)
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 0, 0] = 1
    places = {tuple(augment.drawn_roll(2)(image)[0, 0].nonzero()[0].tolist()) for _ in range(100)}
    assert places == {(i, j) for i in range(3) for j in range(3)}


def names_of(monkeypatch, strategy, mode):
    """Which operations one draw applies, in order."""
    applied = []

    def recorded(name, draw):
        return draw, lambda images, parameter: applied.append(name) or images

    monkeypatch.setattr(
        augment,
        'OPERATIONS',
        {name: recorded(name, draw) for name, (draw, _) in augment.OPERATIONS.items()},
    )
    augment.drawn(strategy, mode, 1, (8, 8))(torch.zeros(2, 3, 8, 8))
    return applied


def test_a_draw_applies_one_operation_of_dsa_and_several_of_idc(monkeypatch):
    np.random.seed(0)
    single = [names_of(monkeypatch, 'color_crop_cutout_flip_scale_rotate', 'S') for _ in range(60)]
    assert {len(names) for names in single} == {1} and {name for [name] in single} == set(APPLIED)
    assert names_of(monkeypatch, 'color_crop_cutout', 'IDC') == ['color', 'crop', 'cutout']
    mixed = {tuple(names_of(monkeypatch, 'flip_color_crop_scale_rotate', 'IDC')) for _ in range(30)}
    assert mixed == {('flip', 'color', one) for one in ('crop', 'scale', 'rotate')}


def test_one_draw_serves_real_and_synthetic_images():
    torch.manual_seed(0)
    see = augment.drawn('scale', 'S', 1, (8, 8))
    images = in_torch(noise(3, 8, 8, 3))
    assert not torch.equal(see(images), images)
    torch.testing.assert_close(see(images[:1]), see(images)[:1])


@pytest.mark.parametrize('order, shrink', [('column', 'mean'), ('row', 'nearest')])
def test_mosaics_are_ours(x64, order, shrink):
    images = jnp.asarray(noise(2, 12, 8, 8, 3))
    ours = {'mean': mosaics.encode_mean, 'nearest': mosaics.encode_nearest}[shrink](
        images, 2, order=order
    )
    theirs = mosaic.encoded(in_torch(images), 2, order, shrink)
    np.testing.assert_allclose(theirs, in_torch(ours), atol=1e-12)
    np.testing.assert_allclose(
        mosaic.decoded(theirs[1], 2, order),
        in_torch(mosaics.decode(ours, 2, order=order)[1]),
        atol=1e-12,
    )


@pytest.mark.parametrize('name', WORKLOADS)
def test_steps_that_draw_move_what_is_learned(name):
    torch.manual_seed(0)
    np.random.seed(0)
    sizes = TINY._replace(inner_steps=2) if WORKLOADS[name].sizes.inner_steps else TINY
    start = workloads.draw(WORKLOADS[name], sizes, plain=False)
    theirs = workloads.theirs(WORKLOADS[name], sizes, start, 'cpu', plain=False)
    watched = [theirs.nets[-1].classifier.weight] if WORKLOADS[name].students else [theirs.learned]
    before = [x.detach().clone() for x in watched]
    assert all(np.isfinite(theirs.step(i)) for i in range(2))
    assert not any(torch.equal(a, b) for a, b in zip(before, watched))


def test_real_images_are_those_of_their_class_normalised_and_none_twice():
    workload = WORKLOADS['dm']
    start = workloads.draw(workload, TINY, plain=False)
    of_class = made._resident(TINY, start, workload.config(TINY), 'cpu')(0)
    spec = workloads._spec(TINY)
    pool = (start.pool / 255 - np.array(spec.mean)) / np.array(spec.std)
    for c in range(TINY.num_classes):
        distances = torch.cdist(of_class(c).flatten(1).double(), in_torch(pool[c]).flatten(1))
        assert (
            distances.min(1).values.max() < 1e-3
            and len(set(distances.argmin(1).tolist())) == TINY.per_class
        )


def test_weights_of_another_network_are_refused():
    start = workloads.draw(WORKLOADS['dm'], TINY, plain=True)
    with pytest.raises(ValueError, match='the weights do not fit ConvNet: shapes'):
        networks.load(networks.ConvNet(3, 16, 8), start.networks['encoder'])
    with pytest.raises(ValueError, match="do not fit ResNet18: .*'conv.weight'"):
        networks.load(networks.ResNet18(3, 'batch', 2), start.networks['encoder'])


def test_arithmetic_is_counted_as_multiply_adds():
    net, images = networks.ConvNet(3, 16, 8), torch.zeros(2, 3, 16, 16)
    products = 2 * (16 * 16 * 27 * 8 + (8 * 8 + 4 * 4) * 72 * 8 + 32 * 3)
    assert meter.flops(lambda: net(images)) == 2 * products
