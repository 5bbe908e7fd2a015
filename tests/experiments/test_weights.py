"""Published weights, as transcribed from the papers' released code."""
import pytest

from experiments.configs import weights

# DM row of the comment in CMI's code: SVHN 10, 50; CIFAR-10 10, 50; CIFAR-100 10, 50.
CMI = {('svhn_cropped', 10): 18000, ('svhn_cropped', 50): 500, ('cifar10', 10): 8000, ('cifar10', 50): 2000,
       ('cifar100', 10): 2000, ('cifar100', 50): 500}
# The only configuration that IID's code ships.
IID = {'cm': 0.01, 'cc': 0.05}
DATASETS = ('digits', 'mnist', 'svhn_cropped', 'cifar10', 'cifar100', 'tiny_imagenet')


@pytest.mark.parametrize('dataset', DATASETS)
@pytest.mark.parametrize('ipc', [1, 10, 50])
def test_cmi(dataset, ipc):
    entry = weights.published('dm', dataset, ipc, ('cmi',)).cmi
    if (dataset, ipc) in CMI:
        assert entry.weight == CMI[dataset, ipc] and 'CMI' in entry.source
    else:
        assert entry.weight is None and entry.source.startswith('not published')


@pytest.mark.parametrize('dataset', DATASETS)
@pytest.mark.parametrize('ipc', [1, 10, 50])
@pytest.mark.parametrize('name', IID)
def test_iid(dataset, ipc, name):
    entry = getattr(weights.published('dm', dataset, ipc, ('cc', 'cm')), name)
    if (dataset, ipc) == ('cifar10', 10):
        assert entry.weight == IID[name] and 'IID' in entry.source
    else:
        assert entry.weight is None and entry.source.startswith('not published')


def test_plugins_that_are_not_chosen_have_no_weight():
    assert weights.published('dm', 'cifar10', 10, ('cm',)).cc.weight is None


def test_an_unknown_plugin():
    with pytest.raises(ValueError, match="unknown plug-in 'cd'; valid: cc, cm, cmi"):
        weights.published('dm', 'cifar10', 10, ('cd',))
