"""Rows of others: channels first, classes in any order, labels as logits or probabilities."""

import numpy as np
import pytest

from jaxdd.exchange import _rows
from jaxdd.exchange.forms import Told

TOLD = Told('normalised', ('cat', 'dog'), (0.5,), (0.2,))


def test_channels_go_last():
    rows = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
    found = _rows.images(rows, TOLD, 'x.pt')
    assert found.shape == (2, 2, 2, 1) and found[1, 0, 1, 0] == 5


def test_rows_are_grouped_by_class_and_keep_their_order():
    rows = np.arange(4)[:, None]
    found = _rows.by_class(rows, np.array([1, 0, 1, 0]), TOLD, 'x.pt')
    assert found[..., 0].tolist() == [[1, 3], [0, 2]]


@pytest.mark.parametrize(
    'labels, words',
    [
        ([0, 0, 0, 1], 'got 1 of class 1 .dog. and 3 of class 0'),
        ([0, 0, 0, 0], 'got 0 of class 1'),
        ([0, 1, 2, 0], r'2 class names are labels 0..1, got 0..2'),
        ([0.0, 1.0, 0.0, 1.0], 'must be integers'),
    ],
)
def test_labels_that_name_no_set_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        _rows.by_class(np.zeros((4, 1)), np.array(labels), TOLD, 'x.pt')


def test_probabilities_are_their_logarithms_and_come_back():
    labels = np.array([[0.25, 0.75], [1, 0]], np.float32)
    found = _rows.logits(labels)
    np.testing.assert_allclose(found[0], np.log([0.25, 0.75]), rtol=1e-6)
    assert found[1].tolist() == [0, _rows.NEVER]  # no infinity
    np.testing.assert_allclose(_rows.probabilities(found), labels, atol=1e-7)
    np.testing.assert_allclose(_rows.said(found), labels, atol=1e-7)


def test_a_teachers_logits_stay_logits():
    logits = np.array([[3.0, -1.0]], np.float32)
    assert (_rows.logits(logits) == logits).all() and (_rows.said(logits) == logits).all()
    # e^3 / (e^3 + e^-1) = 1 / (1 + e^-4)
    np.testing.assert_allclose(_rows.probabilities(logits)[0, 0], 0.9820138, rtol=1e-6)
