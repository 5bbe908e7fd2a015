"""Students of a set, trained twice, are compared by their spread and a tolerance."""

import pytest

from experiments.stages import rescoring


def test_two_groups_of_students_are_compared():
    # s_1^2 = 0.01, s_2^2 = 0.02: 2 sqrt(0.01 / 3 + 0.02 / 2) + 0.02 = 0.250940
    found = rescoring.compared((0.4, 0.5, 0.6), (0.5, 0.7))
    assert (found.now, found.then) == pytest.approx((0.5, 0.6))
    assert found.allowed == pytest.approx(0.250940) and found.holds
    # one student has no spread: 0.02 alone, or the other group's, 2 sqrt(0.01 + 0.01 / 3) + 0.02
    assert rescoring.compared((0.5,), (0.53,)) == (0.5, 0.53, 0.02)
    assert (
        not rescoring.compared((0.5,), (0.53,)).holds and rescoring.compared((0.5,), (0.51,)).holds
    )
    for groups in (((0.5,), (0.4, 0.5, 0.6)), ((0.4, 0.5, 0.6), (0.5,))):
        assert rescoring.compared(*groups).allowed == pytest.approx(0.250940)


def test_a_line_says_both_accuracies_and_what_is_allowed():
    now = {'network': 'mlp', 'protocol': 'quick', 'precision': 'f32', 'hardware': '2 x cpu'}
    then = {**now, 'hardware': '1 x tpu', 'per_seed': [0.4, 0.5, 0.6]}
    # one against three: 2 sqrt(0.01 + 0.01 / 3) + 0.02 = 0.250940
    for accuracy, difference in ((0.5, '+0.00 points, within'), (0.8, '+30.00 points, OUTSIDE')):
        found = rescoring.compared([accuracy], then['per_seed'])
        assert rescoring.said({**now, 'per_seed': [accuracy]}, then, found) == (
            f'mlp, quick, f32: {100 * accuracy:.2f} % of 1 students on 2 x cpu, 50.00 % of 3 when '
            f'packed on 1 x tpu; difference {difference} 25.09 (two standard errors and 2)'
        )
