"""The published cells of SRe2L and INFER, whose students learn from teachers' labels: (mean, deviation) in percent."""
INFER_1, INFER_2 = 'INFER (ICLR 2025), table 1', 'INFER (ICLR 2025), table 2'
STATIC = f'{INFER_2}, SRe2L with INFER\'s static labels'
SRE2L = 'README of the released SRe2L code'
_R18, _R50, _R101 = 'resnet18', 'resnet50', 'resnet101'

# (method, labels, data set, student) -> source, {images per class: (mean, deviation)}
PUBLISHED = {
    ('infer', 'static', 'cifar10', 'convnet_bn'): (INFER_1, {10: (34.0, .4), 50: (57.0, .2)}),
    ('infer', 'static', 'cifar100', 'convnet_bn'): (INFER_1, {10: (41.0, .4), 50: (53.8, .2), 100: (57.0, .02)}),
    ('infer', 'static', 'tiny_imagenet', 'convnet_bn'): (INFER_1, {10: (22.8, .3), 50: (32.3, .3)}),
    ('infer', 'dynamic', 'cifar10', 'convnet_bn'): (INFER_1, {10: (30.1, .8), 50: (52.4, .7)}),
    ('infer', 'dynamic', 'cifar100', 'convnet_bn'): (INFER_1, {10: (37.2, .3), 50: (50.7, .3), 100: (53.4, .2)}),
    ('infer', 'dynamic', 'tiny_imagenet', 'convnet_bn'): (INFER_1, {10: (24.9, .3), 50: (33.9, .6)}),
    ('infer', 'static', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (32.0, .5), 50: (60.4, 1.6)}),
    ('infer', 'static', 'cifar100', 'resnet18_stem3'): (INFER_1, {10: (45.2, .04), 50: (62.8, .4), 100: (66.3, .1)}),
    ('infer', 'static', 'tiny_imagenet', 'resnet18_stem3'): (INFER_1, {10: (32.0, .1), 50: (52.9, .1)}),
    ('infer', 'dynamic', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (30.7, .3), 50: (60.7, .9)}),
    ('infer', 'dynamic', 'cifar100', 'resnet18_stem3'): (INFER_1, {10: (53.4, .6), 50: (68.9, .1), 100: (73.3, .2)}),
    ('infer', 'dynamic', 'tiny_imagenet', 'resnet18_stem3'): (INFER_1, {10: (41.0, .4), 50: (54.6, .4)}),
    ('infer', 'static', 'imagenet', f'{_R18}_stem7'): (INFER_2, {10: (28.7, .2), 50: (51.8, .2)}),
    ('infer', 'static', 'imagenet', f'{_R50}_stem7'): (INFER_2, {10: (26.9, .3), 50: (53.3, .3)}),
    ('infer', 'static', 'imagenet', f'{_R101}_stem7'): (INFER_2, {10: (26.5, .1), 50: (52.2, .3)}),
    ('infer', 'dynamic', 'imagenet', f'{_R18}_stem7'): (INFER_2, {10: (36.3, .3), 50: (55.6, .2)}),
    ('infer', 'dynamic', 'imagenet', f'{_R50}_stem7'): (INFER_2, {10: (38.3, .5), 50: (63.4, .3)}),
    ('infer', 'dynamic', 'imagenet', f'{_R101}_stem7'): (INFER_2, {10: (38.9, .5), 50: (60.7, .1)}),
    ('sre2l', 'dynamic', 'cifar10', 'resnet18_stem3'): (INFER_1, {10: (27.2, .5), 50: (47.5, .6)}),
    ('sre2l', 'dynamic', 'cifar100', 'resnet18_stem3'): (INFER_1, {10: (31.6, .5), 50: (49.5, .3)}),
    ('sre2l', 'dynamic', 'tiny_imagenet', 'resnet18_stem3'): (SRE2L, {50: (41.1, .4), 100: (49.7, .3)}),
    ('sre2l', 'dynamic', 'imagenet', f'{_R18}_stem7'): (SRE2L, {10: (21.3, .6), 50: (46.8, .2), 100: (52.8, .3)}),
    ('sre2l', 'dynamic', 'imagenet', f'{_R50}_stem7'): (SRE2L, {10: (28.4, .1), 50: (55.6, .3), 100: (61.0, .4)}),
    ('sre2l', 'dynamic', 'imagenet', f'{_R101}_stem7'): (SRE2L, {10: (30.9, .1), 50: (60.8, .5), 100: (62.8, .2)}),
    ('sre2l', 'static', 'imagenet', f'{_R18}_stem7'): (STATIC, {10: (9.8, .1), 50: (17.3, .5)}),
    ('sre2l', 'static', 'imagenet', f'{_R50}_stem7'): (STATIC, {10: (8.7, .3), 50: (17.2, .4)}),
    ('sre2l', 'static', 'imagenet', f'{_R101}_stem7'): (STATIC, {10: (8.8, .2), 50: (15.8, .2)}),
}
NO_PLUGINS = 'not published: no table of IID, CMI or INFER holds a plug-in on these methods'
PLUGINS = (('cc',), ('cm',), ('cmi',), ('cc', 'cm'))
STUDENTS = {'imagenet': f'{_R18}_stem7'}    # of a preset; resnet18_stem3 elsewhere


def protocol(method: str, labels: str, dataset: str) -> str | None:
    """The named protocol of a cell; None where the preset has it."""
    usual = {'sre2l': 'dynamic', 'infer': 'static'}[method]
    if labels == usual:
        return None
    size = {'tiny_imagenet': '-tiny', 'imagenet': '-imagenet'}.get(dataset, '')
    return f'infer{size}' + ('-dynamic' if labels == 'dynamic' else '')
