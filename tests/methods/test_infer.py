"""INFER against its code: the objective, its gradient, the generation loop, and the budget."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_layout
import torch_teachers

from jaxdd import data, models
from jaxdd.augment import cropping
from jaxdd.engine.distill import init_state, make_gradient, make_step
from jaxdd.methods import budget, infer, instances
from jaxdd.models.torch_weights import convert
from jaxdd.types import Curriculum, Inputs, SyntheticSet

SPEC = data.spec('cifar10')
BOX = (SPEC.mean, SPEC.std)
MODULES = {
    'resnet18': lambda: models.ResNet(10, norm='batch', pooling='global'),
    'mobilenetv2': lambda: models.MobileNetV2(10),
    'shufflenetg2': lambda: models.ShuffleNet(10),
    'efficientnetb0': lambda: models.EfficientNet(10),
}
# of EfficientNet's first block, which the code builds and never uses
UNUSED = {
    'efficientnetb0': {
        'layers.0.conv1.weight': (32, 32, 1, 1),
        'layers.0.bn1.weight': (32,),
        'layers.0.bn1.bias': (32,),
    }
}
SLOW = pytest.mark.long


def teacher(reference, network):
    """The reference's network, and its weights in float64."""
    module = MODULES[network]()
    state = torch_teachers.reference_state(reference, network, module, UNUSED.get(network))
    variables = convert(state, module, (32, 32, 3))
    return models.model(module, (32, 32, 3)), variables


def natural(reference, k, dtype):
    pixels = reference['natural_u8'][k].astype(np.float32) / np.float32(255)
    images = (pixels - torch_teachers.MEAN) / torch_teachers.STD
    return SyntheticSet(jnp.asarray(images, dtype)[:, None], jnp.eye(10, dtype=dtype)[:, None])


@pytest.mark.parametrize(
    'network',
    [
        'resnet18',
        pytest.param('mobilenetv2', marks=SLOW),
        pytest.param('shufflenetg2', marks=SLOW),
        pytest.param('efficientnetb0', marks=SLOW),
    ],
)
def test_the_objective_and_its_gradient_are_the_papers(network, reference, x64):
    golden = reference('infer_ufc')
    net, variables = teacher(golden, network)
    shift = jnp.asarray(golden['u_roll_hw'], jnp.int32)
    method = infer(net, augment=lambda key, images: cropping.roll(images, shift))
    inputs = Inputs(
        pretrained={'encoder': jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)}
    )
    state = init_state(jax.random.key(0), method, optax.sgd(1.0), natural(golden, 0, jnp.float64))
    u = jnp.asarray(torch_layout.nhwc(golden['u_test']), jnp.float64)
    gradient, metrics = jax.jit(make_gradient(method))(
        state._replace(params={'compensators': u}), inputs
    )
    ce, bn, total = golden[f'{network}_ur_scalars'][:3]
    for name, expected in (('ce', ce), ('bn', bn), ('infer', total)):
        np.testing.assert_allclose(metrics[f'loss/{name}'], expected, rtol=1e-7)
    expected = torch_layout.nhwc(golden[f'{network}_ur_grad'])
    np.testing.assert_allclose(
        gradient['compensators'], expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )


@pytest.fixture
def optimized():
    """A program that runs for longer than it compiles."""
    before = jax.config.values['jax_disable_most_optimizations']
    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', before)


@SLOW
def test_the_generation_loop_is_the_papers(reference, x64, optimized):
    # In float64, for the first step of Adam is the sign of the gradient: a pixel whose gradient is
    # almost zero goes either way in float32, and the later losses with it.
    golden = reference('infer_ufc')
    net, variables = teacher(golden, 'resnet18')
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
    shifts = jnp.asarray(golden['run2_jitter_hw'], jnp.int32)
    method = infer(net, augment=Curriculum(lambda step: functools.partial(_rolled, shifts[step])))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.25, 4), b1=0.5, b2=0.9)
    start = natural(golden, 0, jnp.float64)
    state = init_state(jax.random.key(0), method, optimizer, start)
    step, inputs = jax.jit(make_step(method, optimizer)), Inputs(pretrained={'encoder': variables})
    after = []
    for i in range(4):
        state, metrics = step(state, inputs)
        after.append(np.asarray(state.params['compensators'][0]))
        np.testing.assert_allclose(metrics['loss/total'], golden['run2_loss'][i], rtol=5e-4)
    for i, expected in zip((0, 2, 3), golden['run2_u_after'], strict=True):
        wrong = np.abs(after[i] - expected.transpose(1, 2, 0)) > 0.02
        assert wrong.mean() < 0.01
    # the code saves what it had before the last step
    made = instances(start.images, jnp.asarray(after[2])[None, None], BOX)[:, 1]
    levels = np.floor(np.clip(np.asarray(data.denormalise(SPEC, made)), 0, 1) * 255)
    assert (np.abs(levels - golden['run2_saved_u8']) > 1).mean() < 0.01


def _rolled(shift, key, images):
    del key
    return cropping.roll(images, shift)


def test_the_budget_is_the_papers(reference):
    golden = reference('infer_sched_budget')
    tables = [array for name, array in golden.items() if name.startswith('budget')]
    rows = np.concatenate(tables)
    assert len(rows) > 5
    for num_classes, num_teachers, ipc, natural, seen, compensators, effective in rows:
        found = budget(int(num_classes), int(num_teachers), int(ipc)) if natural else None
        if found:
            assert found[:3] == (natural, compensators, seen)
            assert found.effective_ipc == pytest.approx(effective) and found.effective_ipc <= ipc


@pytest.mark.parametrize(
    'num_classes, num_teachers, ipc, smallest', [(10, 4, 1, 2), (1000, 3, 1, 2), (2, 4, 2, 3)]
)
def test_a_budget_without_a_natural_image_is_refused(num_classes, num_teachers, ipc, smallest):
    with pytest.raises(
        ValueError, match=rf'floor\(ipc \* Y / \(Y \+ M\)\) = 0 .* the smallest ipc is {smallest}'
    ):
        budget(num_classes, num_teachers, ipc)
    assert budget(num_classes, num_teachers, smallest).natural >= 1


def test_instances_by_hand():
    natural = jnp.stack([jnp.full((2, 1, 1, 3), 0.1), jnp.full((2, 1, 1, 3), 0.2)])[
        :, :, :, :, :
    ]  # [Y, K, 1, 1, C]
    compensators = jnp.asarray([1.0, 2.0, 3.0, 9.0]).reshape(2, 2, 1, 1, 1) * jnp.ones(
        (1, 1, 1, 1, 3)
    )
    made = instances(natural, compensators, ((0.5,) * 3, (0.1,) * 3))[..., 0, 0, 0]
    np.testing.assert_allclose(
        made, [[0.1, 0.1, 1.1, 2.1, 3.1, 5.0], [0.2, 0.2, 1.2, 2.2, 3.2, 5.0]], rtol=1e-6
    )


def test_a_set_in_parts_has_the_loss_and_gradient_of_the_set_at_once():
    """Five images: two in each full part, one in the last."""
    net = models.by_name('convnet_bn', (8, 8, 3), 5, width=4, depth=1)
    start = SyntheticSet(jax.random.normal(jax.random.key(0), (5, 1, 8, 8, 3)), jnp.eye(5)[:, None])
    inputs = Inputs(pretrained={'encoder': net.init(jax.random.key(1))})

    def found(network):
        method = infer(network, augment=lambda key, images: images)
        state = init_state(jax.random.key(0), method, optax.sgd(1.0), start)
        return jax.jit(make_gradient(method))(state, inputs)

    (gradient, metrics), (expected, whole) = found(models.microbatched(net, 2)), found(net)
    np.testing.assert_allclose(metrics['loss/total'], whole['loss/total'], rtol=1e-5)
    gradient, expected = gradient['compensators'], expected['compensators']
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())
