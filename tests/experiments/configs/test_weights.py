"""Published weights, as transcribed from the papers' released code."""

import pytest

from experiments.configs import plugins

# The comments in CMI's code: per method SVHN 10, 50; CIFAR-10 10, 50; CIFAR-100 10, 50.
COLUMNS = [
    (dataset, ipc) for dataset in ('svhn_cropped', 'cifar10', 'cifar100') for ipc in (10, 50)
]
CMI = {
    'dm': dict(zip(COLUMNS, (18000, 500, 8000, 2000, 2000, 500))),
    'dc': {('cifar10', 10): 50000, ('cifar10', 50): 10000},
    'dsa': dict(zip(COLUMNS, (80000, 10000, 50000, 10000, 80000, 20000))),
    'idc': dict(zip(COLUMNS, (50, 50, 100, 50, 100, 50))),
    'idm': {},
}
# The only configurations that IID's code ships: CIFAR-10, 10 images per class.
IID = {
    'dm': {'cm': 0.01, 'cc': 0.05},
    'idm': {'cm': 0.03, 'cc': 0.01},
    'dc': {},
    'dsa': {},
    'idc': {},
}
DATASETS = ('digits', 'mnist', 'svhn_cropped', 'cifar10', 'cifar100', 'tiny_imagenet')
everywhere = pytest.mark.parametrize(
    'dataset, ipc', [(dataset, ipc) for dataset in DATASETS for ipc in (1, 10, 50)]
)


@everywhere
@pytest.mark.parametrize('method', CMI)
def test_cmi(method, dataset, ipc):
    entry = plugins.published(method, dataset, ipc, ('cmi',)).cmi
    if (dataset, ipc) in CMI[method]:
        assert entry.weight == CMI[method][dataset, ipc] and 'CMI' in entry.source
    else:
        assert entry.weight is None and entry.source.startswith('not published')


@everywhere
@pytest.mark.parametrize('method', IID)
@pytest.mark.parametrize('name', ['cc', 'cm'])
def test_iid(method, dataset, ipc, name):
    entry = getattr(plugins.published(method, dataset, ipc, ('cc', 'cm')), name)
    if (dataset, ipc) == ('cifar10', 10) and IID[method]:
        assert entry.weight == IID[method][name] and 'IID' in entry.source
    else:
        assert entry.weight is None and entry.source.startswith('not published')


def test_plugins_that_are_not_chosen_have_no_weight():
    assert plugins.published('dm', 'cifar10', 10, ('cm',)).cc.weight is None


def test_an_unknown_plugin():
    with pytest.raises(ValueError, match="unknown plug-in 'cd'; valid: cc, cm, cmi"):
        plugins.published('dm', 'cifar10', 10, ('cd',))
