"""Distilled sets as DD-Ranking takes them, there and back."""

import numpy as np
import pytest
from PIL import Image

from jaxdd import whitening
from jaxdd.data import specs
from jaxdd.exchange import forms
from jaxdd.exchange.forms import Decode, Told, assemble
from jaxdd.exchange.ranking import CONSTANTS, DDRANKING
from jaxdd.storage.distilled_checks import check

torch = pytest.importorskip('torch')

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)
HOW = whitening.fit(np.random.default_rng(1).integers(0, 256, (60, 4, 4, 3), np.uint8))
HOW = whitening.Whitening(*(np.float32(value) for value in HOW))  # pyright: ignore
CIFAR = specs.TABLE['cifar10']


def told(space='normalised', dataset='cifar10', **changes):
    count = specs.TABLE[dataset].num_classes if dataset in specs.TABLE else 10
    names = tuple(f'class {c}' for c in range(count))
    info = {'dataset': dataset}
    given = Told(space, names, MEAN, STD, info=info)  # pyright: ignore
    return given._replace(**({'whitening': HOW} if space == 'whitened' else {}) | changes)


def images(classes=10):
    return np.random.default_rng(0).normal(size=(classes, 2, 4, 4, 3)).astype(np.float32)


def plain(space='normalised', labels=None, learning_rate=None, **changes):
    return assemble(images(), labels, told(space, **changes), learning_rate=learning_rate)


def loaded(folder, name='images'):
    return torch.load(folder / f'{name}.pt', weights_only=True)


@pytest.mark.parametrize(
    'dataset, mean, std',
    [
        ('cifar10', (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ('cifar100', (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ('tiny_imagenet', (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ('imagewoof', (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_images_have_the_constants_of_ddranking(tmp_path, dataset, mean, std):
    """Class 1, image 1, row 2, column 0 is the fourth image's, in every channel."""
    how = told(dataset=dataset)
    given = images(len(how.class_names))
    artifact = assemble(given, None, how)
    written = DDRANKING.write(artifact, tmp_path)
    assert written[0] == tmp_path / 'images.pt'
    kept = loaded(tmp_path)
    assert kept.dtype == torch.float32 and kept.shape == (2 * len(given), 3, 4, 4)
    for channel in range(3):
        pixel = float(given[1, 1, 2, 0, channel]) * STD[channel] + MEAN[channel]
        wanted = (pixel - mean[channel]) / std[channel]
        assert kept[3, channel, 2, 0].item() == pytest.approx(wanted, abs=1e-6)
    found = DDRANKING.read(tmp_path, how)
    check(found.synthetic, found.about)
    np.testing.assert_allclose(found.synthetic.images, given, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.synthetic.labels, artifact.synthetic.labels)
    assert not (tmp_path / 'soft_labels.pt').exists() and not (tmp_path / 'syn_lr.pt').exists()


def test_constants_that_are_alike_change_no_bit(tmp_path):
    how = told(mean=CIFAR.mean, std=CIFAR.std)
    DDRANKING.write(assemble(images(), None, how), tmp_path)
    kept = loaded(tmp_path).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(kept, images().reshape(-1, 4, 4, 3))
    np.testing.assert_array_equal(DDRANKING.read(tmp_path, how).synthetic.images, images())


def test_constants_are_those_of_sets_that_are_known():
    assert set(CONSTANTS) < set(specs.TABLE)
    assert CONSTANTS['cifar100'][0] == (0.4914, 0.4822, 0.4465)


def test_probabilities_are_written_as_logits_and_come_back(tmp_path):
    labels = np.full((10, 2, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)[:, None]
    artifact = plain(labels=labels, learning_rate=0.02)
    DDRANKING.write(artifact, tmp_path)
    kept = loaded(tmp_path, 'soft_labels')
    assert kept.shape == (20, 10) and kept.dtype == torch.float32
    np.testing.assert_allclose(torch.softmax(kept, 1), labels.reshape(20, 10), atol=1e-6)
    assert kept[2, 1] - kept[2, 0] == pytest.approx(np.log(11), rel=1e-6)
    assert loaded(tmp_path, 'syn_lr').item() == pytest.approx(0.02)
    found = DDRANKING.read(tmp_path, told())
    check(found.synthetic, found.about)
    np.testing.assert_allclose(found.synthetic.labels, labels, atol=1e-6)
    assert found.synthetic.learning_rate == pytest.approx(0.02)


def test_logits_stay_as_they_are(tmp_path):
    labels = 5 * np.random.default_rng(2).normal(size=(10, 2, 10)).astype(np.float32)
    DDRANKING.write(plain(labels=labels), tmp_path)
    np.testing.assert_array_equal(loaded(tmp_path, 'soft_labels'), labels.reshape(20, 10))
    np.testing.assert_array_equal(DDRANKING.read(tmp_path, told()).synthetic.labels, labels)


def test_whitened_images_are_written_as_they_are_and_without_pictures(tmp_path):
    artifact = plain('whitened')
    assert DDRANKING.write(artifact, tmp_path) == (tmp_path / 'images.pt',)
    found = DDRANKING.read(tmp_path, told('whitened'))
    check(found.synthetic, found.about)
    np.testing.assert_array_equal(found.synthetic.images, images())


def test_pictures_lie_in_folders_of_their_class_without_loss_of_grey_levels(tmp_path):
    artifact = plain()
    written = DDRANKING.write(artifact, tmp_path)
    assert len(written) == 1 + 20 and all(path.is_file() for path in written)
    path = tmp_path / 'pictures' / '00001' / '00001.png'
    assert path in written
    with Image.open(path) as picture:
        np.testing.assert_array_equal(picture, artifact.about['images_uint8'][1, 1])
    for root in (tmp_path, tmp_path / 'pictures'):
        found = DDRANKING.read(root, told('unit'))
        check(found.synthetic, found.about)
        np.testing.assert_array_equal(found.about['images_uint8'], artifact.about['images_uint8'])


def test_pictures_of_others_are_read_in_the_order_of_their_names(tmp_path):
    for c, grey in ((0, 10), (1, 200)):
        (tmp_path / f'{c:05d}').mkdir()
        Image.new('L', (4, 4), grey).save(tmp_path / f'{c:05d}' / '00000.png')
        Image.new('RGB', (4, 4), (0, grey, 255)).save(
            tmp_path / f'{c:05d}' / '00001.jpg', quality=95
        )
    found = DDRANKING.read(tmp_path, told('unit', class_names=('a', 'b'), info={}))
    levels = found.about['images_uint8']
    assert levels.shape == (2, 2, 4, 4, 3) and (levels[1, 0] == 200).all()
    np.testing.assert_allclose(levels[0, 1, 0, 0], [0, 10, 255], atol=3)


@pytest.mark.parametrize('said', ['CIFAR-10', 'CIFAR10', 'cifar10'])
def test_a_data_set_is_known_by_any_of_its_spellings(tmp_path, said):
    DDRANKING.write(plain(info={'dataset': said}), tmp_path / 'a')
    DDRANKING.write(plain(info={'config': {'dataset': said}}), tmp_path / 'b')
    torch.testing.assert_close(loaded(tmp_path / 'a'), loaded(tmp_path / 'b'), rtol=0, atol=0)


@pytest.mark.parametrize(
    'artifact, words',
    [
        (lambda: plain(info={'dataset': 'digits'}), "the set's info names digits as its dataset"),
        (lambda: plain(info={}), "the set's info names none as its dataset"),
        (lambda: plain(info={'dataset': 'cifar100'}), '100 classes in ddranking, the set has 10'),
        (lambda: plain(decode=Decode(2, 'row', 'normalised')), 'mosaics would be taken for whole'),
        (
            lambda: assemble(images()[..., :1], None, told(mean=MEAN[:1], std=STD[:1])),
            '3 channels, got 1',
        ),
    ],
)
def test_a_set_that_ddranking_cannot_take_is_not_written(tmp_path, artifact, words):
    with pytest.raises(ValueError, match=words):
        DDRANKING.write(artifact(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_holds_all_but_mosaics():
    labels = np.full((10, 2, 10), 0.1, np.float32)
    whole = plain('whitened', labels, 0.1)
    assert not forms.missing(whole, DDRANKING)
    assert set(forms.missing(plain(decode=Decode(2, 'row', 'normalised')), DDRANKING)) == {
        'mosaics'
    }


def test_files_of_another_set_are_not_left_beside(tmp_path):
    DDRANKING.write(plain(learning_rate=0.1), tmp_path / 'a')
    with pytest.raises(ValueError, match='has syn_lr.pt, which would be read as a part'):
        DDRANKING.write(plain(), tmp_path / 'a')
    DDRANKING.write(plain(), tmp_path / 'b')
    fewer = assemble(images()[:, :1], None, told())
    with pytest.raises(ValueError, match='has pictures/00000/00001.png, which would be read'):
        DDRANKING.write(fewer, tmp_path / 'b')


GOOD = torch.zeros(20, 3, 4, 4)


@pytest.mark.parametrize(
    'contents, changes, words',
    [
        ({}, {}, 'no file at .*images.pt'),
        ({'images': GOOD.tolist()}, {}, 'must be a tensor, got list'),
        ({'images': GOOD[:19]}, {}, '19 rows cannot be equally many of 10 classes'),
        ({'images': GOOD.int()}, {}, 'got int32'),
        ({'images': GOOD / 0}, {}, 'image 0 holds values that are not finite'),
        ({'images': GOOD}, {'info': {}}, 'names none as its dataset'),
        ({'images': GOOD}, {'info': {'dataset': 'cifar100'}}, 'the set has 10'),
        ({'images': GOOD}, {'whitening': HOW}, 'a whitening is given'),
        ({'images': GOOD, 'soft_labels': GOOD[:, 0, 0]}, {}, r'floats \(20, 10\), .* \(20, 4\)'),
        ({'images': GOOD, 'syn_lr': torch.tensor(0.0)}, {}, 'one positive number, got float32 0'),
        ({'images': GOOD, 'syn_lr': 'fast'}, {}, 'must be a tensor, got str'),
        ({'images': GOOD}, {'space': 'unit'}, 'must have a folder for each of 10 class names'),
    ],
)
def test_a_malformed_folder_is_refused(tmp_path, contents, changes, words):
    for name, content in contents.items():
        torch.save(content, tmp_path / f'{name}.pt')
    with pytest.raises(ValueError, match=words):
        DDRANKING.read(tmp_path, told()._replace(**changes))


def test_what_is_told_must_fit_the_pictures(tmp_path):
    DDRANKING.write(plain(), tmp_path)
    with pytest.raises(ValueError, match='1 or 3 channels, and mean has 2 numbers'):
        DDRANKING.read(tmp_path, told('unit', mean=MEAN[:2]))


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match='absent must be a folder'):
        DDRANKING.read(tmp_path / 'absent', told())


@pytest.mark.parametrize(
    'sizes, words',
    [
        ([[4], []], 'got 2 folders of 0 to 1 pictures'),
        ([[4]], 'each of 2 class names.* got 1 folders'),
        ([[4], [5]], 'has 5x5 pixels, and the first one 4x4'),
    ],
)
def test_pictures_that_are_no_set_are_refused(tmp_path, sizes, words):
    for c, some in enumerate(sizes):
        (tmp_path / f'{c:05d}').mkdir()
        for i, size in enumerate(some):
            Image.new('RGB', (size, size)).save(tmp_path / f'{c:05d}' / f'{i:05d}.png')
    with pytest.raises(ValueError, match=words):
        DDRANKING.read(tmp_path, told('unit', class_names=('a', 'b'), info={}))
