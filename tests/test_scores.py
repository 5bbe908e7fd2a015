"""The combined scores: values worked out by hand, the published rows, limits and order."""

import math

import pytest

from jaxdd.scores import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)

# HLR and IOR of DD-Ranking's board (CIFAR-10, February 2025), in percent, and LRS in fractions.
BOARD = {
    ('DC', 1): (52.66, 12.40, 0.191),
    ('DC', 10): (36.70, 18.54, 0.232),
    ('DC', 50): (26.31, 12.34, 0.240),
    ('DSA', 10): (35.14, 19.62, 0.237),
    ('DM', 1): (61.37, 8.73, 0.171),
    ('DM', 50): (25.06, 12.66, 0.243),
    ('MTT', 10): (23.73, 30.90, 0.285),
    ('DATM', 10): (26.84, 35.05, 0.287),
    ('SRe2L', 1): (69.86, -0.27, 0.143),
    ('SRe2L', 10): (67.82, -5.77, 0.138),
    ('RDED', 10): (50.65, 1.11, 0.176),
}


def test_the_differences():
    assert hard_label_recovery(0.85, 0.50) == pytest.approx(0.35)
    assert hard_label_recovery(0.5, 0.75) == -0.25
    assert improvement_over_random(0.5, 0.25) == 0.25
    assert improvement_over_random(0.25, 0.5) == -0.25


def test_values_worked_out_by_hand():
    # (1 - 0.36788) / (2.71828 - 0.36788) = 0.63212 / 2.35040
    assert label_robust_score(0, 0) == pytest.approx(0.268941, abs=1e-6)
    # a = 0.5 * 0.2 - 0.5 * 0.4 = -0.1; (0.904837 - 0.367879) / 2.350402
    assert label_robust_score(0.2, 0.4) == pytest.approx(0.228454, abs=1e-6)
    # a = 0.8 * 0.2 - 0.2 * 0.4 = 0.08; (1.083287 - 0.367879) / 2.350402
    assert label_robust_score(0.2, 0.4, weight=0.8) == pytest.approx(0.304377, abs=1e-6)
    # b = 0.5 * 0.2 + 0.5 * 0.1 = 0.15; (1.161834 - 0.367879) / 2.350402
    assert augmentation_robust_score(0.5, 0.3, 0.4, 0.3) == pytest.approx(0.337795, abs=1e-6)
    # b = 0.25 * 0.2 + 0.75 * 0.1 = 0.125; (1.133148 - 0.367879) / 2.350402
    assert augmentation_robust_score(0.5, 0.3, 0.4, 0.3, 0.25) == pytest.approx(0.325591, abs=1e-6)
    assert augmentation_robust_score(0.5, 0.5, 0.4, 0.4) == label_robust_score(0, 0)


@pytest.mark.parametrize('row', BOARD)
def test_the_rows_of_the_board(row):
    hlr, ior, lrs = BOARD[row]
    assert label_robust_score(ior / 100, hlr / 100) == pytest.approx(lrs, abs=1e-3)


def test_limits_and_order():
    assert label_robust_score(-1, 1) == 0 and label_robust_score(1, -1) == 1
    assert augmentation_robust_score(0, 1, 0, 1) == 0 and augmentation_robust_score(1, 0, 1, 0) == 1
    assert label_robust_score(0.3, 1.0, weight=1) == label_robust_score(0.3, -1.0, weight=1)
    steps = [step / 10 for step in range(-10, 11)]
    for worse, better in zip(steps, steps[1:]):
        assert label_robust_score(worse, 0.3) < label_robust_score(better, 0.3)
        assert label_robust_score(0.3, worse) > label_robust_score(0.3, better)
    for worse, better in zip(steps[10:], steps[11:]):
        assert augmentation_robust_score(worse, 0.2, 0.3, 0.2) < augmentation_robust_score(
            better, 0.2, 0.3, 0.2
        )
        assert augmentation_robust_score(0.3, 0.2, 0.3, worse) > augmentation_robust_score(
            0.3, 0.2, 0.3, better
        )


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: hard_label_recovery(85.0, 0.5), 'full must be .* 0 to 1, got 85; divide percents'),
        (lambda: hard_label_recovery(0.85, 50), 'distilled must be .* got 50; divide percents'),
        (lambda: improvement_over_random(0.5, -0.1), 'random must be .* 0 to 1, got -0.1$'),
        (lambda: label_robust_score(12.4, 0.5), 'ior must be .* -1 to 1, got 12.4; divide'),
        (lambda: label_robust_score(0.1, 52.66), 'hlr must be .* got 52.66; divide percents'),
        (lambda: label_robust_score(0.1, 0.5, weight=1.5), 'weight must be .* got 1.5'),
        (lambda: label_robust_score(math.nan, 0.5), 'ior must be .* got nan'),
        (lambda: augmentation_robust_score(50, 0.3, 0.4, 0.3), 'with_aug_syn must be .* got 50'),
        (lambda: augmentation_robust_score(0.5, 0.3, 0.4, 3), 'without_random must be .* got 3'),
        (lambda: augmentation_robust_score(0.5, 0.3, 0.4, 0.3, -1), 'weight must be .* got -1'),
    ],
)
def test_what_is_no_fraction_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
