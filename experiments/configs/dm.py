r"""DM (Zhao & Bilen, WACV 2023, https://arxiv.org/abs/2110.04181), optionally with plug-ins.

Command:   python -m experiments.run dm --dataset cifar10 --ipc 10 --plugins cc cm --workdir runs/dm-iid
Expect:    DM, CIFAR-10, IPC 10: 48.9 +- 0.6 % published (20,000 steps, 256 real images per class, 1,000 epochs);
           ours at a smaller budget: see README.md.  Smoke: add --smoke
"""
from experiments.configs import base, presets, weights


def config(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """The authors' settings for a data set; digits gets a budget of seconds.

    Note:
        The authors raise the learning rate to 10 on CIFAR-10 from 100 images per class on (their README).
    """
    learning_rate = 10.0 if dataset == 'cifar10' and ipc >= 100 else 1.0
    published = base.Config(
        method='dm', dataset=dataset, ipc=ipc, plugins=plugins,
        num_steps=20_000, optimizer=base.Optimizer(learning_rate=learning_rate, momentum=0.5),
        data=base.Data(per_class=256), encoder=base.Network(name='convnet'),
        regularizers=weights.published('dm', dataset, ipc, plugins))
    return presets.digits(published) if dataset == 'digits' else published
