"""ZCA against the authors' (kornia's) numbers, by hand, and where nothing varies."""

import numpy as np
import pytest

from jaxdd import whitening
from jaxdd.whitening import Whitening


def of_reference(golden):
    """The whitening whose covariance is that of the reference's float images."""
    rows = golden['train'].reshape(30, -1).astype(np.float64)
    variances, vectors = np.linalg.eigh(np.cov(rows.T))
    return Whitening(rows.mean(0), vectors, np.maximum(variances, 0))


def test_whitened_images_and_the_way_back_are_the_authors(reference):
    golden = reference('cmi_zca')
    how = of_reference(golden)
    for half in ('train', 'test'):
        found = whitening.whiten(how, golden[half].astype(np.float64))
        np.testing.assert_allclose(found, golden[f'{half}_white'], rtol=1e-9, atol=1e-9)
    back = whitening.unwhiten(how, golden['test_white'])
    np.testing.assert_allclose(back, golden['test_roundtrip'], rtol=1e-9, atol=1e-9)


def test_the_matrix_is_the_authors(reference):
    golden = reference('cmi_zca')
    how = of_reference(golden)
    matrix = (how.vectors * (how.variances + 0.1) ** -0.5) @ how.vectors.T
    np.testing.assert_allclose(matrix, golden['T'], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(how.mean, golden['mean'][0], rtol=1e-9)


def test_the_fit_is_numpys_covariance(reference):
    images = (reference('cmi_zca')['train'] * 255).round().astype(np.uint8)
    how = whitening.fit(images)
    rows = images.reshape(30, -1) / 255
    covariance = (how.vectors * how.variances) @ how.vectors.T
    np.testing.assert_allclose(covariance, np.cov(rows.T), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(how.mean, rows.mean(0), rtol=1e-12)


def test_by_hand():
    # two pixels that always agree, 0 and 1: covariance [[.5, .5], [.5, .5]], variances 0 and 1
    images = np.array([0, 0, 255, 255], np.uint8).reshape(2, 1, 2, 1)
    how = whitening.fit(images)
    np.testing.assert_allclose(how.variances, [0, 1], atol=1e-12)
    white = whitening.whiten(how, images / 255)
    np.testing.assert_allclose(white.ravel(), [-0.5, -0.5, 0.5, 0.5] / np.sqrt(1.1), atol=1e-12)


def test_a_set_without_variation_comes_back_whole():
    images = np.full((3, 2, 2, 1), 128, np.uint8)
    how = whitening.fit(images)
    np.testing.assert_array_equal(how.variances, 0)
    white = whitening.whiten(how, images / 255)
    np.testing.assert_allclose(white, 0, atol=1e-12)
    np.testing.assert_allclose(whitening.unwhiten(how, white), 128 / 255)


def test_sums_do_not_depend_on_how_they_are_cut(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
    whole = whitening.fit(images)
    monkeypatch.setattr(whitening, '_ROWS', 7)
    for one, other in zip(whole, whitening.fit(images)):
        np.testing.assert_array_equal(one, other)


def test_the_identity_survives_float32_and_other_eigenvectors():
    how = whitening.fit(np.random.default_rng(0).integers(0, 256, (9, 2, 2, 3), np.uint8))
    kept = Whitening(*(np.float32(value) for value in how))
    assert whitening.identity(kept) == whitening.identity(how)
    assert whitening.identity(how._replace(vectors=-how.vectors)) == whitening.identity(how)
    assert whitening.identity(how._replace(eps=0.2)) != whitening.identity(how)
    assert whitening.identity(how._replace(mean=how.mean + 1e-3)) != whitening.identity(how)


def test_whitened_directions_have_the_variance_that_eps_leaves():
    images = np.random.default_rng(0).integers(0, 256, (500, 2, 2, 1), np.uint8)
    how = whitening.fit(images)
    rows = whitening.whiten(how, images / 255).reshape(500, -1)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(rows.T)), np.sort(how.variances / (how.variances + 0.1))
    )


def test_dtype_and_leading_axes_are_kept():
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 2, 3), np.uint8)
    how = whitening.fit(images)
    some = (images / 255).astype(np.float32).reshape(3, 3, 2, 2, 3)
    white = whitening.whiten(how, some)
    assert white.shape == some.shape and white.dtype == np.float32
    np.testing.assert_allclose(whitening.unwhiten(how, white), some, atol=1e-5)


@pytest.mark.parametrize(
    'images, said',
    [
        (np.zeros((1, 2, 2, 1), np.uint8), 'at least two uint8 images, got 1 of uint8'),
        (np.zeros((5, 2, 2, 1), np.float32), 'got 5 of float32'),
        (np.zeros((2, 65, 64, 3), np.uint8), r'12,480 numbers are too large .* at most 12,288'),
    ],
)
def test_what_cannot_be_fitted_is_refused(images, said):
    with pytest.raises(ValueError, match=said):
        whitening.fit(images)


GOOD = Whitening(np.zeros(12), np.eye(12), np.ones(12))


@pytest.mark.parametrize(
    'changed, said',
    [
        ({'mean': np.zeros(3)}, r'mean of a whitening of images \(2, 2, 3\) must be .* \(12,\)'),
        ({'vectors': np.ones((12, 11))}, 'vectors of a whitening'),
        ({'variances': np.full(12, np.nan)}, 'variances of a whitening'),
        ({'variances': -np.ones(12)}, 'at least 0 and eps above 0'),
        ({'eps': 0.0}, 'eps above 0'),
    ],
)
def test_what_whitens_nothing_is_refused(changed, said):
    whitening.check(GOOD, (2, 2, 3))
    with pytest.raises(ValueError, match=said):
        whitening.check(GOOD._replace(**changed), (2, 2, 3))
