"""A data set after ZCA: what reads it need not know."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, whitening
from jaxdd.data.whitened import save

SET = data.fake()
HOW = whitening.fit(SET.train.images)
WHITE = data.whitened(SET, HOW)


def test_both_halves_are_whitened_by_the_training_half():
    for half in ('train', 'test'):
        raw, white = getattr(SET, half), getattr(WHITE, half)
        assert white.images.dtype == np.float32 and white.labels is raw.labels
        expected = whitening.whiten(HOW, raw.images.astype(np.float32) / np.float32(255))
        np.testing.assert_allclose(white.images, expected, atol=1e-5)


def test_normalise_leaves_them_and_refuses_pixels():
    some = WHITE.train.images[:2]
    np.testing.assert_array_equal(data.normalise(WHITE.spec, some), some)
    with pytest.raises(ValueError, match='must be float32 and whitened, got uint8; whiten them'):
        data.normalise(WHITE.spec, SET.train.images[:2])
    with pytest.raises(AssertionError):
        data.normalise(SET.spec, some)


def test_feeds_give_whitened_images():
    real = data.stratified(WHITE.train, WHITE.spec, per_class=4)(jax.random.key(0), jnp.int32(0))
    raw = data.stratified(SET.train, SET.spec, per_class=4)(jax.random.key(0), jnp.int32(0))
    pixels = data.denormalise(SET.spec, np.asarray(raw.real))
    np.testing.assert_allclose(real.real, whitening.whiten(HOW, pixels), atol=1e-4)
    initial = data.real_subset(jax.random.key(0), WHITE.train, WHITE.spec, ipc=2)
    np.testing.assert_allclose(
        data.pixels(WHITE, initial.images),
        data.pixels(SET, data.real_subset(jax.random.key(0), SET.train, SET.spec, ipc=2).images),
        atol=1e-4,
    )


def test_pixels_are_clipped():
    assert data.pixels(WHITE, 100 * WHITE.test.images).max() == 1
    assert data.pixels(WHITE, -100 * WHITE.test.images).min() == 0


def test_the_checksums_are_those_of_the_pixels():
    assert data.checksums(WHITE) == data.checksums(SET)


def test_the_spec_names_what_whitened_not_what_is_whitened():
    assert WHITE.spec.zca == whitening.identity(HOW) and SET.spec.zca is None
    other = SET._replace(test=SET.test._replace(images=255 - SET.test.images))
    assert data.whitened(other, HOW).spec.zca == WHITE.spec.zca
    assert data.whitened(SET, whitening.fit(255 - SET.train.images)).spec.zca != WHITE.spec.zca
    assert data.whitened(SET, HOW._replace(eps=0.2)).spec.zca != WHITE.spec.zca


def test_the_fit_is_kept_and_used_again(tmp_path, monkeypatch):
    log = []
    first = data.recalled_fit(SET, tmp_path, log=log.append)
    monkeypatch.setattr(whitening, 'fit', None)
    chex.assert_trees_all_equal(data.recalled_fit(SET, tmp_path, log=log.append), first)
    assert len(log) == 1 and 'covariance' in log[0]
    other = SET._replace(train=SET.train._replace(images=255 - SET.train.images))
    with pytest.raises(TypeError):
        data.recalled_fit(other, tmp_path)


@pytest.mark.parametrize('damage', ['byte', 'short', 'other size'])
def test_a_damaged_fit_is_made_again_and_said_so(tmp_path, damage):
    log, first = [], data.recalled_fit(SET, tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == 'byte':
        content[len(content) // 2] ^= 1
    if damage == 'other size':
        small = whitening.fit(SET.train.images[:, :2])
        save(path, small)
        content = path.read_bytes()
    path.write_bytes(content[: -9 if damage == 'short' else None])
    chex.assert_trees_all_equal(data.recalled_fit(SET, tmp_path, log=log.append), first)
    assert 'fitted again' in log[0]
    assert any(one.name.endswith('.damaged') for one in tmp_path.iterdir())


def test_twice_and_on_disk_and_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match='whitened already'):
        data.whitened(WHITE, HOW)
    data.write_jpeg_folder(tmp_path / 'set', num_classes=2, per_class=3, side=8)
    lazy = data.load(tmp_path / 'set', lazy=True)
    with pytest.raises(ValueError, match='stay on disk, but whitening needs them in memory'):
        data.recalled_fit(lazy, tmp_path)
    with pytest.raises(ValueError, match='mean of a whitening'):
        data.whitened(SET, whitening.fit(SET.train.images[:, :2]))
