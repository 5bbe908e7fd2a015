"""What a form of a distilled set can hold, and a set made of what a file holds."""

import numpy as np
import pytest

from jaxdd.exchange import forms
from jaxdd.exchange.forms import Artifact, Decode, Form, Told, assemble
from jaxdd.storage import distilled_set
from jaxdd.storage.distilled_checks import check
from jaxdd.types import SyntheticSet

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)
NAMES = ('cat', 'dog')
PLAIN = Form(lambda *_: (), lambda *_: None, frozenset())  # pyright: ignore
ABLE = PLAIN._replace(holds=frozenset(forms.HOLDABLE))
FORMS = {'plain': PLAIN, 'able': ABLE}


def told(space='unit', **changes):
    return Told(space, NAMES, MEAN, STD)._replace(**changes)


def pixels(count=2):
    return np.random.default_rng(0).random((2, count, 4, 4, 3), np.float32)


def test_pixels_are_normalised_and_pass_every_check():
    found = assemble(pixels(), None, told())
    check(found.synthetic, found.about)
    np.testing.assert_allclose(
        found.synthetic.images[1, 0, 2, 3], (pixels()[1, 0, 2, 3] - MEAN) / STD, rtol=1e-5
    )
    np.testing.assert_array_equal(found.synthetic.labels, [[[1, 0]] * 2, [[0, 1]] * 2])
    np.testing.assert_allclose(forms.to_unit(found, found.synthetic.images), pixels(), atol=1e-6)


def test_a_mosaic_is_cut_column_by_column_or_row_by_row():
    for order in ('column', 'row'):
        found = assemble(pixels(1), None, told(decode=Decode(2, order, 'unit')))
        check(found.synthetic, found.about)
        assert found.synthetic.images.shape == (2, 4, 4, 4, 3)
        second = forms.to_unit(found, np.asarray(found.synthetic.images))[0, 1]
        corner = (2, 0) if order == 'column' else (0, 2)  # half-pixel centres, edges clamped
        np.testing.assert_allclose(second[0, 0], pixels(1)[0, 0][corner], atol=1e-6)
        images, labels = forms.stored(found)
        np.testing.assert_array_equal(images, pixels(1))
        assert labels.shape == (2, 1, 2)


@pytest.mark.parametrize(
    'images, labels, changes, words',
    [
        (2 * pixels(), None, {}, r'in \[0, 1\], but reach from .* another one'),
        (pixels(), None, {'space': 'whitened'}, 'a whitening is missing'),
        (pixels(), None, {'space': 'grey'}, "'grey'"),
        (pixels(1), None, {'decode': Decode(2, 'row', 'normalised')}, 'normalised pixels in a'),
        (
            pixels(1),
            np.full((2, 1, 2), 0.5, np.float32),
            {'decode': Decode(2, 'row', 'unit')},
            'share its label',
        ),
        (pixels(1), None, {'decode': Decode(0, 'row', 'unit')}, 'factor'),
    ],
)
def test_what_does_not_fit_is_refused(images, labels, changes, words):
    with pytest.raises(ValueError, match=words):
        assemble(images, labels, told(**changes))


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda s: s._replace(labels=np.full_like(s.labels, 0.5)), 'soft labels would become hard'),
        (lambda s: s._replace(learning_rate=0.01), 'learning rate would be lost'),
    ],
)
def test_a_form_that_would_lose_something_is_refused_and_names_another(change, words):
    found = assemble(pixels(), None, told())
    forms.require_holds('plain', found, FORMS)
    changed = Artifact(change(found.synthetic), found.about)
    with pytest.raises(ValueError, match=f'{words}.*Write it as able'):
        forms.require_holds('plain', changed, FORMS)
    forms.require_holds('able', changed, FORMS)


def test_mosaics_may_be_written_whole():
    found = assemble(pixels(1), None, told(decode=Decode(2, 'row', 'unit')))
    with pytest.raises(ValueError, match='mosaics would be taken .*decoded=True'):
        forms.require_holds('plain', found, FORMS)
    forms.require_holds('plain', forms.decoded(found), FORMS)
    images, _ = forms.stored(forms.decoded(found))
    assert images.shape[1] == 4


def test_compensators_are_no_images():
    found = assemble(pixels(), None, told())
    instances = Artifact(found.synthetic, {**found.about, 'stored': {'natural': 0}})
    with pytest.raises(ValueError, match='only npz holds'):
        forms.stored(instances)


def test_it_becomes_a_file_of_ours(tmp_path):
    found = assemble(pixels(1), None, told(decode=Decode(2, 'row', 'unit'), info={'method': 'idc'}))
    about = dict(found.about)
    del about['images_uint8']
    distilled_set.save_npz(tmp_path / 'set.npz', found.synthetic, **about)
    synthetic, kept = distilled_set.load_npz(tmp_path / 'set.npz')
    assert isinstance(synthetic, SyntheticSet)
    np.testing.assert_array_equal(kept['stored'], pixels(1))
    assert kept['info']['decode'] == Decode(2, 'row', 'unit')._asdict()
