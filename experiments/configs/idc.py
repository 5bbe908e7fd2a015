r"""IDC (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959), optionally with plug-ins.

Command:   python -m experiments.run idc --dataset cifar10 --ipc 10 --plugins cmi --workdir runs/idc-cmi
Expect:    IDC, CIFAR-10, IPC 10: 67.5 % published (IDC-I, --matching.factor 1: 58.3 %); ours at a smaller budget: see
           README.md.  DREAM: add --data.sampling representative --data.per-class 128.  Smoke: add --smoke
"""
import dataclasses

from experiments.configs import base, presets, weights
from jaxdd import data

NETWORKS, EVERY = 2000, 100                    # networks, and steps that each serves
SAMPLES = {'svhn_cropped': 500, 'mnist': 500, 'fashion_mnist': 500, 'tiny_imagenet': 1000}    # real, between steps
RATES = {('tiny_imagenet', 50): 1e-6}          # CMI's and DREAM's forks
BASE_SIDE = {'mnist': 28, 'fashion_mnist': 28}                                                # 32 elsewhere


def config(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """The authors' settings for a data set; digits gets a budget of seconds.

    Note:
        The learning rate grows with the number and size of images, as in the authors' code:
        base * (ipc / 10) * (side / base side)^2.
    """
    grey = dataset in ('mnist', 'fashion_mnist')
    size = (_side(dataset) / BASE_SIDE.get(dataset, 32)) ** 2
    rate = RATES.get((dataset, ipc), 1e-4 if grey else 5e-3) * ipc / 10 * size
    strategy = 'color_crop' if dataset == 'mnist' else 'color_crop_cutout'
    plain = dataset == 'mnist' or (dataset == 'svhn_cropped' and ipc == 1)    # no CutMix
    published = base.Config(
        method='idc', dataset=dataset, ipc=ipc, plugins=plugins, num_steps=NETWORKS * EVERY,
        optimizer=base.Optimizer(learning_rate=rate, momentum=0.5), data=base.Data(per_class=64),
        encoder=base.Network(name='convnet', depth=4 if dataset == 'tiny_imagenet' else None),
        matching=base.Matching(distance='l1' if grey else 'l2', factor=2, max_synthetic=128, classes='sequential'),
        training=base.Training(every=EVERY, num_batches=-(-SAMPLES.get(dataset, 2000) // 64), batch_size=64,
                               learning_rate=0.01, momentum=0.9, weight_decay=5e-4, strategy='color_crop',
                               cutmix=0.0 if plain else 0.5),
        augmentation=base.Augmentation(strategy=strategy, mode='IDC'),
        evaluation=_evaluation(dataset, plain), regularizers=weights.published('idc', dataset, ipc, plugins))
    if dataset != 'digits':
        return published
    small = presets.digits(published)
    return dataclasses.replace(
        small, num_steps=200, optimizer=base.Optimizer(learning_rate=0.01, momentum=0.5),
        matching=dataclasses.replace(small.matching, factor=1),  # tiles of 4x4 pixels lose too much
        training=dataclasses.replace(small.training, every=50, num_batches=5))


def _evaluation(dataset: str, plain: bool) -> base.Evaluation:
    made = presets.protocol('idc')
    mirrored = dataset not in ('svhn_cropped', 'mnist', 'digits')
    return dataclasses.replace(made, strategy=made.strategy if mirrored else 'color_crop_scale_rotate',
                               cutmix=0.0 if plain else made.cutmix)


def _side(dataset: str) -> int:
    """Pixels; a file or folder of one's own counts as 32."""
    try:
        return data.spec(dataset).image_shape[0]
    except ValueError:
        return 32
