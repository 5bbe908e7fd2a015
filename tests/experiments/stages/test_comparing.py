"""Combined scores stand beside accuracies only where there is something to compare with."""

import dataclasses

import pytest

from experiments.configs import presets
from experiments.configs.base import Evaluation
from experiments.methods import parse
from experiments.stages import comparing, several
from jaxdd.types import Accuracy


def rows(**means):
    return {name: Accuracy(mean, 0.0, (mean,)) for name, mean in means.items()}


DISTILLED, RANDOM = rows(convnet=0.5, mlp=0.25), rows(convnet=0.3, mlp=0.375)


def test_each_score_has_what_it_needs():
    accuracy = {'distilled': DISTILLED, 'random': RANDOM, 'herding': RANDOM}
    found = comparing.compared(accuracy, 0.9, 'dsa-1000')
    assert found['mlp'] == {'ior': -0.125, 'protocol': 'dsa-1000'}
    # LRS: a = 0.5 * 0.2 - 0.5 * 0.4 = -0.1
    assert found['convnet'] == {
        'ior': pytest.approx(0.2),
        'hlr': pytest.approx(0.4),
        'lrs': pytest.approx(0.228454, abs=1e-6),
        'protocol': 'dsa-1000',
    }
    assert comparing.compared({'distilled': DISTILLED}, None, 'dc-hard') == {}
    assert comparing.compared({'distilled': DISTILLED, 'random': {}}, 0.9, 'dc-hard') == {
        'convnet': {'hlr': pytest.approx(0.4), 'protocol': 'dc-hard'}
    }


def test_the_whole_sets_accuracy_is_compared_with_hard_labels_alone():
    known = Evaluation(full_accuracy=0.85)
    assert comparing.full_accuracy(known, hard=True) == 0.85
    assert comparing.full_accuracy(known, hard=False) is None
    assert comparing.full_accuracy(Evaluation(), hard=True) is None
    soft = dataclasses.replace(presets.protocol('infer'), full_accuracy=0.85)
    assert comparing.full_accuracy(soft, hard=True) is None


@pytest.mark.parametrize(
    'words, message',
    [
        ('dm --evaluation.full-accuracy 84.8', 'full_accuracy must be above 0 and at most 1'),
        ('infer --evaluation.full-accuracy 0.9', 'left alone where evaluation.labels are static'),
    ],
)
def test_what_is_no_accuracy_to_compare_with_is_refused(words, message):
    assert parse('dm --evaluation.full-accuracy 0.848'.split()).evaluation.full_accuracy == 0.848
    with pytest.raises(ValueError, match=message):
        parse(words.split())


def test_several_sets_are_compared_together():
    def of_set(mean, random):
        accuracy = {
            kind: {'mlp': {'mean': value, 'std': 0.0, 'per_seed': [value]}}
            for kind, value in (('distilled', mean), ('random', random))
        }
        return {
            'accuracy': accuracy,
            'config': {'evaluation': {'full_accuracy': 0.9}},
            'scores': {'mlp': {'ior': 0.1, 'hlr': 0.1, 'lrs': 0.1, 'protocol': 'dsa-1000'}},
            **{'seconds': {}, 'seed': 0, 'warnings': [], 'pictures': {}},
        }

    found = several.pooled([of_set(0.4, 0.25), of_set(0.6, 0.35)])['scores']
    assert found['mlp'] == {
        'ior': pytest.approx(0.2),
        'hlr': pytest.approx(0.4),
        'lrs': pytest.approx(0.228454, abs=1e-6),
        'protocol': 'dsa-1000',
    }
