"""The teacher's choice of crops: against RDED's own selector and mosaics, and worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_layout

from jaxdd import data, models
from jaxdd.coresets import rded
from jaxdd.parametrizations import mosaics
from jaxdd.types import Model, Outputs, Source, Variables

KEY = jax.random.key(0)
DATASET = data.fake()
NOTHING = Variables({}, {}, jnp.int32(0), jnp.float32(0))


def looking(logits):
    """A model without weights: `logits(images) -> [N, Y]`."""
    return Model(
        lambda key: NOTHING, lambda variables, images: Outputs(logits(images), None, None, {})
    )


BRIGHT = looking(
    lambda images: jnp.stack(
        [images.mean((1, 2, 3)), jnp.zeros(len(images)), jnp.zeros(len(images))], 1
    )
)
NET = models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1)


def mosaic(crops, factor, side):
    """The chosen crops as the subset stores them."""
    return mosaics.encode_nearest(crops, factor, order='row', size=(side, side))


def crops_of(reference):
    """[9 images, 3 crops, 8, 8, 3]."""
    return jnp.asarray(reference('infer_rded')['crops_mipc_m_c_h_w'].transpose(0, 1, 3, 4, 2))


def teacher(reference, dtype):
    """The scoring ResNet and its weights:
    its global pool is the mean of our four pooled positions."""
    names = {'downsample': 'shortcut', 'fc.': 'linear.'}
    weights = {}
    for name, value in reference('infer_val').items():
        if name.startswith('teacher2/'):
            name = name.removeprefix('teacher2/')
            for old, new in names.items():
                name = name.replace(old, new)
            weights[name] = np.asarray(value, dtype)
    weights['linear.weight'] = weights['linear.weight'].repeat(4, axis=1) / 4
    module = models.ResNet(10, stage_sizes=(1, 1), width=8, norm='batch')
    return models.model(module, (16, 16, 3)), torch_layout.resnet(weights)


@pytest.mark.parametrize('dtype, tolerance', [('float32', 2e-5), ('float64', 5e-7)])
def test_scores_are_the_reference_s(reference, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        model, variables = teacher(reference, dtype)
        crops, expected = crops_of(reference).astype(dtype), reference('infer_rded')
        scores = rded.crop_scores(model, variables, crops, int(expected['label']), side=16)
        assert scores.dtype == dtype and scores.shape == (9, 3)
        np.testing.assert_allclose(scores.T, expected['scores_m_mipc'], rtol=tolerance)


def test_selection_is_the_reference_s(reference):
    expected = reference('infer_rded')
    chosen = rded.select(jnp.asarray(expected['scores_m_mipc'].T), crops_of(reference), 8)
    np.testing.assert_array_equal(torch_layout.nchw(chosen), expected['selected8'])


@pytest.mark.parametrize('side, name', [(16, 'mosaic_ipc2_factor2'), (15, 'mosaic_odd_in15_f2')])
def test_mosaics_are_the_reference_s(reference, side, name):
    expected = reference('infer_rded')
    made = mosaic(jnp.asarray(torch_layout.nhwc(expected['selected8'])), 2, side)
    np.testing.assert_array_equal(torch_layout.nchw(made), expected[name])


def test_the_whole_way_from_crops_to_mosaics(reference):
    model, variables = teacher(reference, 'float32')
    crops = crops_of(reference)
    scores = rded.crop_scores(model, variables, crops, 4, side=16)
    made = mosaic(rded.select(scores, crops, 8), 2, 16)
    np.testing.assert_array_equal(
        torch_layout.nchw(made), reference('infer_rded')['mosaic_ipc2_factor2']
    )


@pytest.mark.parametrize('size, first, last', [(2, 1, 2), (3, 0, 2), (4, 0, 3), (1, 1, 1)])
def test_crops_lie_in_the_middle_of_zeros(size, first, last):
    seen = looking(lambda images: jnp.stack([images[:, r, r, 0] for r in range(4)], 1) * 50)
    crops = jnp.ones((1, 1, size, size, 1))
    for r in range(4):
        score = rded.crop_scores(seen, NOTHING, crops, r, side=4)[0, 0]
        assert (score < 10) == (first <= r <= last), r


def test_scores_by_hand():
    crops = jnp.array([[0.0, 1.0], [2.0, -1.0]]).reshape(2, 2, 1, 1, 1)
    scores = rded.crop_scores(BRIGHT, NOTHING, crops, 0, side=1)
    logits = crops.reshape(2, 2)
    np.testing.assert_allclose(scores, np.log(np.exp(logits) + 2) - logits, rtol=1e-6)
    other = jax.jit(lambda label: rded.crop_scores(BRIGHT, NOTHING, crops, label, side=1))(1)
    np.testing.assert_allclose(other, np.log(np.exp(logits) + 2), rtol=1e-6)


def test_selection_by_hand():
    scores = jnp.array([[3.0, 1.0], [0.5, 0.5], [9.0, 8.0], [1.0, 7.0]])
    crops = (10 * jnp.arange(4.0)[:, None] + jnp.arange(2.0)[None]).reshape(4, 2, 1, 1, 1)
    chosen = rded.select(scores, crops, 3)
    assert chosen.ravel().tolist() == [10, 1, 30]  # equal scores: in their order
    assert jax.jit(lambda s, c: rded.select(s, c, 4))(scores, crops).ravel().tolist() == [
        10,
        1,
        30,
        21,
    ]


def test_mosaic_by_hand():
    crops = jnp.arange(8.0).reshape(8, 1, 1, 1) * jnp.ones((8, 2, 2, 1))
    made = mosaic(crops, 2, 4)[..., 0]
    np.testing.assert_array_equal(made[0], np.kron([[0, 2], [4, 6]], np.ones((2, 2))))
    np.testing.assert_array_equal(made[1], np.kron([[1, 3], [5, 7]], np.ones((2, 2))))
    ramp = jnp.arange(4.0).reshape(1, 4, 1, 1) * jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(mosaic(ramp, 1, 8)[0, :, 0, 0], np.arange(4).repeat(2))
    np.testing.assert_array_equal(mosaic(ramp, 1, 4), ramp)


def boxes(key, images, num_crops, size):
    return jax.jit(lambda images: rded._crops(key, images, num_crops, size))(images)


@pytest.mark.parametrize('side, size', [(8, 8), (16, 5)])
def test_crops_are_resized_as_jax_resizes_a_cut_out_image(monkeypatch, side, size):
    images = jax.random.normal(KEY, (2, side, side, 3))
    cut = np.array([[1, 2, 6, 6], [0, 0, side, side], [2, 0, 1, 1], [side - 3, side - 3, 3, 3]])
    monkeypatch.setattr(rded.cropping, 'draw_resized_crop', lambda *args, **knobs: jnp.asarray(cut))
    made = rded._crops(KEY, images, 2, size)
    for i, (top, left, height, width) in enumerate(cut):
        part = images[i // 2, top : top + height, left : left + width]
        expected = jax.image.resize(part, (size, size, 3), 'linear', antialias=True)
        np.testing.assert_allclose(made[i // 2, i % 2], expected, atol=1e-5)


def test_crops_are_squares_that_stay_inside_and_differ():
    ramp = jnp.stack(jnp.meshgrid(jnp.arange(32.0), jnp.arange(32.0), indexing='ij'), -1)[None]
    made = boxes(KEY, jnp.repeat(ramp, 20, 0), 5, 16)
    assert made.shape == (20, 5, 16, 16, 2)
    assert made.min() >= 0 and made.max() <= 31
    spans = made[:, :, -1, -1] - made[:, :, 0, 0]  # (length - 1) or so, along both axes
    np.testing.assert_allclose(spans[..., 0], spans[..., 1], atol=0.1)
    # sqrt(0.08) 32 = 9 pixels at least
    assert spans.min() > 6 and spans.max() > 27 and spans.std() > 3
    assert len(np.unique(np.asarray(made[..., 0, 0, 0]))) > 30


def made_of(dataset, model=BRIGHT, variables=NOTHING, key=KEY, **knobs):
    return rded.realistic_subset(key, dataset.train, dataset.spec, model, variables, **knobs)


@pytest.mark.parametrize('factor', [1, 2])
def test_a_subset_is_a_labelled_set_in_class_order(factor):
    made = made_of(DATASET, NET, NET.init(KEY), ipc=2, factor=factor, num_images=9, num_crops=3)
    assert made.images.shape == (3, 2, 8, 8, 3) and made.images.dtype == jnp.float32
    np.testing.assert_array_equal(made.labels, np.eye(3, dtype='f').repeat(2, 0).reshape(3, 2, 3))
    low, high = (data.normalise(DATASET.spec, np.full((1, 1, 3), v, 'uint8')) for v in (0, 255))
    assert (made.images >= low[None, None] - 1e-5).all() and (
        made.images <= high[None, None] + 1e-5
    ).all()


def constant(counts):
    """Classes of one-coloured images: image i of class c is 20 c + i."""
    labels = np.repeat(np.arange(len(counts)), counts)
    colours = np.concatenate([20 * c + np.arange(count) for c, count in enumerate(counts)])
    images = np.broadcast_to(colours[:, None, None, None].astype('uint8'), (len(labels), 4, 4, 1))
    return data.Dataset(data.for_arrays(images, len(counts), 'plain'), Source(images, labels), None)


def colours(dataset, images):
    return np.asarray(data.denormalise(dataset.spec, images) * 255)


def test_the_easiest_real_images_of_each_class_are_used_once():
    plain = constant((7, 5, 9))
    made = made_of(plain, ipc=4)
    shown = colours(plain, made.images)[:, :, 0, 0, 0].round()
    # The teacher finds bright images easy for class 0, dark ones for the others.
    np.testing.assert_array_equal(shown, [[6, 5, 4, 3], [20, 21, 22, 23], [40, 41, 42, 43]])
    np.testing.assert_allclose(colours(plain, made.images).std(axis=(2, 3, 4)), 0, atol=1e-3)


def test_tiles_are_ranked_across_the_images():
    plain = constant((8, 8, 8))
    shown = colours(plain, made_of(plain, ipc=2, factor=2, num_crops=2).images)[1, ..., 0].round()
    np.testing.assert_array_equal(shown[:, ::2, ::2], [[[20, 22], [24, 26]], [[21, 23], [25, 27]]])


def test_fewer_images_are_random_ones_of_the_class():
    plain = constant((9, 9, 9))
    sets = [
        colours(plain, made_of(plain, key=jax.random.key(seed), ipc=3, num_images=3).images)[
            ..., 0, 0, 0
        ].round()
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(sets[0], sets[1])
    assert (sets[0] != sets[2]).any()
    for shown in sets:
        assert (shown // 20 == [[0] * 3, [1] * 3, [2] * 3]).all()
        assert all(len(set(row)) == 3 for row in shown.tolist())


@pytest.mark.parametrize(
    'knobs, message',
    [
        ({'ipc': 0}, 'ipc must be at least 1, got 0'),
        ({'factor': 0}, 'factor must be at least 1, got 0'),
        ({'factor': 9}, 'factor must be between 1 and the side, 8, got 9'),
        ({'num_images': 0}, 'num_images must be at least 1, got 0'),
        ({'num_crops': 0}, 'num_crops must be at least 1, got 0'),
        (
            {'ipc': 6, 'factor': 2},
            r'needs crops of 24 real images per class, .*\(class 0\) has 20; ask for at most ipc 5',
        ),
        (
            {'ipc': 4, 'num_images': 3},
            'needs crops of 4 real images per class, but num_images is 3',
        ),
    ],
)
def test_wrong_numbers_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        made_of(DATASET, **{'ipc': 1, **knobs})


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match='those of fake are 8 x 6'):
        made_of(data.fake(image_shape=(8, 6, 3)), ipc=1)


def test_pieces_refuse_what_does_not_fit():
    crops = jnp.zeros((3, 2, 4, 4, 1))
    with pytest.raises(ValueError, match='crops of 4 x 4 pixels do not fit into images of side 3'):
        rded.crop_scores(BRIGHT, NOTHING, crops, 0, side=3)
    for count in (0, 4):
        with pytest.raises(
            ValueError, match=f'between 1 and the 3 images that crops were taken of, got {count}'
        ):
            rded.select(jnp.zeros((3, 2)), crops, count)
