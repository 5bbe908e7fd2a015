"""The command line: what it understands, and what it says about what it does not."""

import dataclasses
import functools
import math

import jax
import pytest
from config_fields import leaves, replaced

from experiments.configs import base, command_line, rules, validation
from experiments.configs.pools import POOLS
from experiments.methods import METHODS, parse
from experiments.stages import students
from jaxdd import data, models

NAN = math.nan


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('dataset', ['digits', 'cifar10', 'tiny_imagenet', 'some/file.npz'])
@pytest.mark.parametrize('plugins', [(), ('cc', 'cm'), ('cmi',)])
def test_a_preset_parses_as_it_stands(method, dataset, plugins):
    words = [
        method,
        '--dataset',
        dataset,
        '--ipc',
        '20',
        *(('--plugins', *plugins) if plugins else ()),
    ]
    assert parse(words) == command_line._like_the_encoder(
        METHODS[method].published(dataset, 20, plugins)
    )


def test_the_defaults_are_the_papers():
    config = parse(['dm'])
    assert (config.dataset, config.ipc, config.plugins, config.num_steps) == (
        'cifar10',
        10,
        (),
        20_000,
    )
    assert (config.optimizer.learning_rate, config.optimizer.momentum, config.data.per_class) == (
        1.0,
        0.5,
        256,
    )
    assert (config.evaluation.epochs, config.evaluation.num_seeds) == (1000, 5)
    assert parse(['dm', '--ipc', '100']).optimizer.learning_rate == 10.0


def test_nested_fields_are_overridden_and_nothing_else():
    changed = parse(
        'dm --plugins cc --optimizer.learning-rate 0.5 --proxies.network.width 16 '
        '--evaluation.networks convnet resnet18 --regularizers.cc.weight 3'.split()
    )
    default = METHODS['dm'].published('cifar10', 10, ('cc',))
    regularizer = dataclasses.replace(default.regularizers.cc, weight=3.0, source='set by the user')
    assert changed == dataclasses.replace(
        default,
        optimizer=dataclasses.replace(default.optimizer, learning_rate=0.5),
        proxies=dataclasses.replace(
            default.proxies, network=dataclasses.replace(default.proxies.network, width=16)
        ),
        evaluation=dataclasses.replace(default.evaluation, networks=('convnet', 'resnet18')),
        regularizers=dataclasses.replace(default.regularizers, cc=regularizer),
    )


def test_smoke_shrinks_the_preset_and_can_be_overridden():
    config = parse('dm --dataset digits --smoke --num-steps 3'.split())
    assert (config.smoke, config.num_steps, config.encoder.width, config.evaluation.epochs) == (
        True,
        3,
        8,
        1,
    )


def test_help_of_a_method_names_fields_units_and_defaults(capsys):
    with pytest.raises(SystemExit) as end:
        parse(['dm', '--dataset', 'digits', '--help'])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for words in (
        '--num-steps',
        'Synthetic-set updates',
        'Real images per class per step',
        'Pixels',
        '300',
    ):
        assert words in text


def test_help_without_a_method_lists_the_methods(capsys):
    with pytest.raises(SystemExit) as end:
        parse(['--help'])
    assert end.value.code == 0
    assert 'methods: dc, dsa, dm, idm, idc' in capsys.readouterr().out


@pytest.mark.parametrize(
    'option, near',
    [
        ('--optimizer.learning-rat', '--optimizer.learning-rate'),
        ('--num-step', '--num-steps'),
        ('--evaluation.seeds', '--evaluation.'),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(option, near, capsys):
    with pytest.raises(SystemExit) as end:
        parse(['dm', option, '1'])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert option in printed and near in printed.split('Perhaps you meant', 1)[1]


@pytest.mark.parametrize(
    'words, message',
    [
        ('', 'the first argument is the method; valid: dc, dsa, dm, idm, idc'),
        ('--dataset digits', 'the first argument is the method; valid: dc, dsa, dm, idm, idc'),
        (
            'dn --dataset digits',
            "unknown method 'dn'; valid: datm, dc, dm, dsa, idc, idm, infer, mtt, sre2l.",
        ),
        ('dm --plugins cmj', "unknown plug-in 'cmj'; valid: cc, cm, cmi. Did you mean 'cm'?"),
        ('dm --plugins cc --plugins cm', '--plugins was given more than once'),
        ('dm --plugins cc cc', 'plugins must be names that differ, got cc cc'),
        ('dm --ipc two', "argument --ipc: invalid int value: 'two'"),
        ('dm --ipc', 'argument --ipc: expected one argument'),
        (
            'dm --regularizers.cmi.weight 5',
            '--regularizers.cmi was changed, but cmi is not among the plug-ins; '
            'add it: --plugins cmi',
        ),
        ('dm --plugins cm --regularizers.cc-form exp_hinge', 'add it: --plugins cm cc'),
        (
            'dm --plugins cc --regularizers.cc-form cubed',
            "unknown regularizers.cc_form 'cubed'; valid: exp_hinge, squared.",
        ),
        ('dm --encoder.name convnett', "unknown encoder.name 'convnett'; valid: alexnet, "),
        ('dm --evaluation.networks resnet19', "unknown evaluation.networks 'resnet19'"),
        ('dm --proxies.network.name vgg', "unknown proxies.network.name 'vgg'; valid: alexnet, "),
        ('dm --evaluation.networks', 'evaluation.networks must be at least one network'),
    ],
)
def test_what_is_refused_in_one_line(words, message):
    with pytest.raises(ValueError) as error:
        parse(words.split())
    assert message in str(error.value) and '\n' not in str(error.value)


@functools.cache
def parsed(method):
    """A method's configuration; parsing takes a while."""
    return parse([method])


def ranged():
    """(method, field, its rules) of every number of every method, each once."""
    seen = set()
    for method in METHODS:
        config = parsed(method)
        kinds = {name: kind for name, kind in leaves(config) if kind in (int, float)}
        for name, _, found in rules.leaves(config):
            if name in kinds and name not in seen:
                seen.add(name)
                yield method, name, kinds[name], found


@pytest.mark.parametrize('method, field, kind, found', ranged())
def test_every_number_of_every_method_has_a_range(method, field, kind, found):
    assert found, f'{field} has no rule'
    for value in (-1, 2**40) if kind is int else (-1.0, NAN, math.inf, 1e39, 1e-46):
        with pytest.raises(ValueError, match=f'^{field} must be .*, got '):
            validation.require(replaced(parsed(method), field, value))


@pytest.mark.parametrize(
    'field, value, valid',
    [
        ('ipc', 0, 'at least 1'),
        ('num_steps', 2**31, 'at most 2147483647'),
        ('seed', 2**32, 'below 2\\*\\*32'),
        ('optimizer.learning_rate', 0.0, 'above 0'),
        ('evaluation.momentum', 1.0, 'at least 0 and below 1'),
        ('evaluation.cutmix', 1.5, 'at most 1'),
        ('evaluation.weight_decay', NAN, 'at least 0'),
        ('regularizers.cc.ratio', -0.1, 'at least 0'),
    ],
)
def test_numbers_out_of_range_are_refused(field, value, valid):
    with pytest.raises(ValueError, match=f'^{field} must be .*{valid}, got '):
        validation.require(replaced(METHODS['dm'].published(), field, value))


def test_a_range_is_checked_on_the_command_line():
    with pytest.raises(ValueError, match='^optimizer.learning_rate must be above 0, got nan'):
        parse('dm --optimizer.learning-rate nan'.split())


@pytest.mark.parametrize(
    'words, depth',
    [
        ('dm', None),
        ('dm --encoder.depth 5', 5),
        ('dm --encoder.depth 5 --evaluation.depth 2', 2),
        ('idc --dataset tiny_imagenet', 4),
        ('sre2l --teachers.networks convnet_bn --teachers.depth 4', 4),
    ],
)
def test_students_are_as_deep_as_the_network_that_the_images_were_made_with(words, depth):
    assert parse(words.split()).evaluation.depth == depth


@pytest.mark.parametrize(
    'name, epochs, strategy',
    [
        ('dsa', 1000, 'default'),
        ('dc', 300, 'none'),
        ('idc', 1000, 'flip_color_crop_scale_rotate'),
        ('quick', 100, 'default'),
    ],
)
def test_a_protocol_is_chosen_by_name(name, epochs, strategy):
    evaluation = parse(f'dm --dataset cifar10 --evaluation.protocol {name}'.split()).evaluation
    assert (evaluation.protocol, evaluation.epochs, evaluation.strategy) == (name, epochs, strategy)


def test_a_protocols_fields_may_be_changed():
    evaluation = parse('dm --evaluation.protocol dc --evaluation.epochs 7'.split()).evaluation
    assert evaluation == base.Evaluation(protocol='dc', epochs=7, strategy='none')


def test_an_unknown_protocol_is_refused():
    with pytest.raises(
        ValueError, match="protocol 'das'; valid: datm, dc, dc-batchnorm, .* Did you mean 'dsa'"
    ):
        parse('dm --evaluation.protocol das'.split())


def test_a_weight_of_ones_own_is_not_called_published():
    words = 'dm --dataset cifar10 --plugins cc cm --regularizers.cc.weight 3'.split()
    made = parse(words).regularizers
    assert made.cc.source == 'set by the user' and made.cm.source.startswith('IID')


@pytest.mark.parametrize('words, message', [
    ('dsa --ipc 7',
     'the published loop table holds ipc 1, 10, 11, 20, 30, .*, got 7; set --training.every'),
    ('idc --matching.distance squared',
     "unknown matching.distance 'squared'; valid: cos, features, l1, l1-mean, l2, l2-all"),
    ('idm --matching.classes both', "unknown matching.classes 'both'; valid: joint, sequential"),
    ('idm --data.sampling kmeans', "unknown data.sampling 'kmeans'; valid: random, representative"),
    ('dc --init zeros',
     "unknown init 'zeros'; valid: given, herding, k-center, k-means, noise, real, uniform"),
    ('dc --evaluation.schedule cosin',
     "unknown evaluation.schedule 'cosin'; valid: cosine, dsa, idc"),
    ('dm --init rded',
     "unknown init 'rded'; valid: given, herding, k-center, k-means, noise, real"),
    ('dm --evaluation.labels static --evaluation.temperature 4', 'static labels need teachers'),
    ('sre2l --evaluation.temperature None',
     'evaluation.temperature must be given: soft labels need it'),
    ('sre2l --evaluation.every 5', 'evaluation.every must be left alone'),
    ('sre2l --teachers.networks resnet18_stem3 convnet_bn',
     'teachers.networks must be one network'),
    ('sre2l --teachers.networks', 'teachers.networks must be one network'),
    ('infer --teachers.networks', 'teachers.networks must be at least one network'),
    ('infer --teachers.networks convnet_bn convnet_bn', 'names that differ'),
    ('infer --teachers.weights a.pth', r'one per network \(4\), got 1 files'),
    ('infer --init noise', "unknown init 'noise'; valid: given, herding, k-center, k-means, rded"),
    ('infer --recover.storage png', "unknown recover.storage 'png'; valid: exact, jpeg, uint8"),
    ('infer --evaluation.labels soft', "unknown evaluation.labels 'soft'; valid: dynamic, hard")
])  # fmt: skip
def test_settings_that_the_method_cannot_use_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parse(words.split())


@pytest.mark.parametrize(
    'words',
    [
        'dm --training.every 5',
        'dsa --matching.factor 2',
        'dm --recover.jitter 4',
        'sre2l --encoder.width 8',
        'sre2l --data.sampling representative',
        'infer --recover.classes-per-chunk 5',
        'idm --matching.ce-weight None',
    ],
)
def test_options_that_the_method_does_not_have(words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(words.split())
    assert end.value.code == 2 and words.split()[1] in capsys.readouterr().err


def test_help_shows_what_the_method_has_with_the_valid_choices(capsys):
    with pytest.raises(SystemExit):
        parse(['dm', '--help'])
    shown = capsys.readouterr().out
    for other in ('--training', '--recover', '--matching', '{real,noise,rded}'):
        assert other not in shown
    for words in (
        '--init {real,noise,uniform,given,herding,k-center,k-means}',
        '--optimizer.schedule {constant,cosine}',
        '{hard,static,dynamic,replayed,stored}',
        '--plugins [{cc,cm,cmi} ...]',
        '--regularizers.cc-form {squared,exp_hinge}',
    ):
        assert words in shown


def test_an_ipc_outside_the_loop_table_works_with_loops_of_ones_own():
    config = parse('dsa --ipc 7 --training.every 5 --training.epochs 3'.split())
    assert (config.training.every, config.training.epochs) == (5, 3)


@pytest.mark.parametrize(
    'method, ipc, steps',
    [
        ('dc', 1, 1_000),
        ('dsa', 10, 10_000),
        ('dsa', 50, 50_000),
        ('idm', 10, 20_000),
        ('idc', 10, 200_000),
    ],
)
def test_the_budget_is_the_papers(method, ipc, steps):
    assert parse([method, '--ipc', str(ipc)]).num_steps == steps


@pytest.mark.parametrize('name', POOLS)
def test_a_pool_is_chosen_by_name_and_every_network_in_it_exists(name):
    evaluation = parse(f'dm --evaluation.pool {name}'.split()).evaluation
    assert evaluation.pool == name and evaluation.networks == POOLS[name]
    assert set(POOLS[name]) <= set(models.NAMES)


def test_a_pool_is_not_changed_by_hand():
    with pytest.raises(ValueError, match='evaluation.networks must be left alone where .* is norm'):
        parse('dm --evaluation.pool norm --evaluation.networks convnet'.split())
    with pytest.raises(ValueError, match="unknown evaluation.pool 'norms'.*Did you mean 'norm'"):
        parse('dm --evaluation.pool norms'.split())


def test_students_are_variants_of_the_encoder_unless_told_otherwise():
    words = 'dm --encoder.norm group --encoder.activation swish --encoder.pooling max'
    e = parse(words.split()).evaluation
    assert (e.norm, e.activation, e.pooling) == ('group', 'swish', 'max')
    assert parse(f'{words} --evaluation.norm instance'.split()).evaluation.norm == 'instance'
    training, _ = students.architectures(
        dataclasses.replace(e, networks=('convnet', 'convnet_bn', 'convnet_as', 'mlp')),
        data.spec('cifar10'),
    )
    assert set(training) == {'convnet', 'convnet_bn', 'convnet_as', 'mlp'}
    key = jax.random.key(0)
    assert not jax.eval_shape(training['convnet'].init, key).batch_stats
    assert jax.eval_shape(training['convnet_bn'].init, key).batch_stats  # as its name says


@pytest.mark.parametrize(
    'dataset, ipc, rate, batch, epochs, form',
    [
        ('imagenet10', 10, 3e-3, 64, 1000, 'single'),  # 90 decoded images per class
        ('imagenet10', 1, 3e-4, 64, 2000, 'single'),
        ('imagenet100', 20, 2e-3, 128, 666, 'bound'),  # 180, of which two thirds of 1,000 epochs
        ('imagefruit', 10, 3e-3 * (128 / 224) ** 2, 64, 1000, 'single'),
    ],
)
def test_idc_has_its_imagenet_settings(dataset, ipc, rate, batch, epochs, form):
    config = parse(f'idc --dataset {dataset} --ipc {ipc}'.split())
    assert config.optimizer.learning_rate == pytest.approx(rate)
    assert (config.matching.factor, config.matching.distance, config.matching.form) == (
        3,
        'l1',
        form,
    )
    assert config.data.per_class == config.training.batch_size == batch
    assert config.training.num_batches == -(-500 // batch) and config.num_steps == 50_000
    e = config.evaluation
    assert (e.protocol, e.epochs, e.networks) == ('idc-imagenet', epochs, ('resnet10_ap_stem7',))
    assert (config.early.count, config.early.epochs) == (10, 5 if dataset == 'imagenet100' else 10)
