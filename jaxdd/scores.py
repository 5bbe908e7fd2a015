"""Scores of a distilled set that take labels and augmentation out of the comparison (DD-Ranking).

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", 2025,
https://arxiv.org/abs/2505.13300. All accuracies are fractions in [0, 1], and so are the differences
that enter a combined score: of percents, the exponential overflows or sticks at its lower end.
"""

import math

FLOOR, CEILING = math.exp(-1.0), math.e


def hard_label_recovery(full: float, distilled: float) -> float:
    """HLR: what a student loses against one of the whole real set, both with hard labels.

    HLR = acc(full) - acc(distilled), in [-1, 1]; lower is better.

    Args:
        full: test accuracy after training on all real images.
        distilled: test accuracy after training on the distilled images.

    Raises:
        ValueError: an accuracy that is no fraction; names it.
    """
    return _fraction('full', full) - _fraction('distilled', distilled)


def improvement_over_random(distilled: float, random: float) -> float:
    """IOR: what a student gains over one of as many random real images under the same protocol.

    IOR = acc(distilled) - acc(random), in [-1, 1]; higher is better.

    Args:
        distilled: test accuracy after training on the distilled set, with its own labels.
        random: test accuracy after training on random real images, labelled likewise.

    Raises:
        ValueError: an accuracy that is no fraction; names it.
    """
    return _fraction('distilled', distilled) - _fraction('random', random)


def label_robust_score(ior: float, hlr: float, weight: float = 0.5) -> float:
    """LRS: both differences as one number in [0, 1]; higher is better.

    LRS = (e^a - e^-1) / (e - e^-1) with a = weight IOR - (1 - weight) HLR. A set that is as good as
    random images and as all real ones has IOR = HLR = 0 and 0.2689.

    Args:
        ior: from `improvement_over_random`.
        hlr: from `hard_label_recovery`.
        weight: of IOR, in [0, 1].

    Raises:
        ValueError: a difference that is no fraction, or a weight out of range; names it.
    """
    weight = _fraction('weight', weight)
    return _scaled(weight * _difference('ior', ior) - (1 - weight) * _difference('hlr', hlr))


def augmentation_robust_score(
    with_aug_syn: float,
    with_aug_random: float,
    without_syn: float,
    without_random: float,
    weight: float = 0.5,
) -> float:
    """ARS: the gain over random images with and without augmentation, in [0, 1]; higher is better.

    ARS = (e^b - e^-1) / (e - e^-1), b = weight IOR(with) + (1 - weight) IOR(without).

    Args:
        with_aug_syn, with_aug_random: test accuracy of students whose images are augmented, trained
            on the distilled set and on random real images.
        without_syn, without_random: likewise, without augmentation.
        weight: of the gain with augmentation, in [0, 1].

    Raises:
        ValueError: an accuracy or a weight that is no fraction; names it.
    """
    weight = _fraction('weight', weight)
    gains = [
        _fraction(f'{name}_syn', syn) - _fraction(f'{name}_random', random)
        for name, syn, random in (
            ('with_aug', with_aug_syn, with_aug_random),
            ('without', without_syn, without_random),
        )
    ]
    return _scaled(weight * gains[0] + (1 - weight) * gains[1])


def _scaled(exponent: float) -> float:
    """[-1, 1] -> [0, 1], rising."""
    return (math.exp(exponent) - FLOOR) / (CEILING - FLOOR)


def _fraction(name: str, value: float) -> float:
    return _within(name, value, 0)


def _difference(name: str, value: float) -> float:
    return _within(name, value, -1)


def _within(name: str, value: float, least: int) -> float:
    value = float(value)
    if least <= value <= 1:
        return value
    advice = '; divide percents by 100' if abs(value) > 1 else ''
    raise ValueError(f'{name} must be a fraction from {least} to 1, got {value:g}{advice}')
