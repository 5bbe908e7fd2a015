r"""INFER (Zhang et al., ICLR 2025, https://arxiv.org/abs/2408.06927), optionally with plug-ins.

Command:   python -m experiments.run infer --dataset cifar100 --ipc 10 --workdir runs/infer
Expect:    INFER, CIFAR-100, ResNet-18, IPC 10: 45.2 +- 0.04 % static, 53.4 +- 0.6 % dynamic (add
           --evaluation.protocol infer-dynamic); ours at a smaller budget: see README.md.  Smoke: add --smoke
"""
import dataclasses

from experiments.configs import base, presets, sre2l, weights

# The four of the CIFAR script; the ImageNet script takes three, of torchvision.
TEACHERS = {'cifar': ('resnet18_stem3', 'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2'),
            'tiny': ('resnet18_stem3', 'mobilenetv2', 'efficientnet_b0', 'shufflenet_g2'),
            'imagenet': ('resnet18_stem7', 'mobilenetv2_imagenet', 'efficientnet_b0_imagenet')}
STEPS = {'cifar': 1000, 'tiny': 2000, 'imagenet': 2000}
RATE = {'cifar': 0.25, 'tiny': 0.1, 'imagenet': 0.25}
ALPHA = {'cifar': 1.0, 'tiny': 1.0, 'imagenet': 0.01}
PROTOCOL = {'cifar': 'infer', 'tiny': 'infer-tiny', 'imagenet': 'infer-imagenet'}


def config(dataset: str = 'cifar10', ipc: int = 10, plugins: tuple[str, ...] = ()) -> base.Config:
    """The authors' settings for images of this size; digits gets a budget of seconds.

    Note:
        No settings are published for Tiny-ImageNet, nor how ImageNet students are trained: those are ours. With CC or
        CMI, which compare images of one class, 10 sets share a chunk and its batch moments.
    """
    size = sre2l.size_of(dataset)
    common = sre2l.SIZES[size]
    recover = dataclasses.replace(common.recover, bn_weight=ALPHA[size], both_signs=False, classes_per_chunk=None,
                                  images_per_chunk=10 if plugins else 1, storage='exact',
                                  part=125 if size == 'imagenet' else None)
    published = base.Config(
        method='infer', dataset=dataset, ipc=ipc, plugins=plugins, num_steps=STEPS[size],
        optimizer=base.Optimizer(name='adam', learning_rate=RATE[size], momentum=0.5, b2=0.9, schedule='cosine'),
        data=base.Data(per_class=16, resize='stretched' if size == 'imagenet' else 'square'),
        teachers=dataclasses.replace(common.teachers, networks=TEACHERS[size]),
        recover=recover, regularizers=weights.published('infer', dataset, ipc, plugins),
        evaluation=presets.protocol(PROTOCOL[size], base.Evaluation(networks=TEACHERS[size][:1])))
    return sre2l.small(published, ('convnet_bn', 'resnet18_stem3')) if dataset == 'digits' else published
