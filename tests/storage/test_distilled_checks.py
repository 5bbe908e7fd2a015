"""Where the checks of a distilled set draw the line: just inside passes, just outside does not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.storage import distilled_checks
from jaxdd.types import SyntheticSet

MEAN, STD = np.float32([0.25]), np.float32([0.5])
LEVELS = np.arange(20, 36, dtype=np.uint8).reshape(2, 2, 2, 2, 1)  # two classes of two images
IMAGES = (LEVELS / np.float32(255) - MEAN) / STD


def check(labels=((1.0, 0.0), (0.5, 0.5)), levels=LEVELS, images=IMAGES, rate=None):
    rows = np.broadcast_to(np.float32(labels), (2, 2, 2))
    about = {
        'mean': MEAN,
        'std': STD,
        'images_uint8': levels,
        'class_names': ('cat', 'dog'),
        'info': {},
    }
    distilled_checks.check(SyntheticSet(images, rows, rate), about)


def test_rows_within_a_hundredth_of_1_are_probabilities_others_between_0_and_1_are_refused():
    check(((0.995, 0.0), (0.5, 0.508)))
    with pytest.raises(ValueError, match='image 1 of class 0 sum to 0.97; every row must sum to 1'):
        check(((1.0, 0.0), (0.5, 0.47)))


def test_labels_that_leave_0_to_1_are_logits_of_any_sum():
    check(((3.0, -2.0), (0.5, 0.1)))
    check(((-0.1, 0.2), (0.5, 0.1)))


def test_one_grey_level_is_rounding_and_two_are_another_image():
    check(levels=LEVELS + np.uint8(1))
    changed = LEVELS.copy()
    changed[1, 0, 1, 1] -= 2
    with pytest.raises(ValueError, match=r'by up to 2 grey levels \(class 1, image 0\)'):
        check(levels=changed)


def test_bfloat16_is_floating_and_integers_are_not():
    assert distilled_checks.is_floating(np.zeros(1, jnp.bfloat16))
    assert not distilled_checks.is_floating(np.zeros(1, np.int32))
    with pytest.raises(ValueError, match='normalised floats, at least one per class, got int32'):
        check(images=IMAGES.astype(np.int32))


@pytest.mark.parametrize('rate', [0.0, -1.0, np.nan, np.inf, (0.1, 0.1)])
def test_a_learning_rate_is_one_positive_number(rate):
    check(rate=np.float32(1e-6))
    with pytest.raises(ValueError, match='learning_rate must be one positive number, got'):
        check(rate=np.float32(rate))


def test_json_has_no_infinity():
    assert distilled_checks.json_text({'b': 1, 'a': [0.5]}) == '{"a": [0.5], "b": 1}'
    for wrong in ({'a': np.inf}, {'a': object()}, [1]):
        with pytest.raises(ValueError, match='info must be JSON with finite numbers'):
            distilled_checks.json_text(wrong)
