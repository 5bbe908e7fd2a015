"""Confusion counts: what is kept of them, added up over students and over sets."""

import numpy as np
import pytest

from jaxdd.reporting import confusion

# of class 0 three of four are right, of class 1 one of two; class 2 has no test images
COUNTS = np.array([[3, 1, 0], [0, 1, 1], [0, 0, 0]])
OTHER = np.array([[1, 1, 2], [2, 0, 0], [0, 0, 0]])
NAMES = ['a', 'b', 'c']


def test_of_few_classes_everything_is_kept():
    assert confusion.kept(COUNTS) == {
        'right': [3, 1, 0],
        'total': [4, 2, 0],
        'counts': [[3, 1, 0], [0, 1, 1], [0, 0, 0]],
    }


@pytest.mark.parametrize('classes, whole', [(confusion.MOST, True), (confusion.MOST + 1, False)])
def test_of_many_classes_the_matrix_is_left_out(classes, whole):
    found = confusion.kept(np.eye(classes, dtype=int))
    assert ('counts' in found) == whole and found['right'] == [1] * classes


def test_students_are_added_up():
    found = confusion.of_students('net', [confusion.kept(COUNTS), confusion.kept(OTHER)], NAMES)
    assert found['per_class'] == {
        'student': 'net',
        'seeds': 2,
        'classes': NAMES,
        'accuracy': [4 / 8, 1 / 4, None],
    }
    assert found['confusion'] == {
        'student': 'net',
        'seeds': 2,
        'counts': [[4, 2, 2], [2, 1, 1], [0, 0, 0]],
    }


def test_a_student_without_counts_leaves_both_parts_out():
    assert confusion.of_students('net', [confusion.kept(COUNTS), None], NAMES) == {}
    assert confusion.of_students('net', [], NAMES) == {}


def test_without_matrices_classes_are_still_told():
    some = {name: confusion.kept(COUNTS)[name] for name in ('right', 'total')}
    assert list(confusion.of_students('net', [some], NAMES)) == ['per_class']


def test_sets_are_taken_together():
    sets = [confusion.of_students('net', [confusion.kept(one)], NAMES) for one in (COUNTS, OTHER)]
    found = confusion.pooled(sets)
    assert found['per_class']['accuracy'] == [(3 / 4 + 1 / 4) / 2, (1 / 2 + 0) / 2, None]
    assert found['per_class']['seeds'] == found['confusion']['seeds'] == 2
    assert found['confusion']['counts'] == (COUNTS + OTHER).tolist()
    assert sets[0]['confusion']['counts'] == COUNTS.tolist()
    assert confusion.pooled([sets[0], {}]) == {}


def test_shares_are_of_rows():
    np.testing.assert_array_equal(
        confusion.shares(COUNTS.tolist()), [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]]
    )
