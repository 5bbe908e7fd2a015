"""What the accuracies of a set say beside those of real images: IOR, HLR and LRS."""

from collections.abc import Mapping
from typing import Any

from experiments.configs.base import Evaluation
from jaxdd import scores
from jaxdd.types import Accuracy


def full_accuracy(evaluation: Evaluation, *, hard: bool) -> float | None:
    """The accuracy of the whole real set, where a user has told it and it can be compared with.

    Args:
        hard: whether the distilled set's own labels are hard ones: HLR compares nothing else.
    """
    return evaluation.full_accuracy if hard and evaluation.labels == 'hard' else None


def compared(
    accuracy: Mapping[str, Mapping[str, Accuracy]], full: float | None, protocol: str
) -> dict[str, dict[str, Any]]:
    """The scores of every student that something is known to compare with.

    Args:
        accuracy: 'distilled', and 'random' where there is such a row -> architecture -> accuracy.
        full: accuracy of the first architecture after training on the whole real set; None: nobody
            told it.
        protocol: the name that the accuracies hold under.

    Returns:
        architecture -> 'ior' beside random images, 'hlr' of the first one, 'lrs' where there are
        both, and 'protocol'; nothing of an architecture that has neither.
    """
    random, found = accuracy.get('random', {}), {}
    for i, (name, own) in enumerate(accuracy['distilled'].items()):
        row = {}
        if name in random:
            row['ior'] = scores.improvement_over_random(own.mean, random[name].mean)
        if i == 0 and full is not None:
            row['hlr'] = scores.hard_label_recovery(full, own.mean)
        if len(row) == 2:
            row['lrs'] = scores.label_robust_score(row['ior'], row['hlr'])
        if row:
            found[name] = {**row, 'protocol': protocol}
    return found
