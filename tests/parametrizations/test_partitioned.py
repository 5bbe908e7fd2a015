"""Stored mosaics, and the images that they decode to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.parametrizations import mosaics, partitioned, pixels
from jaxdd.types import SyntheticSet

INITIAL = SyntheticSet(
    jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 1)) * 5,
    jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (3, 2)),
)
BOX = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
IDM = partitioned(2, order='column', shrink='mean')
IDC = partitioned(2, order='row', shrink='nearest', box=BOX)
presets = pytest.mark.parametrize(
    'made',
    [IDM, IDC, partitioned(1, order='row', shrink='nearest', box=BOX)],
    ids=['IDM', 'IDC', 'IDC-I'],
)


def real(ipc=8, side=8, channels=3):
    """Normalised images of 2 of 5 classes, pixels in [0, 1] under BOX."""
    pixel = jax.random.uniform(jax.random.key(2), (2, ipc, side, side, channels))
    labels = jnp.broadcast_to(jnp.eye(5)[:2, None], (2, ipc, 5))
    return SyntheticSet(
        (pixel - per_channel(BOX[0][:channels])) / per_channel(BOX[1][:channels]), labels
    )


def per_channel(values):
    return jnp.array(values).reshape(1, 1, 1, 1, -1)


def enlarged(images, height, width):
    return jax.image.resize(
        images, (*images.shape[:2], height, width, images.shape[-1]), 'bilinear'
    )


def test_idm_decodes_each_image_shrunk_and_enlarged_at_its_index():
    initial = real()
    params, fixed = IDM.init(jax.random.key(0), initial)
    assert params['images'].shape == (2, 2, 8, 8, 3)
    small = initial.images.reshape(2, 8, 4, 2, 4, 2, 3).mean((3, 5))
    decoded = IDM.decode(params, fixed)
    np.testing.assert_allclose(decoded.images, enlarged(small, 8, 8), atol=1e-5)
    np.testing.assert_array_equal(decoded.labels, initial.labels)


def test_idc_decodes_each_image_shrunk_and_enlarged_at_its_index():
    initial = real()
    params, fixed = IDC.init(jax.random.key(0), initial)
    assert params['images'].shape == (2, 2, 8, 8, 3)
    decoded = IDC.decode(params, fixed)
    np.testing.assert_allclose(
        decoded.images, enlarged(initial.images[:, :, ::2, ::2], 8, 8), atol=1e-5
    )
    np.testing.assert_array_equal(decoded.labels, initial.labels)


def test_one_tile_without_a_box_is_pixels():
    plain = partitioned(1, order='column', shrink='mean')
    params, fixed = plain.init(jax.random.key(0), INITIAL)
    chex.assert_trees_all_equal((params, fixed), pixels().init(jax.random.key(0), INITIAL))
    chex.assert_trees_all_equal(plain.decode(params, fixed), INITIAL)


def test_one_tile_with_a_box_stores_the_pixels():
    initial = real()
    plain = partitioned(1, order='row', shrink='nearest', box=BOX)
    params, fixed = plain.init(jax.random.key(0), initial)
    pixel = jax.random.uniform(jax.random.key(2), initial.images.shape)
    np.testing.assert_allclose(params['images'], pixel, atol=1e-6)
    chex.assert_trees_all_close(plain.decode(params, fixed), initial, atol=1e-5)


@pytest.mark.parametrize('made, name', [(IDM, 'column'), (IDC, 'row')])
def test_partitioned_is_the_tiles_in_that_order(made, name):
    params, fixed = made.init(jax.random.key(0), real())
    expected = mosaics.decode(params['images'], 2, order=name)
    if made is IDC:
        expected = (expected - per_channel(BOX[0])) / per_channel(BOX[1])
    np.testing.assert_allclose(made.decode(params, fixed).images, expected, atol=1e-6)


@presets
def test_constant_images_stay_constant(made):
    values = jnp.arange(16.0).reshape(2, 8, 1, 1, 1) / 16
    initial = real()._replace(images=jnp.broadcast_to(values, (2, 8, 8, 8, 3)))
    decoded = made.decode(*made.init(jax.random.key(0), initial))
    np.testing.assert_allclose(decoded.images, initial.images, atol=1e-5)


@presets
def test_an_optimiser_moves_every_stored_pixel_and_no_label(made):
    initial = real()
    params, fixed = made.init(jax.random.key(0), initial)
    optimizer = optax.sgd(0.1, momentum=0.5)

    @jax.jit
    def step(params):
        grad = jax.grad(lambda p: ((made.decode(p, fixed).images - 7) ** 2).sum())(params)
        updates, _ = optimizer.update(grad, optimizer.init(params))
        return optax.apply_updates(params, updates)

    moved = step(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, params)
    assert (moved['images'] > params['images']).all()
    np.testing.assert_array_equal(made.decode(moved, fixed).labels, initial.labels)


@pytest.mark.parametrize(
    'made, rows, columns', [(IDM, slice(4, 8), slice(0, 4)), (IDC, slice(0, 4), slice(4, 8))]
)
def test_a_decoded_image_moves_its_tile_only(made, rows, columns):
    params, fixed = made.init(jax.random.key(0), real())
    tile, stored, ipc = 1, 1, 2
    loss = lambda p: made.decode(p, fixed).images[1, tile * ipc + stored].sum()
    grad = jax.grad(loss)(params)['images']
    assert (grad[1, stored, rows, columns] > 0).all()
    assert not grad.at[1, stored, rows, columns].set(0).any()


def test_only_a_box_is_projected_on():
    params, fixed = IDM.init(jax.random.key(0), real())
    outside = {'images': params['images'] * 100}
    chex.assert_trees_all_equal(IDM.project(outside, fixed), outside)
    assert outside['images'].min() < 0 and outside['images'].max() > 1
    chex.assert_trees_all_equal(
        IDC.project(outside, fixed), {'images': jnp.clip(outside['images'], 0, 1)}
    )


def test_real_images_are_inside_the_box():
    params, fixed = IDC.init(jax.random.key(0), real())
    chex.assert_trees_all_close(IDC.project(params, fixed), params, atol=1e-6)


@presets
def test_jit_and_vmap(made):
    sets = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), real())
    round_trip = lambda initial: made.decode(*made.init(jax.random.key(0), initial))
    singles = [round_trip(jax.tree.map(lambda x: x[i], sets)) for i in (0, 1)]
    expected = jax.tree.map(lambda *x: jnp.stack(x), *singles)
    chex.assert_trees_all_close(jax.jit(jax.vmap(round_trip))(sets), expected, atol=1e-5)


@pytest.mark.parametrize('ipc, nearest', [(1, 4), (7, 8), (10, 8)])
def test_partitioned_refuses_a_count_that_leaves_tiles_empty(ipc, nearest):
    message = f'multiple of 4 images per class.* got {ipc}, the nearest valid is {nearest}'
    with pytest.raises(ValueError, match=message):
        IDM.init(jax.random.key(0), real(ipc))


@pytest.mark.parametrize('shrink', ['mean', 'nearest'])
def test_partitioned_refuses_a_side_that_its_factor_does_not_divide(shrink):
    with pytest.raises(
        ValueError, match='8 x 8 pixels .* 3 x 3 equal tiles; valid factors: 1, 2, 4, 8'
    ):
        partitioned(3, order='row', shrink=shrink).init(jax.random.key(0), real(9))


@pytest.mark.parametrize(
    'knobs, message',
    [
        (dict(factor=0, order='row', shrink='mean'), 'at least 1 tile per side, got 0'),
        (
            dict(factor=2, order='diagonal', shrink='mean'),
            "unknown tile order 'diagonal'; valid: column, row",
        ),
        (
            dict(factor=2, order='row', shrink='means'),
            "unknown shrink 'means'; valid: mean, nearest",
        ),
    ],
)
def test_partitioned_refuses_unknown_knobs(knobs, message):
    with pytest.raises(ValueError, match=message):
        partitioned(**knobs)


@pytest.mark.parametrize('box', [((0.5,), (0.2,)), ((0.5, 0.5, 0.5), (0.2,))])
def test_partitioned_refuses_a_box_of_other_channels(box):
    message = f'3 channels of the images, got {len(box[0])} means and {len(box[1])} stds'
    with pytest.raises(ValueError, match=message):
        partitioned(2, order='row', shrink='nearest', box=box).init(jax.random.key(0), real())


HOW = {'order': 'row', 'shrink': 'nearest', 'box': BOX}


def pixels_of(synthetic):
    return synthetic.images * per_channel(BOX[1]) + per_channel(BOX[0])


def test_multi_decodes_at_every_factor_with_the_label_of_the_class():
    made = partitioned(2, **HOW, form='multi')
    params, fixed = made.init(jax.random.key(0), real())
    found = made.decode(params, fixed)
    assert found.images.shape == (2, 2 + 8, 8, 8, 3) and made.shown is None
    np.testing.assert_allclose(pixels_of(found)[:, :2], params['images'], atol=1e-6)
    np.testing.assert_allclose(found.images[:, 2:], IDC.decode(params, fixed).images, atol=1e-6)
    np.testing.assert_array_equal(found.labels.argmax(-1), [[0] * 10, [1] * 10])


@pytest.mark.parametrize('limit, count', [(2, 2), (5, 2), (6, 5), (9, 5), (10, 8), (100, 8)])
def test_bound_decodes_what_fits_and_shows_the_single_form(limit, count):
    made = partitioned(2, **HOW, form='bound', limit=limit)
    params, fixed = made.init(jax.random.key(0), real())
    found = made.decode(params, fixed)
    assert found.images.shape[1] == found.labels.shape[1] == count
    expected = mosaics.decode_bounded(params['images'], 2, limit, order='row')
    np.testing.assert_allclose(pixels_of(found), expected, atol=1e-6)
    shown, single = made.shown(params, fixed), IDC.decode(params, fixed)
    jax.tree.map(np.testing.assert_array_equal, shown, single)


@pytest.mark.parametrize('form', ['single', 'multi', 'bound'])
def test_sides_that_the_factor_does_not_divide_are_padded_with_grey(form):
    made = partitioned(3, **HOW, form=form, limit=10)
    params, fixed = made.init(jax.random.key(0), real(9))
    assert params['images'].shape == (2, 1, 8, 8, 3)
    padded = np.pad(
        np.asarray(params['images']), ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), constant_values=0.5
    )
    last = enlarged(jnp.asarray(padded[:, :, 6:, 6:]), 8, 8)
    np.testing.assert_allclose(pixels_of(made.decode(params, fixed))[:, -1:], last, atol=1e-5)


def test_a_bound_below_what_is_stored_is_refused():
    made = partitioned(2, **HOW, form='bound', limit=1)
    with pytest.raises(ValueError, match='limit must be at least the 2 stored images.*got 1'):
        made.init(jax.random.key(0), real())
    with pytest.raises(ValueError, match="the form 'bound' needs a limit"):
        partitioned(2, **HOW, form='bound')
    with pytest.raises(ValueError, match="unknown form 'doubled'; valid: bound, multi, single"):
        partitioned(2, **HOW, form='doubled')
