"""A distilled set survives the way through a file; pictures show every class."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdd import whitening
from jaxdd.reporting import pictures
from jaxdd.storage import distilled_set
from jaxdd.types import SyntheticSet

MEAN, STD, NAMES = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), ('airplane', 'zèbre')


def synthetic(learning_rate=None):
    generator = np.random.default_rng(0)
    labels = np.broadcast_to(np.eye(2, dtype=np.float32)[:, None], (2, 3, 2))
    images = generator.normal(size=(2, 3, 8, 8, 3)).astype(np.float32)
    return SyntheticSet(jnp.asarray(images), jnp.asarray(labels), learning_rate)


def save(path, one=None, **other):
    arguments = {
        'mean': MEAN,
        'std': STD,
        'class_names': NAMES,
        'info': {'method': 'dm', 'seed': 0},
    }
    distilled_set.save_npz(path, one or synthetic(), **{**arguments, **other})
    return path


@pytest.mark.parametrize('learning_rate', [None, jnp.float32(0.01)])
def test_a_set_comes_back_bitwise(tmp_path, learning_rate):
    one = synthetic(learning_rate)
    found, rest = distilled_set.load_npz(save(tmp_path / 'deep' / 'distilled.npz', one))
    assert (
        found.images.tobytes() == np.asarray(one.images).tobytes()
        and found.images.dtype == np.float32
    )
    assert found.labels.tobytes() == np.asarray(one.labels).tobytes()
    assert found.learning_rate == learning_rate
    assert rest['class_names'] == NAMES and rest['info'] == {'method': 'dm', 'seed': 0}
    np.testing.assert_array_equal(rest['mean'], np.float32(MEAN))
    np.testing.assert_array_equal(rest['std'], np.float32(STD))
    assert [p.name for p in (tmp_path / 'deep').iterdir()] == ['distilled.npz']


def test_what_is_kept_is_stored_where_it_differs_from_the_images(tmp_path):
    one = synthetic()
    kept = np.random.default_rng(1).normal(size=(2, 1, 8, 8, 3))
    found, rest = distilled_set.load_npz(
        save(tmp_path / 'x.npz', one, stored=jnp.asarray(kept, jnp.float32))
    )
    assert rest['stored'].dtype == np.float32
    np.testing.assert_array_equal(rest['stored'], kept.astype(np.float32))
    np.testing.assert_array_equal(found.images, one.images)
    for same in (None, one.images):
        assert 'stored' not in distilled_set.load_npz(save(tmp_path / 'x.npz', one, stored=same))[1]


def test_bytes_are_denormalised_and_clipped(tmp_path):
    images = jnp.stack([jnp.full((1, 2, 2, 3), v) for v in (0.0, 100.0)])
    labels = jnp.eye(2)[:, None]
    _, rest = distilled_set.load_npz(save(tmp_path / 'x.npz', SyntheticSet(images, labels)))
    assert rest['images_uint8'].dtype == np.uint8
    # 127.5 and 76.5 round to even
    assert rest['images_uint8'][0, 0, 0, 0].tolist() == [128, 102, 76]
    assert (rest['images_uint8'][1] == 255).all()


@pytest.mark.parametrize(
    'change, message',
    [
        ({'class_names': ('a',)}, '2 classes of images but 1'),
        ({'mean': (0.5,)}, '3 channels, but mean has shape'),
        ({'std': (0.1, 0, 0.1)}, 'std above 0'),
        ({'class_names': ('a', 'a')}, 'class_names must differ'),
        ({'info': []}, 'info must be JSON'),
        (
            {'one': synthetic()._replace(images=np.zeros((2, 3, 8, 8, 3), np.uint8))},
            'normalised floats, .* got uint8',
        ),
        (
            {'one': synthetic()._replace(labels=jnp.ones((2, 3, 3)) / 3)},
            'images are of 2 classes, labels of 3',
        ),
        ({'stored': np.zeros((1, 1, 8, 8, 3))}, 'stored must be'),
        ({'one': synthetic(-1.0)}, 'learning_rate must be'),
        ({'info': {'x': float('nan')}}, 'info must be JSON'),
        ({'info': {'x': object()}}, 'info must be JSON'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / 'x.npz', **change)
    assert not list(tmp_path.iterdir())


def test_pixels_must_be_finite(tmp_path):
    one = synthetic()
    with pytest.raises(ValueError, match='image 2 of class 1'):
        save(tmp_path / 'x.npz', one._replace(images=one.images.at[1, 2, 0, 0, 0].set(jnp.nan)))


def test_files_that_lack_fields_are_refused(tmp_path):
    np.savez(tmp_path / 'x.npz', images=np.ones(3), labels=np.ones(3), mean=np.ones(1))
    with pytest.raises(ValueError, match='lacks images_uint8, std, class_names, info'):
        distilled_set.load_npz(tmp_path / 'x.npz')
    with pytest.raises(ValueError, match='does not exist'):
        distilled_set.load_npz(tmp_path / 'no.npz')
    np.save(tmp_path / 'y.npy', np.ones(3))
    (tmp_path / 'z.npz').write_bytes(b'garbage')
    (tmp_path / 'cut.npz').write_bytes(save(tmp_path / 'whole.npz').read_bytes()[:-300])
    for name in ('y.npy', 'z.npz', 'cut.npz'):
        with pytest.raises(ValueError, match=f'{name} cannot be read as npz'):
            distilled_set.load_npz(tmp_path / name)


def fields():
    """Those of a valid file, all optional ones but `stored` among them."""
    images = np.asarray(synthetic().images)
    levels = (
        np.clip((images * np.float32(STD) + np.float32(MEAN)) * 255, 0, 255)
        .round()
        .astype(np.uint8)
    )
    return {
        'images': images,
        'labels': np.asarray(synthetic().labels),
        'images_uint8': levels,
        'mean': np.float32(MEAN),
        'std': np.float32(STD),
        'class_names': np.array(NAMES),
        'info': np.array('{"method": "infer"}'),
        'learning_rate': np.float32(0.1),
        'stored_natural': levels[:, :1],
        'stored_compensators': np.zeros((2, 1, 8, 8, 3), np.float16),
    }


FIELDS = fields()
ONE = np.asarray(synthetic().images)
SOFT = np.full((2, 3, 2), 0.5, np.float32)


def spoiled(array, value, at=(1, 2)):
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'labels': SOFT},
        {'labels': SOFT * 9},
        {'images': ONE.astype(np.float16)},
        {'learning_rate': None},
        {'images_uint8': FIELDS['images_uint8'] + (FIELDS['images_uint8'] < 255)},
        {'anything': np.ones(3)},
        {
            'stored_natural': None,
            'stored_compensators': None,
            'stored': np.zeros((2, 7), np.float32),
        },
    ],
)
def test_a_file_that_keeps_to_the_schema_is_read_whoever_wrote_it(tmp_path, changes):
    np.savez(tmp_path / 'x.npz', **{k: v for k, v in (FIELDS | changes).items() if v is not None})
    found, about = distilled_set.load_npz(tmp_path / 'x.npz')
    assert about['info'] == {'method': 'infer'} and found.images.dtype.kind == 'f'


@pytest.mark.parametrize('changes, message', [
    ({'images': np.full((2, 3, 8, 8,
                         3), 'a')}, r'images must be \[K, n, H, W, 1 or 3\] .*, got <U1 of shape'),
    ({'images': FIELDS['images_uint8']},
     'images must be .* normalised floats, .* got uint8 of shape'),
    ({'images': ONE[..., :2]}, 'images must be .* got float32 of shape .2, 3, 8, 8, 2.'),
    ({'images': ONE[0]}, 'images must be .* got float32 of shape .3, 8, 8, 3.'),
    ({'images': ONE[:, :0]}, 'images must be .* at least one per class'),
    ({'images': spoiled(ONE, np.inf)}, 'image 2 of class 1 holds values that are not finite'),
    ({'labels': FIELDS['labels'][:, :2]},
     r'labels must be \[2, 3, 2\] floats, .* got float32 of shape .2, 2, 2.'),
    ({'labels': np.zeros((2, 3), int)},
     r'labels must be \[2, 3, 2\] floats, .* got int64 of shape .2, 3.'),
    ({'labels': spoiled(SOFT, np.nan)}, 'labels hold values that are not finite'),
    ({'labels': np.full((2, 3, 4), 0.25, np.float32)},
     'images are of 2 classes, labels of 4; a set holds'),
    ({'labels': spoiled(SOFT, 0)}, 'those of image 2 of class 1 sum to 0; every row must sum to 1'),
    ({'mean': np.float32([0.5])}, 'images have 3 channels, but mean has shape'),
    ({'mean': spoiled(FIELDS['mean'], np.nan, 1)}, r'mean and std must be finite .*\[0.5, nan'),
    ({'std': spoiled(FIELDS['std'], 0, 2)}, 'std above 0, got .*, 0.0'),
    ({'images_uint8': FIELDS['images_uint8'] / 255},
     'images_uint8 must be .* uint8 .* got float64'),
    ({'images_uint8': FIELDS['images_uint8'][:, :2]},
     'images_uint8 must be .* got uint8 of shape .2, 2,'),
    ({'images_uint8': FIELDS['images_uint8'] // 2},
     'images_uint8 differ .* by up to 128 grey levels .class 0, image'),
    ({'class_names': np.arange(2)}, 'class_names must be 2 texts, got .0, 1.'),
    ({'class_names': np.array('ab')}, "class_names must be 2 texts, got 'ab'"),
    ({'class_names': np.array(['a', 'b', 'c'])}, '2 classes of images but 3 class names'),
    ({'class_names': np.array(['a', 'a'])}, "class_names must differ, got 'a' more than once"),
    *(({'info': np.array(text)}, 'info must be ')
      for text in ('[]', 'null', '"text"', '', '{"x": NaN}', '[' * 10 ** 5)),
    ({'info': np.array(['{}'])}, 'info must be the JSON text of an object'),
    ({'stored_natural': FIELDS['images_uint8']},
     r'stored_natural must be \[2, k, ...\] uint8 .* k .M \+ 1. = 3, got'),
    ({'stored_natural': ONE[:, :1]}, 'stored_natural must be .* got float32'),
    ({'stored_natural': None}, 'stored_natural must be .* got float64 of shape .0,.'),
    ({'stored_compensators': np.zeros((1, 1, 8, 8, 3))}, 'stored_compensators .M, k, .... floats'),
    ({'stored_compensators': np.full((2, 1, 8, 8,
                                      3), np.nan)}, 'stored_compensators must hold finite numbers'),
    ({'stored_images': ONE[:1]},
     r'stored_images must be \[2, images per class, ...\], got float32 of shape .1, 3'),
    ({'stored': ONE}, 'has the field stored beside stored_natural'),
    ({'learning_rate': np.float32(0)}, 'learning_rate must be one positive number, got 0.0'),
    ({'learning_rate': np.array('fast')}, "learning_rate must be one positive number, got 'fast'"),
    ({'learning_rate': np.ones(2)},
     'learning_rate must be one positive number, got float64 of shape .2,.'),
])  # fmt: skip
def test_a_file_that_does_not_is_refused(tmp_path, changes, message):
    np.savez(tmp_path / 'x.npz', **{k: v for k, v in (FIELDS | changes).items() if v is not None})
    with pytest.raises(
        ValueError, match=f'x.npz is not a distilled set: .*{message}.*; copy the file again, or'
    ):
        distilled_set.load_npz(tmp_path / 'x.npz')


def test_every_damage_is_refused_or_harmless(tmp_path, damage):
    def read():
        found, about = distilled_set.load_npz(path)
        return found, {
            name: np.asarray(value)
            for name, value in about.items()
            if name not in ('info', 'stored')
        }

    path = save(
        tmp_path / 'x.npz',
        stored={'natural': FIELDS['stored_natural'], 'compensators': FIELDS['stored_compensators']},
    )
    assert damage(path, read) > 150


def test_stored_bytes_count_soft_labels():
    one = synthetic()
    assert distilled_set.stored_bytes(one) == {'images': 2 * 3 * 8 * 8 * 3 * 4, 'labels': 0}
    assert (
        distilled_set.stored_bytes(one._replace(labels=one.labels * 0.8 + 0.1))['labels']
        == 2 * 3 * 2 * 4
    )
    mixed = one.labels.at[0, 0].set(jnp.array([0.0, 1.0]))  # one-hot, but not implied by the class
    assert distilled_set.stored_bytes(one._replace(labels=mixed))['labels'] == 48


def test_grid_places_each_image_without_smoothing():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 1)) / 255
    picture = pictures.grid(images)
    assert picture.shape == (3 * 48 + 2 * 3, 4 * 48 + 3 * 3, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(
        picture[51:99:6, 102:150:6, 0], np.round(images[1, 2, :, :, 0] * 255)
    )
    np.testing.assert_array_equal(picture[51:99], picture[51:99:6].repeat(6, axis=0))
    assert (picture[48:51] == 255).all() and (picture[:, 48:51] == 255).all()
    assert pictures.grid(images, max_per_class=2, scale=1).shape == (3 * 8 + 6, 2 * 8 + 3, 3)
    assert pictures.grid(images - 5).min() == 0 and pictures.grid(images * np.nan).min() == 0


def test_grid_with_names_is_wider_and_wants_one_per_class():
    images = np.zeros((2, 1, 8, 8, 3))
    assert pictures.grid(images, class_names=NAMES).shape[1] > pictures.grid(images).shape[1] + 40
    with pytest.raises(ValueError, match='2 classes of images but 1 class names'):
        pictures.grid(images, class_names=['a'])
    with pytest.raises(ValueError, match=r'\[K, n, H, W, 1 or 3\], got shape \(2, 8, 8, 3\)'):
        pictures.grid(images[:, 0])


def test_the_page_holds_both_halves(tmp_path):
    left, right = np.zeros((2, 4, 8, 8, 1)), np.full((2, 3, 8, 8, 1), 0.5)
    pictures.save_grid_png(tmp_path / 'grid.png', left, right, class_names=NAMES)
    image = Image.open(tmp_path / 'grid.png')
    pixels = np.asarray(image)
    assert (image.format, image.mode) == ('PNG', 'RGB')
    assert ((pixels == 0).all(-1)).sum() == 2 * 4 * 48 * 48
    assert ((pixels == 128).all(-1)).sum() >= 2 * 3 * 48 * 48
    assert image.height > 2 * 48 + 3 and image.width > 7 * 48 + 5 * 3
    with pytest.raises(ValueError, match='same classes and image shape'):
        pictures.save_grid_png(tmp_path / 'x.png', left, right[:1], class_names=NAMES)
    with pytest.raises(ValueError, match='2 classes of images but 3'):
        pictures.save_grid_png(tmp_path / 'x.png', left, right, class_names='abc')
    assert [p.name for p in tmp_path.iterdir()] == ['grid.png']


WHITENING = whitening.Whitening(
    np.full(192, 0.5, np.float32), np.eye(192, dtype=np.float32), np.ones(192, np.float32)
)


@pytest.fixture
def whitened(tmp_path):
    """The fields of a file whose images are whitened."""
    save(tmp_path / 'white.npz', mean=(0, 0, 0), std=(1, 1, 1), whitening=WHITENING)
    return dict(np.load(tmp_path / 'white.npz'))


def test_a_whitening_travels_with_the_set(tmp_path):
    path = tmp_path / 'white.npz'
    save(path, mean=(0, 0, 0), std=(1, 1, 1), whitening=WHITENING)
    found, about = distilled_set.load_npz(path)
    for name, value in WHITENING._asdict().items():
        np.testing.assert_array_equal(getattr(about['whitening'], name), np.float32(value))
    expected = np.clip(whitening.unwhiten(WHITENING, found.images) * 255, 0, 255).round()
    np.testing.assert_array_equal(about['images_uint8'], expected)


@pytest.mark.parametrize(
    'name, value, said',
    [
        ('whitening_vectors', None, 'lacks whitening_vectors'),
        ('whitening_vectors', np.eye(3, dtype=np.float32), 'vectors of a whitening'),
        ('whitening_variances', -np.ones(192, np.float32), 'variances of a whitening must be at'),
        ('whitening_mean', np.full(192, np.nan, np.float32), 'mean of a whitening'),
        ('mean', np.full(3, 0.5, np.float32), 'whitened images have mean 0 and std 1'),
        ('whitening_mean', np.zeros(192, np.float32), 'images_uint8 differ'),
    ],
)
def test_a_whitening_that_cannot_be_is_refused(whitened, tmp_path, name, value, said):
    whitened.pop(name)
    if value is not None:
        whitened[name] = value
    np.savez(tmp_path / 'changed.npz', **whitened)
    with pytest.raises(ValueError, match=said):
        distilled_set.load_npz(tmp_path / 'changed.npz')
