"""Images that stay in their files."""

import zlib

import jax
import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxdd import checks, data
from jaxdd.data import folder, sources
from jaxdd.data import image_files as lazy
from jaxdd.types import Source


def smooth(height, width, seed=0):
    """A photograph-like image: soft colours, so that JPEG and small sizes keep them."""
    colours = np.random.default_rng(seed).integers(40, 215, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photographs(tmp_path):
    """A folder of JPEGs of several sizes: two classes, five training and two test images."""
    sizes = {
        'train/b/1.jpg': (90, 120),
        'train/b/2.JPEG': (150, 100),
        'train/a/1.jpg': (64, 64),
        'train/a/3.jpg': (300, 200),
        'train/a/2.jpg': (33, 70),
        'val/a/1.jpg': (80, 60),
        'val/b/1.jpg': (60, 90),
    }
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        smooth(height, width, seed).save(tmp_path / name, 'JPEG', quality=95)
    return tmp_path


@pytest.mark.parametrize('resize', lazy.RESIZE)
def test_the_same_pixels_as_in_memory(photographs, resize):
    now, later = (
        data.read_folder(photographs, image_size=24, lazy=lazy, resize=resize)
        for lazy in (False, True)
    )
    assert later.class_names == ('a', 'b')
    for ours, theirs in zip(later[1:], now[1:]):
        assert isinstance(ours.images, data.FolderImages) and isinstance(theirs.images, np.ndarray)
        np.testing.assert_array_equal(ours.images[:], theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert ours.images.shape == theirs.images.shape and ours.images.dtype == theirs.images.dtype
        assert len(ours.images) == len(theirs.images) and ours.images.nbytes == theirs.images.nbytes


@pytest.mark.parametrize(
    'index',
    [
        3,
        -1,
        slice(1, None, 2),
        [4, 0, 0],
        np.array([[1, 2], [3, -1]]),
        np.int32(2),
        np.zeros((0,), int),
        np.zeros((2, 0), int),
        np.array([1, 0, 0, 1, 0], bool),
    ],
    ids=str,
)
def test_rows_are_selected_as_in_an_array(photographs, index):
    images = data.read_folder(photographs, image_size=8, lazy=True).train.images
    np.testing.assert_array_equal(images[index], images[:][index])


def test_an_index_beyond_the_set_is_refused(photographs):
    images = data.read_folder(photographs, image_size=8, lazy=True).train.images
    for index in (5, -6, [0, -6], np.array([[4], [5]])):
        with pytest.raises(IndexError, match='out of bounds'):
            images[index]


def test_nothing_is_decoded_before_it_is_looked_at(photographs, monkeypatch):
    def never(image, *args):
        raise AssertionError('decoded')

    monkeypatch.setattr(lazy, 'resized', never)
    dataset = data.read_folder(photographs, image_size=8, lazy=True)
    checks.labelled_images(*dataset.train, 2, where='here')
    assert dataset.train.images.ndim == 4 and data.checksum(dataset.train) > 0
    with pytest.raises(AssertionError, match='decoded'):
        dataset.train.images[0]


def test_the_whole_does_not_become_an_array_unasked(photographs):
    images = data.read_folder(photographs, image_size=8, lazy=True).train.images
    for convert in (np.asarray, jax.numpy.asarray):
        with pytest.raises(
            ValueError, match=r'the 5 images in .* lie on disk .* data.epochs_stream.*lazy=False'
        ):
            convert(images)
    with pytest.raises(ValueError, match='lie on disk'):
        data.stratified(Source(images, np.array([0, 0, 0, 1, 1])), data.fake(2).spec, per_class=1)


def test_resizing_by_hand():
    image = smooth(60, 90)
    half = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(
        np.asarray(lazy.resized(image, (20, 20), 'square')), half[:, 5:25]
    )
    np.testing.assert_array_equal(np.asarray(lazy.resized(image, (20, 30), 'stretched')), half)
    usual = np.asarray(smooth(512, 600).resize((300, 256), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(
        np.asarray(lazy.resized(smooth(512, 600), (224, 224), 'margin')), usual[16:240, 38:262]
    )
    np.testing.assert_array_equal(np.asarray(lazy.resized(image, (1, 1), None)), np.asarray(image))


@pytest.mark.parametrize('resize', lazy.RESIZE)
def test_decoding_at_a_fraction_of_the_size_changes_little(tmp_path, resize):
    smooth(400, 520).save(tmp_path / 'large.jpg', quality=95)
    with Image.open(tmp_path / 'large.jpg') as image:
        whole = image.copy()
    fast = lazy.opened(
        tmp_path / 'large.jpg', lambda image: lazy.resized(image, (32, 32), resize)
    ).astype(int)
    slow = np.asarray(lazy.resized(whole, (32, 32), resize)).astype(int)
    assert fast.shape == (32, 32, 3) and np.abs(fast - slow).max() <= 4
    draws = np.random.default_rng(0).random((20, lazy.TRIES, 4))
    for draw in draws:
        fast = lazy.opened(
            tmp_path / 'large.jpg',
            lambda image: lazy.resized_crop(image, draw, (32, 32), (0.08, 1)),
        )
        slow = np.asarray(lazy.resized_crop(whole, draw, (32, 32), (0.08, 1)))
        assert np.abs(fast.astype(int) - slow).max() <= 4


def test_a_crop_is_its_box_resized():
    image, draws = smooth(50, 80), np.random.default_rng(1).random((lazy.TRIES, 4))
    top, left, height, width = lazy.crop_box(draws, (50, 80), (0.3, 0.6))
    expected = image.crop((left, top, left + width, top + height)).resize(
        (16, 12), Image.Resampling.BILINEAR
    )
    found, expected = (
        np.asarray(lazy.resized_crop(image, draws, (12, 16), (0.3, 0.6))),
        np.asarray(expected),
    )
    np.testing.assert_array_equal(found[1:-1, 1:-1], expected[1:-1, 1:-1])
    # the border sees its neighbours outside the box
    assert np.abs(found.astype(int) - expected).max() <= 4


def test_crop_boxes_lie_inside_and_have_the_asked_area_and_shape():
    draws, areas, shapes, places = (
        np.random.default_rng(0).random((4000, lazy.TRIES, 4)),
        [],
        [],
        [],
    )
    for draw in draws:
        top, left, height, width = lazy.crop_box(draw, (300, 400), (0.2, 0.5))
        assert 0 <= top <= 300 - height and 0 <= left <= 400 - width
        areas.append(height * width / 120_000)
        shapes.append(np.log(width / height))
        places.append(left / (400 - width))
    assert 0.195 < min(areas) < 0.205 and 0.495 < max(areas) < 0.505
    assert (
        abs(np.mean(areas) - 0.35) < 0.005
        and abs(np.mean(shapes)) < 0.02
        and abs(np.mean(places) - 0.5) < 0.02
    )
    assert max(np.abs(shapes)) < np.log(4 / 3) + 0.02


@pytest.mark.parametrize(
    'size, box',
    [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10)), ((1, 1), (0, 0, 1, 1))],
)
def test_where_no_box_fits_the_largest_central_one_is_taken(size, box):
    assert lazy.crop_box(np.full((lazy.TRIES, 4), 0.999), size, (1.0, 1.0)) == box


def test_grey_images_become_rgb(tmp_path):
    Image.fromarray(np.full((30, 30), 70, np.uint8)).save(tmp_path / 'grey.jpg')
    images = data.FolderImages(str(tmp_path), ('grey.jpg',), (1, 8, 8, 3), 'square')
    assert (images[0] == 70).all() and images[0].shape == (8, 8, 3)
    crop = images.crop(0, np.full((lazy.TRIES, 4), 0.5), (8, 8), (0.5, 0.5))
    assert (crop == 70).all() and crop.shape == (8, 8, 3)


def tagged(path, orientation, height=40, width=60, **options):
    """Writes a photograph that says which side is up; returns it as it is to be seen."""
    exif = Image.Exif()
    exif[271], exif[lazy.ORIENTATION] = 'camera', orientation
    smooth(height, width).save(path, exif=exif, **options)
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert('RGB')


@pytest.mark.parametrize('orientation', range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_photographs_are_turned_upright_before_anything_else(tmp_path, name, orientation):
    whole, draws = (
        tagged(tmp_path / name, orientation),
        np.random.default_rng(1).random((lazy.TRIES, 4)),
    )
    assert whole.size == ((40, 60) if 5 <= orientation <= 8 else (60, 40))
    views = [
        lambda image, how=how: lazy.resized(image, (30, 30), how) for how in (*lazy.RESIZE, None)
    ]
    for view in [*views, lambda image: lazy.resized_crop(image, draws, (30, 30), (0.5, 0.6))]:
        np.testing.assert_array_equal(lazy.opened(tmp_path / name, view), np.asarray(view(whole)))


def test_a_turned_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path):
    whole, draws = (
        tagged(tmp_path / 'a.jpg', 6, 400, 900, quality=95),
        np.full((lazy.TRIES, 4), 0.3),
    )
    for view in (
        lambda image: lazy.resized(image, (32, 64), 'stretched'),
        lambda image: lazy.resized_crop(image, draws, (32, 32), (0.3, 1)),
    ):
        fast, slow = lazy.opened(tmp_path / 'a.jpg', view), np.asarray(view(whole))
        assert 0 < np.abs(fast.astype(int) - slow).max() <= 4
    with Image.open(tmp_path / 'a.jpg') as image:
        assert lazy.upright_size(image) == (400, 900) and lazy.upright(image, (64, 32)).size == (
            100,
            225,
        )


@pytest.mark.filterwarnings('ignore:.*EXIF:UserWarning')
@pytest.mark.parametrize(
    'exif',
    [
        b'',
        b'text',
        b'Exif\0\0',
        b'Exif\0\0II*\0' + bytes([255] * 4),
        b'Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12\0\7',
        b'Exif\0\0II*\0\x08\0\0\0\2\0' + bytes(12),
    ],
)
def test_a_damaged_tag_turns_nothing(tmp_path, exif):
    smooth(40, 60).save(tmp_path / 'a.jpg', exif=exif)
    assert lazy.opened(
        tmp_path / 'a.jpg', lambda image: lazy.resized(image, (1, 1), None)
    ).shape == (40, 60, 3)


def test_the_first_image_gives_its_upright_size(photographs):
    for file in photographs.rglob('*.*'):
        if file.is_file():
            tagged(file, 6, format='JPEG')
    images = data.read_folder(photographs, lazy=True).train.images
    assert images.shape == (5, 60, 40, 3) and images[:].shape == images.shape


def transparent_files(folder):
    """Files of one grey of 100, half covering in the upper half and not at all in the lower one."""
    alpha = np.repeat(np.uint8([[128], [0]]), 4, axis=1).repeat(2, axis=0)
    grey = np.full((4, 4), 100, np.uint8)
    Image.fromarray(np.stack([grey, alpha], -1), 'LA').save(folder / 'la.png')
    Image.fromarray(np.stack([grey, grey, grey, alpha], -1), 'RGBA').save(folder / 'rgba.png')
    palette = Image.fromarray((alpha == 0).astype(np.uint8), 'P')
    palette.putpalette([100] * 6)
    palette.save(folder / 'p.png', transparency=bytes([128, 0]))
    return 'la.png', 'rgba.png', 'p.png'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_what_is_transparent_lies_over_white(tmp_path):
    files = transparent_files(tmp_path)
    images = data.FolderImages(str(tmp_path), files, (3, 4, 4, 3), None)
    draws = np.full((lazy.TRIES, 4), 0.5)
    for image in [*images[:], *(images.crop(i, draws, (4, 4), (1, 1)) for i in range(3))]:
        # (100 * 128 + 255 * 127) / 255
        assert (image[:2] == 177).all() and (image[2:] == 255).all()
    for mode, colour, seen in (('L', 7, 7), ('RGB', (1, 2, 3), (1, 2, 3))):
        image = Image.new(mode, (4, 4), colour)
        image.putpixel((0, 0), 9 if mode == 'L' else (9, 9, 9))
        image.save(tmp_path / 'key.png', transparency=9 if mode == 'L' else (9, 9, 9))
        pixels = data.FolderImages(str(tmp_path), ('key.png',), (1, 4, 4, 3), None)[0]
        assert (pixels[0, 0] == 255).all() and (pixels[1:] == seen).all()


def test_what_covers_all_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    images = data.FolderImages(str(tmp_path), ('a.png',), (1, 64, 64, 3), None)
    np.testing.assert_array_equal(images[0], pixels[..., :3])


def test_images_kept_as_they_are_must_be_equal(image_folder):
    files = {
        f'{half}/{name}/1.png': np.full((4, 5, 3), 9, np.uint8)
        for half in ('train', 'val')
        for name in 'ab'
    }
    root = image_folder(files | {'train/b/2.png': np.full((5, 4, 3), 9, np.uint8)})
    images = data.read_folder(root, lazy=True).train.images
    assert images.shape == (3, 4, 5, 3) and (images[:2] == 9).all()
    with pytest.raises(
        ValueError, match='b/2.png is 4x5 pixels, but the first image is 5x4; pass image_size'
    ):
        images[:]


def test_a_damaged_file_is_named_when_it_is_read(photographs):
    (photographs / 'train' / 'a' / '2.jpg').write_bytes(b'no image')
    train = data.read_folder(photographs, image_size=8, lazy=True).train
    assert train.images[[0, 2]].shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match='train/a/2.jpg: cannot be read as an image'):
        train.images[:]


def test_an_unknown_resize_is_refused(photographs):
    with pytest.raises(ValueError, match="unknown resize 'fit'; valid: margin, square, stretched"):
        data.read_folder(photographs, image_size=8, resize='fit')


def test_the_checksum_of_an_array_is_that_of_its_bytes():
    made = data.fake().train
    assert data.checksum(made) == zlib.crc32(made.labels, zlib.crc32(made.images))


def test_the_checksum_of_files_sees_names_sizes_and_views(photographs):
    def found(**options):
        return data.checksum(
            data.read_folder(photographs, lazy=True, **{'image_size': 8, **options}).train
        )

    first = found()
    assert first == found() and len({first, found(image_size=9), found(resize='stretched')}) == 3
    (photographs / 'train' / 'a' / '2.jpg').rename(photographs / 'train' / 'a' / '4.jpg')
    renamed = found()
    smooth(40, 40).save(photographs / 'train' / 'a' / '4.jpg')
    assert len({first, renamed, found()}) == 3


def test_large_folders_stay_on_disk(photographs, monkeypatch):
    assert isinstance(data.load(photographs, image_size=8).train.images, np.ndarray)
    monkeypatch.setattr(folder, 'LAZY_ABOVE', 7 * 8 * 8 * 3 - 1)
    for lazy_, kind in ((None, data.FolderImages), (False, np.ndarray)):
        dataset = data.load(photographs, image_size=8, lazy=lazy_)
        assert isinstance(dataset.train.images, kind) and isinstance(dataset.test.images, kind)


def test_lazy_has_no_meaning_elsewhere():
    assert isinstance(data.load('digits', lazy=False).train.images, np.ndarray)
    with pytest.raises(ValueError, match="lazy is for image folders; 'digits' is read into memory"):
        data.load('digits', lazy=True)


def test_mean_and_std_of_a_folder_on_disk(photographs, monkeypatch):
    whole, later = (
        data.load(photographs, image_size=8, lazy=lazy_).spec for lazy_ in (False, True)
    )
    assert whole == later
    monkeypatch.setattr(sources, 'MEASURED', 2)
    sampled = data.load(photographs, image_size=8, lazy=True)
    assert sampled.spec == data.load(photographs, image_size=8, lazy=True).spec != whole
    pairs = [
        data.for_arrays(sampled.train.images[[i, j]], 2, whole.name).mean
        for i in range(5)
        for j in range(i)
    ]
    assert sampled.spec.mean in pairs


def test_imagenet_is_shown_as_its_teachers_are_tested(photographs, monkeypatch):
    row = data.spec('imagenet')._replace(num_classes=2)
    monkeypatch.setitem(data.specs.TABLE, 'imagenet', row)
    photographs.rename(photographs.with_name('imagenet'))
    dataset = data.load('imagenet', data_dir=photographs.parent, lazy=True)
    assert dataset.train.images.resize == 'square' and dataset.test.images.resize == 'margin'
    assert dataset.spec.class_names == ('a', 'b') and dataset.spec.mean == (0.485, 0.456, 0.406)
    assert dataset.test.images[0].shape == dataset.spec.image_shape == (224, 224, 3)


def test_a_real_subset_decodes_only_what_it_holds(photographs, monkeypatch):
    now, later = (data.load(photographs, image_size=8, lazy=lazy_) for lazy_ in (False, True))
    read, before = [], data.FolderImages.read
    monkeypatch.setattr(
        data.FolderImages, 'read', lambda images, i: read.append(i) or before(images, i)
    )
    subset = data.real_subset(jax.random.key(0), later.train, later.spec, ipc=1)
    assert len(read) == 2
    expected = data.real_subset(jax.random.key(0), now.train, now.spec, ipc=1)
    np.testing.assert_array_equal(subset.images, expected.images)


def test_streams_of_stratified_and_mixed_batches_read_files(photographs):
    now, later = (data.load(photographs, image_size=8, lazy=lazy_) for lazy_ in (False, True))
    first, second = (
        next(
            data.with_minibatches(
                data.streamed(d.train, d.spec, per_class=2),
                d.train,
                d.spec,
                num_batches=2,
                batch_size=3,
            ).start(jax.random.key(0), 4)
        )
        for d in (now, later)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert first.real.shape == (2, 2, 8, 8, 3) and first.mixed.images.shape == (2, 3, 8, 8, 3)
