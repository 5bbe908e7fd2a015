"""What a distilled set says of itself is true of its arrays, or it is refused."""

import numpy as np
import pytest

from jaxdd.storage import distilled_set, manifest, seal
from jaxdd.types import SyntheticSet

MEAN, STD, NAMES = (0.5,), (0.2,), ('cat', 'dog')
DATA = {'name': 'made', 'classes': 2, 'checksums': [1, 2], 'licence': 'ours'}
DECODE = {'factor': 2, 'order': 'row', 'space': 'normalised', 'form': 'single'}


def made(stored=False, labels=None, **changes):
    """A set, what is stored of it, and what it says of itself."""
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 4, 1)).astype(np.float32)
    hard = np.repeat(np.eye(2, dtype=np.float32)[:, None], 4, axis=1)
    synthetic = SyntheticSet(images, hard if labels is None else labels)  # pyright: ignore
    kept = images[:, :1] if stored else None
    how = {'stored': kept, 'dataset': DATA, 'decode': DECODE if stored else None}
    return synthetic, kept, distilled_set.described(synthetic, **{**how, **changes})


def save(path, synthetic, kept, info):
    how = {'mean': MEAN, 'std': STD, 'class_names': NAMES}
    distilled_set.save_npz(path, synthetic, stored=kept, info=info, **how)
    return path


@pytest.mark.parametrize('stored', [False, True])
def test_what_is_true_is_believed(tmp_path, stored):
    synthetic, kept, info = made(stored)
    _, about = distilled_set.load_npz(save(tmp_path / 'x.npz', synthetic, kept, info))
    assert about['info'] == info
    # 4 bytes per value of 2 classes of 4x4 images: 4 whole ones, or 1 mosaic
    assert info['bytes'] == {'images': 4 * 2 * (1 if stored else 4) * 16, 'labels': 0}
    assert info['labels'] == {
        'kind': 'hard',
        'shown': 'hard',
        'teachers': [],
        'temperature': None,
    }


@pytest.mark.parametrize(
    'labels, kind',
    [
        ([[[1, 0]], [[0, 1]]], 'hard'),
        ([[[0, 1]], [[1, 0]]], 'probabilities'),  # one-hot, and each another class's
        ([[[0.9, 0.1]], [[0.4, 0.6]]], 'probabilities'),
        ([[[2, -1]], [[0, 1]]], 'logits'),
    ],
)
def test_kinds_of_labels(labels, kind):
    assert manifest.kind(np.array(labels, np.float32)) == kind


@pytest.mark.parametrize(
    'stored, changes, words',
    [
        (False, {'space': 'whitened'}, 'info.space says whitened, its arrays normalised'),
        (False, {'space': 'grey'}, 'info.space'),
        (False, {'version': 2}, 'version 2 .* reads up to 1: update'),
        (False, {'format': 'mine'}, 'info.format'),
        (False, {'dataset': {**DATA, 'classes': 3}}, 'dataset.classes says 3, its arrays 2'),
        (False, {'dataset': {'name': 'made'}}, 'info.dataset'),
        (
            False,
            {'labels': {**distilled_set.HARD, 'kind': 'logits'}},
            'labels.kind says logits, its arrays hard',
        ),
        (False, {'bytes': {'images': 1, 'labels': 0}}, "bytes says {'images': 1"),
        (False, {'decode': DECODE}, 'decode says .* stored whole'),
        (True, {'decode': None}, 'decode says None, .* stored as mosaics'),
        (True, {'decode': {**DECODE, 'factor': 3}}, 'makes 9 images per class, and there are 4'),
        (True, {'decode': {**DECODE, 'order': 'spiral'}}, 'info.decode'),
    ],
)
def test_what_is_not_true_is_refused(tmp_path, stored, changes, words):
    synthetic, kept, info = made(stored)
    with pytest.raises(ValueError, match=words):
        save(tmp_path / 'x.npz', synthetic, kept, {**info, **changes})
    assert not (tmp_path / 'x.npz').exists()


def test_labels_of_other_classes_are_not_hard(tmp_path):
    swapped = np.repeat(np.eye(2, dtype=np.float32)[::-1, None], 4, axis=1)
    synthetic, kept, info = made(labels=swapped)
    info['labels']['kind'] = 'hard'
    with pytest.raises(ValueError, match='says hard, its arrays probabilities'):
        save(tmp_path / 'x.npz', synthetic, kept, info)


def test_a_file_that_says_nothing_is_read_as_before(tmp_path):
    synthetic, kept, _ = made()
    assert distilled_set.load_npz(save(tmp_path / 'x.npz', synthetic, kept, {'method': 'dm'}))


def test_no_change_of_a_byte_is_read(tmp_path):
    """Every byte at least once, in files of every kind of content."""
    path = save(tmp_path / 'x.npz', *made(True))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    places = np.unique(
        np.r_[: len(whole) : max(1, len(whole) // 1000), len(whole) - 300 : len(whole)]
    )
    assert len(places) >= 1000
    for at in places:
        content = bytearray(whole)
        content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        with pytest.raises(ValueError, match='x.npz'):
            distilled_set.load_npz(path)


@pytest.mark.parametrize(
    'change', [lambda b: b[:-1], lambda b: b + b'\0', lambda b: b[:100], bytes.lower]
)
def test_a_file_that_was_cut_or_grew_is_refused(tmp_path, change):
    path = save(tmp_path / 'x.npz', *made())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match='x.npz'):
        distilled_set.load_npz(path)


def test_numpy_reads_a_sealed_file(tmp_path):
    synthetic, kept, info = made()
    with np.load(save(tmp_path / 'x.npz', synthetic, kept, info)) as file:
        np.testing.assert_array_equal(file['images'], synthetic.images)


def test_only_a_zip_file_without_a_comment_is_sealed():
    for content in (b'', b'no zip file at all, but long enough'):
        with pytest.raises(ValueError, match='only a zip file'):
            seal.sealed(content)
