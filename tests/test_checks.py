"""The checks of public edges: what they let through and what they say."""

import numpy as np
import pytest

from jaxdd.checks import images_per_class, labelled_images, one_of

IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 1])


def test_one_of_names_valid_values_and_the_nearest():
    one_of('data set', 'cifar10', ('mnist', 'cifar10'))
    one_of('factor', 2, (1, 2))
    message = r"^unknown data set 'cifr10'; valid: cifar10, mnist\. Did you mean 'cifar10'\?$"
    with pytest.raises(ValueError, match=message):
        one_of('data set', 'cifr10', ('mnist', 'cifar10'))


def test_one_of_does_not_guess_wildly():
    with pytest.raises(ValueError, match='valid: cifar10, mnist.$'):
        one_of('data set', 'zzz', iter(('mnist', 'cifar10')))


@pytest.mark.parametrize('dtype', [np.int32, np.int64, np.uint8])
def test_labelled_images_lets_a_labelled_set_through(dtype):
    labelled_images(IMAGES, LABELS.astype(dtype), 3, where='here')
    labelled_images(IMAGES[..., :1], LABELS, 3, where='here')


@pytest.mark.parametrize(
    'images, labels, message',
    [
        (IMAGES[0], LABELS, r'images must be \[N, height, width, 1 or 3\], got shape \(8, 8, 3\)'),
        (IMAGES[..., :2], LABELS, r'got shape \(4, 8, 8, 2\)'),
        (
            IMAGES.astype(np.float32),
            LABELS,
            'images must be uint8 in 0..255, got float32; convert with',
        ),
        (IMAGES, LABELS[:3], r'\[4\], got shape \(3,\)'),
        (IMAGES, LABELS[:, None], r'got shape \(4, 1\)'),
        (IMAGES, LABELS.astype(float), 'labels must be integers, got float64'),
        (IMAGES, LABELS + 1, r'labels must lie in 0..2, got 1..3'),
        (IMAGES, LABELS - 1, r'labels must lie in 0..2, got -1..1'),
        (IMAGES, np.array([0, 2, 2, 0]), 'class 1 has no images'),
    ],
)
def test_labelled_images_says_where_and_what(images, labels, message):
    with pytest.raises(ValueError, match=f'^here: .*{message}'):
        labelled_images(images, labels, 3, where='here')


def test_images_per_class_knows_the_smallest_class():
    images_per_class(1, [5, 3, 9])
    images_per_class(3, np.array([5, 3, 9]))
    for ipc in (0, -1, 4):
        with pytest.raises(ValueError, match=rf'class 1 has 3 images\), got {ipc}'):
            images_per_class(ipc, [5, 3, 9])
