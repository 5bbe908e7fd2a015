"""Mosaics: against the papers' own decoders and initialisations, and against what they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.parametrizations import mosaics

GREY = (0.5, 0.5, 0.5)
ENCODERS = {'mean': mosaics.encode_mean, 'nearest': mosaics.encode_nearest}
every_order = pytest.mark.parametrize('order', mosaics.ORDERS)
every_encoder = pytest.mark.parametrize('encode', ENCODERS.values(), ids=ENCODERS)


def nhwc(array):
    """Torch's channels-first images as ours."""
    return jnp.moveaxis(jnp.asarray(array), -3, -1)


def normal(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def assert_close(ours, theirs, tolerance=1e-9):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_columns_decode_as_idm(reference, x64):
    ref = reference('iid_idm')
    stored = nhwc(ref['dec_x'])[None]
    assert_close(mosaics.decode(stored, 2, order='column')[0], nhwc(ref['dec_y']))
    np.testing.assert_array_equal(np.tile(ref['dec_labels'], 4), ref['dec_y_labels'])


def test_gradient_through_decoding_is_idm_s(reference, x64):
    ref = reference('iid_idm')
    _, vjp = jax.vjp(lambda x: mosaics.decode(x, 2, order='column'), nhwc(ref['dec_x'])[None])
    assert_close(vjp(nhwc(ref['dec_cot'])[None])[0][0], nhwc(ref['dec_vjp']))


def test_nine_tiles_decode_as_idm_s_row_major_ones(reference, x64):
    ref = reference('iid_idm')
    assert_close(mosaics.decode(nhwc(ref['dec3_x'])[None], 3, order='row')[0], nhwc(ref['dec3_y']))


def test_block_means_are_idm_s_shrinking(reference, x64):
    ref = reference('iid_idm')
    # four equal tiles per stored image
    images = jnp.repeat(nhwc(ref['down_x'])[:, None], 4, axis=1)
    stored = mosaics.encode_mean(images, 2, order='column')
    assert_close(stored[:, 0], jnp.tile(nhwc(ref['down_y']), (1, 2, 2, 1)))


@pytest.mark.parametrize('side, factor', [(8, 2), (7, 2), (8, 3)])
def test_rows_decode_as_idc(reference, x64, side, factor):
    ref = reference('cmi_idc')
    stored = nhwc(ref[f'img{side}']).astype(jnp.float64)[None]
    decoded = mosaics.decode(stored, factor, order='row', padding=GREY)[0]
    assert_close(decoded, nhwc(ref[f'dec_img{side}_single_f{factor}']))


def test_decoding_in_float32_is_idc_s(reference):
    ref = reference('cmi_idc')
    decoded = mosaics.decode(nhwc(ref['img8'])[None], 2, order='row')[0]
    assert decoded.dtype == jnp.float32
    assert_close(decoded, nhwc(ref['dec_img8_single_f2']), 1e-6)


def test_every_factor_decodes_as_idc_s_multi(reference, x64):
    ref = reference('cmi_idc')
    stored = nhwc(ref['img8']).astype(jnp.float64)[None]
    assert_close(mosaics.decode_multi(stored, 2, order='row')[0], nhwc(ref['dec_img8_multi_f2']))


def test_bounded_decoding_is_idc_s_bound(reference, x64):
    ref = reference('cmi_idc')
    stored = nhwc(ref['img9']).astype(jnp.float64)[None]
    decoded = mosaics.decode_bounded(stored, 3, 16, order='row', padding=GREY)[0]
    assert_close(decoded, nhwc(ref['dec_img9_bound_f3_b16']))
    index = jnp.broadcast_to(jnp.arange(4.0).reshape(1, 4, 1, 1, 1), (1, 4, 9, 9, 1))
    sources = mosaics.decode_bounded(index, 3, 16, order='row', padding=(0,))[0, :, 0, 0, 0]
    np.testing.assert_array_equal(sources, ref['dec_img9_bound_f3_b16_srcidx'])


@pytest.mark.parametrize('suffix, stored', [('', 'mix_init_f2'), ('7', 'mix_init7_f2')])
def test_skipped_pixels_are_idc_s_mix(reference, suffix, stored):
    ref = reference('cmi_idc')
    ours = mosaics.encode_nearest(nhwc(ref[f'mix_src{suffix}']), 2, order='row')
    np.testing.assert_array_equal(
        ours.reshape(-1, *ours.shape[2:]), nhwc(ref[stored]).astype(jnp.float32)
    )


def test_tiles_of_another_size_become_stored_images_of_the_size_asked_for():
    tiles = normal(2, 9 * 2, 3, 4, 1)  # 7 rows of 3 + 2 + 2, 8 columns of 3 + 3 + 2
    stored = mosaics.encode_nearest(tiles, 3, order='row', size=(7, 8))
    assert stored.shape == (2, 2, 7, 8, 1)
    np.testing.assert_array_equal(stored[:, :, :3, :3], tiles[:, :2, :, :3])
    np.testing.assert_array_equal(stored[:, :, 5:, 6:], tiles[:, 16:, (0, 1)][:, :, :, (0, 2)])
    with pytest.raises(ValueError, match='between 1 and 2, the shorter side, got 3'):
        mosaics.encode_nearest(tiles, 3, order='row', size=(2, 8))


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_enlarging_is_the_bilinear_resize_of_jax(factor):
    stored = normal(1, 1, 12, 24, 2)
    part = stored[0, 0, : 12 // factor, 24 // factor : 48 // factor]
    expected = jax.image.resize(part, (12, 24, 2), 'bilinear')
    assert_close(mosaics.decode(stored, factor, order='row')[0, 1], expected, 1e-6)


@pytest.mark.parametrize('order, second', [('column', (1, 0)), ('row', (0, 1))])
def test_order_of_the_tiles(order, second):
    corner = jnp.arange(4.0).reshape(2, 2)  # top-left 0, bottom-left 2
    stored = jnp.kron(corner, jnp.ones((3, 3)))[None, None, :, :, None]
    decoded = mosaics.decode(jnp.concatenate([stored, stored + 10], axis=1), 2, order=order)
    values = decoded[0, :, 0, 0, 0]
    np.testing.assert_array_equal(values[:4], [0, 10, corner[second], corner[second] + 10])
    np.testing.assert_array_equal(
        decoded, jnp.broadcast_to(values.reshape(1, 8, 1, 1, 1), decoded.shape)
    )


@every_order
@every_encoder
@pytest.mark.parametrize('factor', [1, 2, 3])
def test_decoding_finds_each_encoded_image_at_its_index(order, encode, factor):
    values = jnp.arange(2 * factor**2 * 3.0).reshape(2, -1, 1, 1, 1)  # 2 classes, 3 stored images
    images = jnp.broadcast_to(values, (*values.shape[:2], 6, 12, 1))
    stored = encode(images, factor, order=order)
    assert stored.shape == (2, 3, 6, 12, 1)
    assert_close(mosaics.decode(stored, factor, order=order), images, 1e-5)


@every_order
@every_encoder
def test_factor_one_changes_nothing(order, encode):
    images = normal(2, 3, 5, 4, 3)
    np.testing.assert_array_equal(encode(images, 1, order=order), images)
    np.testing.assert_array_equal(mosaics.decode(images, 1, order=order), images)


def test_shrinking_by_hand():
    image = jnp.arange(16.0).reshape(1, 1, 4, 4, 1)
    images = jnp.concatenate([image, 0 * image, 0 * image, 0 * image], axis=1)
    mean = mosaics.encode_mean(images, 2, order='row')[0, 0, :, :, 0]
    nearest = mosaics.encode_nearest(images, 2, order='row')[0, 0, :, :, 0]
    np.testing.assert_array_equal(mean, np.pad([[2.5, 4.5], [10.5, 12.5]], ((0, 2), (0, 2))))
    np.testing.assert_array_equal(nearest, np.pad([[0, 2], [8, 10]], ((0, 2), (0, 2))))


@every_order
def test_gradient_stays_inside_the_tile(order):
    grad = jax.grad(lambda x: mosaics.decode(x, 2, order=order)[0, 2 * 3 + 1].sum())(
        normal(2, 3, 6, 6, 1)
    )
    rows, columns = (slice(0, 3), slice(3, 6)) if order == 'column' else (slice(3, 6), slice(0, 3))
    assert (grad[0, 1, rows, columns] > 0).all()
    assert not grad.at[0, 1, rows, columns].set(0).any()
    np.testing.assert_allclose(grad.sum(), 36, rtol=1e-6)  # every output pixel weighs 1


def test_padding_fills_right_and_below():
    decoded = mosaics.decode(jnp.zeros((1, 1, 7, 8, 2)), 2, order='row', padding=(0.25, 1.0))
    assert not decoded[0, :2].any()  # the upper tiles: 4 real rows
    colour = jnp.array([0.25, 1.0]).reshape(1, 1, 2)
    np.testing.assert_array_equal(decoded[0, 2:, -1], jnp.broadcast_to(colour, (2, 8, 2)))


def test_no_padding_where_the_factor_divides():
    stored = normal(1, 2, 8, 8, 3)
    np.testing.assert_array_equal(
        mosaics.decode(stored, 4, order='row', padding=GREY), mosaics.decode(stored, 4, order='row')
    )


@pytest.mark.parametrize(
    'ipc, limit, count',
    [
        (3, 3, 3),
        (3, 100, 27),
        (1, 9, 4),
        (1, 10, 9),
        (5, 20, 9 + 4 + 3),
        (20, 128, 12 * 9 + 3 * 4 + 5),
    ],
)
def test_bounded_decoding_keeps_the_limit(ipc, limit, count):
    decoded = mosaics.decode_bounded(jnp.zeros((2, ipc, 6, 6, 1)), 3, limit, order='row')
    assert decoded.shape == (2, count, 6, 6, 1)


@pytest.mark.parametrize(
    'f',
    [
        lambda x: mosaics.decode(x, 2, order='column'),
        lambda x: mosaics.decode(x, 4, order='row', padding=(0.5,)),
        lambda x: mosaics.decode_bounded(x, 2, 9, order='row'),
        lambda x: mosaics.decode_multi(x, 2, order='row'),
        lambda x: mosaics.encode_mean(x, 2, order='row'),
        lambda x: mosaics.encode_nearest(x, 2, order='row'),
    ],
    ids=['single', 'padded', 'bounded', 'multi', 'mean', 'nearest'],
)
def test_jit_and_vmap(f):
    images = normal(2, 2, 4, 6, 6, 1)
    assert_close(jax.jit(jax.vmap(jax.vmap(f)))(images), f(images), 1e-6)


@every_encoder
@pytest.mark.parametrize('count, nearest', [(1, 4), (3, 4), (7, 8), (9, 8)])
def test_refuses_a_count_that_leaves_tiles_empty(encode, count, nearest):
    with pytest.raises(
        ValueError, match=f'multiple of 4 .* got {count}, the nearest valid is {nearest}'
    ):
        encode(jnp.zeros((2, count, 4, 4, 1)), 2, order='row')


@pytest.mark.parametrize('factor', [0, -1, 5, 8])
def test_refuses_a_factor_that_does_not_divide(factor):
    for f in (mosaics.decode, mosaics.decode_multi, mosaics.encode_mean):
        with pytest.raises(ValueError, match=r'12 x 24 pixels.*valid factors: 1, 2, 3, 4, 6'):
            f(jnp.zeros((1, 64, 12, 24, 1)), factor, order='row')


def test_refuses_a_factor_below_one_even_with_padding():
    images = jnp.zeros((1, 4, 6, 6, 1))
    bounded = lambda images, factor, **knobs: mosaics.decode_bounded(images, factor, 9, **knobs)
    for f in (mosaics.decode, mosaics.decode_multi, bounded):
        with pytest.raises(ValueError, match='0 x 0 equal tiles'):
            f(images, 0, order='row', padding=(0.5,))
    with pytest.raises(ValueError, match='between 1 and 6'):
        mosaics.encode_nearest(images, 0, order='row')


@pytest.mark.parametrize('f', [mosaics.decode, mosaics.decode_multi, *ENCODERS.values()])
def test_refuses_an_unknown_order(f):
    with pytest.raises(
        ValueError, match="unknown tile order 'rows'; valid: column, row. Did you mean 'row'"
    ):
        f(jnp.zeros((1, 4, 4, 4, 1)), 2, order='rows')


def test_refuses_a_limit_below_the_stored_images():
    with pytest.raises(ValueError, match='at least the 4 stored images per class, got 3'):
        mosaics.decode_bounded(jnp.zeros((1, 4, 4, 4, 1)), 2, 3, order='row')
