"""Evaluation protocols by name, each with a version: equal names and versions train alike.

Whoever changes what a name sets raises its version; results carry both, and every setting of a run
that is not the name's own.
"""

# What a protocol's name sets.
# 'quick' is for smoke runs and first looks: its numbers compare with nothing published.
_DSA = {
    'epochs': 1000,
    'num_seeds': 5,
    'batch_size': 256,
    'schedule': 'dsa',
    'strategy': 'default',
    'mode': 'S',
    'cutmix': 0.0,
    'mixup': 0.0,
    'labels': 'hard',
    'temperature': None,
    'squared_temperature': False,
    'optimizer': 'sgd',
    'learning_rate': None,
    'warmup_epochs': 0,
    'momentum': 0.9,
    'weight_decay': 5e-4,
    'decay_all': True,
}
_SRE2L = {
    **_DSA,
    'epochs': 400,
    'num_seeds': 3,
    'batch_size': 128,
    'schedule': 'cosine',
    'mixup': 0.8,
    'strategy': 'padded-crop-flip',
    'labels': 'dynamic',
    'temperature': 30.0,
    'optimizer': 'adamw',
    'learning_rate': 1e-3,
    'weight_decay': 0.01,
}
_SRE2L_TINY = {
    **_SRE2L,
    'epochs': 100,
    'batch_size': 256,
    'mixup': 0.0,
    'strategy': 'resized-crop-flip',
    'temperature': 20.0,
    'squared_temperature': True,
    'optimizer': 'sgd',
    'learning_rate': 0.2,
    'weight_decay': 1e-4,
    'warmup_epochs': 5,
}
_SRE2L_IMAGENET = {
    **_SRE2L,
    'epochs': 300,
    'batch_size': 1024,
    'mixup': 0.0,
    'cutmix': 1.0,
    'temperature': 20.0,
    'strategy': 'resized-crop-flip',
    'decay_all': False,
}
_INFER = {**_SRE2L, 'batch_size': 64, 'labels': 'static'}
# Neither INFER's Tiny-ImageNet nor its ImageNet recipe is published:
# these two are ours, after DWA and SRe2L.
_INFER_TINY = {**_SRE2L_TINY, 'epochs': 200, 'batch_size': 64, 'mixup': 0.8, 'labels': 'static'}
_INFER_IMAGENET = {
    **_SRE2L_IMAGENET,
    'batch_size': 256,
    'mixup': 0.8,
    'cutmix': 0.0,
    'labels': 'static',
}
_IDC = {
    **_DSA,
    'batch_size': 64,
    'schedule': 'idc',
    'strategy': 'flip_color_crop_scale_rotate',
    'mode': 'IDC',
    'cutmix': 0.5,
}
# Its epochs depend on how many images there are (experiments/methods/idc.py).
_IDC_IMAGENET = {
    **_IDC,
    'strategy': 'resized-crop-flip-color',
    'crop_scale': 0.5,
    'mode': 'S',
    'cutmix': 1.0,
}
PROTOCOLS = {
    'dsa': _DSA,
    'dc': {**_DSA, 'epochs': 300, 'strategy': 'none'},
    'idc': _IDC,
    # IDM's students see the decoded images under DSA's protocol
    'idm': _DSA,
    # the students of DC on MNIST, and of any set with batch norm
    'dc-mnist': {**_DSA, 'strategy': 'coarse-crop-scale-rotate'},
    'dc-batchnorm': {**_DSA, 'strategy': 'coarse-crop-noise'},
    'idc-imagenet': _IDC_IMAGENET,
    # the learned step size, and DATM's smaller mini-batches
    'mtt': _DSA,
    'datm': {**_DSA, 'batch_size': 128},
    'quick': {**_DSA, 'epochs': 100, 'num_seeds': 3},
    'sre2l': _SRE2L,
    'sre2l-tiny': _SRE2L_TINY,
    'sre2l-imagenet': _SRE2L_IMAGENET,
    # SRe2L's ImageNet students, on labels that are stored as its authors publish them (FKD)
    'srel-fkd': {**_SRE2L_IMAGENET, 'labels': 'stored'},
    'infer': _INFER,
    'infer-tiny': _INFER_TINY,
    'infer-imagenet': _INFER_IMAGENET,
    # Epochs are divided by the M + 1 instances per natural image: 4 teachers, on ImageNet 3.
    'infer-dynamic': {**_INFER, 'labels': 'dynamic', 'epochs': 80},
    'infer-tiny-dynamic': {**_INFER_TINY, 'labels': 'dynamic', 'epochs': 40},
    'infer-imagenet-dynamic': {**_INFER_IMAGENET, 'labels': 'dynamic', 'epochs': 75},
}
# Raised by whoever changes what a name sets, here or in the defaults of `base.Evaluation`.
VERSIONS = {name: 1 for name in PROTOCOLS}
# Names that others use for the same, which a command may give, too.
ALIASES = {'dsa-1000': 'dsa', 'dc-hard': 'dc', 'infer-static': 'infer'}
_AS_THEY_ARE = ('idc', 'idm', 'infer-dynamic', 'srel-fkd')


def printed(name: str) -> str:
    """What results call a protocol: as others do, else its name and its own epochs."""
    called = {own: other for other, own in ALIASES.items()}
    called |= {own: own for own in _AS_THEY_ARE}
    return called.get(name, f'{name}-{PROTOCOLS[name]["epochs"]}')
