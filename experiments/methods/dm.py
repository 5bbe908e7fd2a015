r"""DM (Zhao & Bilen, WACV 2023, https://arxiv.org/abs/2110.04181), optionally with plug-ins.

Command:   python -m experiments.run dm --dataset cifar10 --ipc 10 --plugins cc cm \
               --workdir runs/dm-iid
Expect:    DM, CIFAR-10, IPC 10: 48.9 +- 0.6 % published (20,000 steps, 256 real images per class,
           1,000 epochs); ours at a smaller budget: see experiments/README.md.  Smoke: add --smoke
"""

from experiments.configs import base, cells, papers, plugins, presets
from experiments.configs.entry import Entry
from experiments.stages import build, matching
from jaxdd import data, methods
from jaxdd.types import Method

CELLS = (
    *cells.matched(
        'dm',
        (),
        {
            'cifar10': (cells.PAD.format('DM'), ((26.0, 0.8), (48.9, 0.6), (63.0, 0.4))),
            'cifar100': (cells.PAD.format('DM'), ((11.4, 0.3), (29.7, 0.3), (43.6, 0.4))),
            'tiny_imagenet': (cells.PAD.format('DM'), ((3.9, 0.2), (12.9, 0.4), (24.1, 0.3))),
        },
        cells.NOT_FOUND,
    ),
    *cells.matched('dm', ('cc', 'cm'), {}, cells.IID_TABLE, (10, 50)),
    *cells.matched('dm', ('cmi',), {}, cells.CMI_TABLE, (10, 50)),
)


@base.frozen
class DM(base.Matched):
    """Distribution matching: the class means of features of networks that are never trained."""


def published(dataset: str = 'cifar10', ipc: int = 10, names: tuple[str, ...] = ()) -> DM:
    """The authors' settings for a data set; digits gets a budget of seconds.

    Note:
        The authors raise the learning rate to 10 on CIFAR-10 from 100 images per class on (their
        README).
    """
    learning_rate = 10.0 if dataset == 'cifar10' and ipc >= 100 else 1.0
    made = DM(
        method='dm',
        dataset=dataset,
        ipc=ipc,
        plugins=names,
        num_steps=20_000,
        optimizer=base.Optimizer(learning_rate=learning_rate, momentum=0.5),
        data=base.MatchedData(per_class=256),
        encoder=base.Network(name='convnet'),
        regularizers=plugins.published('dm', dataset, ipc, names),
    )
    return presets.digits(made) if dataset == 'digits' else made


def method(config: DM, dataset: data.Dataset) -> Method:
    """DM, without regularizers."""
    spec = dataset.spec
    return methods.dm(
        build.model(config.encoder, spec, batch_statistics=True),
        augment=build.siamese(config.augmentation, spec),
    )


ENTRY = DM.entry = Entry(
    DM,
    published,
    build.matched(method),
    matching.STAGE,
    build.feed,
    CELLS,
    reduced=lambda dataset: f'--num-steps 100 --data.per-class 64 {presets.REDUCED_MATCHING}',
    papers=(papers.DM,),
    shares=True,
)
