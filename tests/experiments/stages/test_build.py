"""Configurations become the library's values; no field of them is dead."""

import ast
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import base, presets
from experiments.configs.plugins import PLUGINS
from experiments.methods import dc, idc, idm, infer, parse, sre2l
from experiments.stages import build, identity, jobs, messages, students
from jaxdd import augment, data, losses
from jaxdd.types import Inputs, Observation, Outputs, Read, SyntheticSet

EXPERIMENTS = pathlib.Path(build.__file__).parents[1]
RECORDS = {
    record
    for module in (base, dc, idm, idc, sre2l, infer)
    for record in vars(module).values()
    if isinstance(record, type) and dataclasses.is_dataclass(record)
}


def config(words=''):
    return parse(f'dm --dataset digits {words}'.split())


def test_every_field_is_read_by_a_script():
    read = {
        node.attr
        for path in EXPERIMENTS.rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    fields = {
        f'{record.__name__}.{field.name}'
        for record in RECORDS
        for field in dataclasses.fields(record)
    }
    assert len(fields) > 40
    by_the_plugins_name = {
        f'Regularizers.{name}_{option}' for name in PLUGINS for option in PLUGINS[name].options
    }
    assert {field for field in fields if field.split('.')[1] not in read} == by_the_plugins_name


def test_the_strategy_follows_the_data_set_unless_given():
    assert build.strategy('default', data.spec('cifar10')) == augment.STRATEGY['default']
    assert build.strategy('default', data.spec('digits')) == augment.STRATEGY['no_flip']
    assert build.strategy('none', data.spec('digits')) == 'none'


def test_terms_are_those_named_in_a_fixed_order():
    assert list(build.terms(config('--plugins cmi cc'))) == ['cc', 'cmi']


@pytest.mark.parametrize('form', ['squared', 'exp_hinge'])
def test_the_form_of_class_centralization_reaches_its_loss(form):
    term = build.terms(config(f'--plugins cc --regularizers.cc-form {form}'))['cc']
    features = jax.random.normal(jax.random.key(0), (2, 3, 4))
    seen = Observation(
        {Read('proxy', 'synthetic'): Outputs(None, features, None, {})}, {}, None, {}, None, 0
    )
    expected = losses.class_centralization(features, form=form).sum()
    assert term.loss(seen, jax.random.key(0))[0] == expected
    words = '--plugins cc --regularizers.cc-form exp_hinge --regularizers.cc-alpha 0.5'
    term = build.terms(config(f'{words} --regularizers.cc-beta 2'))['cc']
    expected = losses.class_centralization(features, form='exp_hinge', alpha=0.5, beta=2.0).sum()
    assert term.loss(seen, jax.random.key(0))[0] == expected


def test_the_local_descriptor_reaches_its_loss():
    term = build.terms(config('--plugins cm --regularizers.cm-descriptor channel-row'))['cm']
    passes = [Read('encoder', name) for name in ('real', 'synthetic')]
    maps = [jax.random.normal(jax.random.key(i), (2, 3, 4, 5)) for i in (0, 1)]
    seen = Observation(
        {p: Outputs(None, None, m, {}) for p, m in zip(passes, maps)}, {}, None, {}, Inputs(), 0
    )
    expected = losses.local_covariance_distance(*maps, descriptor='channel-row').sum()
    assert term.loss(seen, jax.random.key(0))[0] == expected


@pytest.mark.parametrize(
    'words, decay',
    [('--plugins cc cm', 5e-4), ('--plugins cmi', 1e-3), ('--plugins cc cmi', 1e-3), ('', 1e-3)],
)
def test_proxies_decay_as_in_the_paper_whose_plugin_reads_them(words, decay):
    assert build.proxy_decay(config(words)) == decay
    assert build.proxy_decay(config(f'{words} --proxies.weight-decay 0.25')) == 0.25


def test_the_optimizer_is_gradient_descent_with_momentum():
    rule = build.optimizer(config('--optimizer.learning-rate 0.5 --optimizer.momentum 0.25'))
    state, moves = rule.init(0.0), []
    for _ in range(2):
        move, state = rule.update(1.0, state)
        moves.append(float(move))
    assert moves == [-0.5, -0.5 * 1.25]


def test_students_run_one_epoch_more_and_drop_the_rate_once():
    recipe = students.recipe(
        base.Evaluation(epochs=4, batch_size=8, momentum=0.0, weight_decay=0.0), 20
    )
    assert recipe.num_steps == 5 * 3
    state, rates = recipe.optimizer.init(0.0), []
    for _ in range(recipe.num_steps):
        move, state = recipe.optimizer.update(1.0, state, 0.0)
        rates.append(-float(move))
    # through epoch index 4 // 2 + 1
    np.testing.assert_allclose(rates, [0.01] * 12 + [0.001] * 3, rtol=1e-6)


def test_an_architecture_has_its_own_rate_unless_given():
    assert [
        students.rate(base.Evaluation(), name) for name in ('convnet', 'alexnet', 'resnet18')
    ] == [0.01, 0.03, 0.1]
    assert students.rate(base.Evaluation(learning_rate=0.5), 'alexnet') == 0.5
    one = students.recipe(base.Evaluation(momentum=0.0, weight_decay=0.0), 10, 'alexnet').optimizer
    np.testing.assert_allclose(one.update(1.0, one.init(0.0), 0.0)[0], -0.03, rtol=1e-6)


def test_idcs_schedule_runs_as_many_epochs_and_drops_twice():
    recipe = students.recipe(
        dataclasses.replace(presets.protocol('idc'), momentum=0.0, weight_decay=0.0), 64
    )
    assert (recipe.num_steps, recipe.batch_size) == (1000, 64)
    state, rates = recipe.optimizer.init(0.0), {}
    for step in range(recipe.num_steps):
        move, state = (
            recipe.optimizer.update(1.0, state, 0.0)
            if step in (0, 665, 666, 832, 833, 999)
            else (None, (state[0] + 1, state[1]))
        )
        rates[step] = move and -float(move)
    np.testing.assert_allclose(
        [rates[i] for i in (0, 665, 666, 832, 833, 999)],
        [0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    'protocol, epochs, expected',
    [
        ('dsa', 1000, 1001),
        ('dc', 300, 301),
        ('idc', 1000, 1000),
        ('idc', 7, 7),
        ('dsa', 0, 1),
        ('idc', 0, 1),
    ],
)
def test_a_schedule_says_how_many_epochs_its_students_run(protocol, epochs, expected):
    evaluation = dataclasses.replace(presets.protocol(protocol), epochs=epochs, batch_size=8)
    assert students.num_epochs(evaluation) == expected
    assert students.recipe(evaluation, 20).num_steps == expected * 3


def smoke_job(words=''):
    return jobs.load(config(f'--ipc 1 --smoke {words}'))


def test_the_message_names_the_epochs_that_are_run():
    assert ' for 2 epochs ' in messages.evaluate(smoke_job())  # smoke: epoch indices 0 and 1
    assert ' for 1 epochs ' in messages.evaluate(smoke_job('--evaluation.schedule idc'))


def test_the_random_baseline_is_known_by_its_students_learning_rates(monkeypatch):
    job = smoke_job('--evaluation.networks convnet alexnet')
    before = identity.of_real(job)
    assert before['learning_rates'] == {'convnet': 0.01, 'alexnet': 0.03}
    given = identity.of_real(
        smoke_job('--evaluation.networks convnet alexnet --evaluation.learning-rate 0.5')
    )
    assert given['learning_rates'] == {'convnet': 0.5, 'alexnet': 0.5}
    monkeypatch.setitem(students.LEARNING_RATES, 'alexnet', 0.04)
    after = identity.of_real(job)
    assert after['learning_rates'] == {'convnet': 0.01, 'alexnet': 0.04}
    assert {**after, 'learning_rates': None} == {**before, 'learning_rates': None}


def test_proxies_run_at_least_one_step():
    changed = config('--proxies.epochs 0.0001 --proxies.batch-size 64')
    assert build.proxy_recipe(changed, 1000).num_steps == 1
    assert (
        build.proxy_recipe(config('--proxies.epochs 2 --proxies.batch-size 64'), 1000).num_steps
        == 32
    )


def test_students_without_augmentation_see_the_images_themselves():
    fake = data.fake()
    synthetic = data.real_subset(jax.random.key(0), fake.train, fake.spec, ipc=2)
    none = config('--evaluation.strategy none').evaluation
    plain = students.student_supervision(none, fake.spec)(jax.random.key(1), 0, synthetic, 6)
    moved = students.student_supervision(config().evaluation, fake.spec)(
        jax.random.key(1), 0, synthetic, 6
    )
    order = np.argsort(plain.labels.argmax(1), kind='stable')
    shown, flat = np.asarray(plain.images)[order], np.asarray(synthetic.images.reshape(6, 8, 8, 3))
    for pair in (slice(0, 2), slice(2, 4), slice(4, 6)):
        assert {image.tobytes() for image in shown[pair]} == {
            image.tobytes() for image in flat[pair]
        }
    assert not np.array_equal(plain.images, moved.images)
    assert np.array_equal(plain.labels, moved.labels)


def test_students_train_by_the_batch_and_are_tested_by_running_moments():
    spec = data.spec('digits')
    training, testing = students.architectures(
        base.Evaluation(networks=('convnet_bn',), width=4), spec
    )
    images = jax.random.normal(jax.random.key(0), (6, *spec.image_shape))
    variables = training['convnet_bn'].init(jax.random.key(1))
    assert not np.allclose(
        training['convnet_bn'].apply(variables, images).logits,
        testing['convnet_bn'].apply(variables, images).logits,
    )


def test_equal_configurations_give_the_same_functions_so_that_they_compile_once():
    config = parse('dm --dataset digits --smoke'.split())
    spec = data.spec('digits')
    assert build.model(config.encoder, spec) is build.model(
        dataclasses.replace(config.encoder), spec
    )
    assert students.student_supervision(config.evaluation, spec) is students.student_supervision(
        dataclasses.replace(config.evaluation), spec
    )
    assert students.recipe(config.evaluation, 10) is students.recipe(config.evaluation, 10)
    assert students.recipe(config.evaluation, 10) is not students.recipe(config.evaluation, 300)


def test_crop_scale_and_cutmix_alpha_reach_what_students_see(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        augment, 'resized_crop_flip', lambda **how: seen.update(how) or augment.identity()
    )
    monkeypatch.setattr(augment, 'cutmix', lambda *given, **how: seen.update(how) or given[1:])
    e = config(
        '--evaluation.strategy resized-crop-flip --evaluation.crop-scale 0.5 '
        '--evaluation.cutmix 0.25 --evaluation.cutmix-alpha 2'
    ).evaluation
    shown = students.student_supervision(e, data.spec('cifar10'))
    made = SyntheticSet(jnp.zeros((2, 1, 32, 32, 3)), jnp.eye(2)[:, None])
    jax.eval_shape(lambda key: shown(key, 0, made, 2), jax.random.key(0))
    assert seen == {'scale': (0.5, 1.0), 'flip': True, 'alpha': 2.0, 'probability': 0.25}


def test_a_linear_schedule_has_as_many_epochs_as_a_cosine():
    e = config('--evaluation.schedule linear --evaluation.epochs 7').evaluation
    assert students.num_epochs(e) == 7 and students.recipe(e, 10).num_steps == 7


def test_tables_name_the_depth_that_students_have_and_what_was_chosen():
    e = config('--evaluation.networks convnet convnet_np convnet_d2 mlp').evaluation
    assert students.labels(e, (8, 8, 1)) == {
        'convnet': 'convnet of width 64, depth 2',
        'convnet_np': 'convnet_np of width 64, depth 3',
        'convnet_d2': 'convnet_d2 of width 64',
        'mlp': 'mlp of width 64',
    }
    flat = config('--evaluation.pooling none').evaluation
    assert students.labels(flat, (8, 8, 1)) == {
        'convnet': 'convnet of width 64, depth 3, pooling none'
    }
    chosen = config(
        '--evaluation.networks convnet convnet_bn convnet_w32 resnet18 --evaluation.width 16 '
        '--evaluation.depth 1 --evaluation.norm layer'
    ).evaluation
    assert students.labels(chosen, (8, 8, 1)) == {
        'convnet': 'convnet of width 16, depth 1, norm layer',
        'convnet_bn': 'convnet_bn of width 16, depth 1',
        'convnet_w32': 'convnet_w32, depth 1, norm layer',
        'resnet18': 'resnet18 of width 16',
    }
