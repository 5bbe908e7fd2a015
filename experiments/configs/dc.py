r"""DC (Zhao, Mopuri & Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929) and DSA (Zhao & Bilen, ICML 2021,
https://arxiv.org/abs/2102.08259), optionally with plug-ins.

Command:   python -m experiments.run dsa --dataset cifar10 --ipc 10 --plugins cmi --workdir runs/dsa-cmi
Expect:    DSA, CIFAR-10, IPC 10: 52.1 +- 0.5 % published (1,000 networks x 10 steps, 256 real images per class);
           DC: 44.9 +- 0.5 %; ours at a smaller budget: see README.md.  Smoke: add --smoke
"""
import dataclasses

from experiments.configs import base, presets, weights

NETWORKS = 1000    # initialisations that the papers' recipe goes through

# Images per class -> (steps that a network serves, epochs of its training on the synthetic set after each step):
# the papers' outer and inner loop. 11 and from 100 on are IID's additions to the authors' table.
LOOPS = {1: (1, 1), 10: (10, 50), 11: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10), 100: (50, 10),
         200: (200, 20), 300: (200, 20), 400: (200, 20), 500: (200, 20), 600: (200, 20), 700: (200, 20),
         800: (200, 20), 1000: (1000, 30)}


def config(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """DC: no augmentation anywhere, images from noise, students without augmentation."""
    made = dsa(dataset, ipc, plugins)
    return dataclasses.replace(
        made, method='dc', init='noise', training=dataclasses.replace(made.training, strategy='none'),
        augmentation=base.Augmentation(strategy='none'), evaluation=presets.protocol('dc', made.evaluation),
        regularizers=weights.published('dc', dataset, ipc, plugins))


def dsa(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """DSA: one transform for real and synthetic images, images from real ones.

    Note:
        An ipc outside `LOOPS` leaves `training.every` and `training.epochs` open; the run then asks for them.
    """
    every, epochs = LOOPS.get(ipc, (None, None))
    published = base.Config(
        method='dsa', dataset=dataset, ipc=ipc, plugins=plugins, num_steps=NETWORKS * (every or 1),
        optimizer=base.Optimizer(learning_rate=0.1, momentum=0.5), data=base.Data(per_class=256),
        encoder=base.Network(name='convnet'), matching=base.Matching(distance='layerwise_cosine'),
        training=base.Training(every=every, epochs=epochs, batch_size=256, learning_rate=0.01, momentum=0.0,
                               weight_decay=0.0, strategy='default'),
        regularizers=weights.published('dsa', dataset, ipc, plugins))
    if dataset != 'digits':
        return published
    small = presets.digits(published)
    return dataclasses.replace(small, num_steps=100, training=dataclasses.replace(small.training, epochs=5))
