"""The two sides of the benchmark compute the same: losses, gradients and updates from the same weights and images."""
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments import benchmark, torch_steps
from experiments.benchmark import WORKLOADS, Sizes
from jaxdd import loop
from jaxdd.types import Variables

TINY = Sizes(per_class=8, ipc=3, num_classes=3, side=16, width=8, resnet_width=4)
DISTILLING = [name for name in WORKLOADS if name != 'evaluation']


def given(workload, dtype):
    """Everything drawn in this precision, and no weight at the value that it starts from."""
    drawn, generator = benchmark.draw(workload, TINY), np.random.default_rng(1)

    def moved(leaf):
        leaf = np.asarray(leaf)
        changed = leaf * generator.uniform(0.8, 1.2, leaf.shape) + generator.normal(0, 0.05, leaf.shape)
        return changed.astype(dtype) if leaf.ndim else leaf
    return drawn._replace(images=drawn.images.astype(dtype), labels=drawn.labels.astype(dtype),
                          real=drawn.real.astype(dtype), networks=jax.tree.map(moved, drawn.networks))


def one_step(name, dtype):
    """Both sides after their first step: (our state, our metrics, what theirs is, its loss)."""
    workload = WORKLOADS[name]
    drawn = given(workload, dtype)
    theirs = workload.theirs(TINY, drawn, 'cpu')
    loss = theirs.step(0)
    ours = workload.ours(TINY, drawn)
    state, metrics = loop.advance(ours.step, 1, ours.state, ours.feed, jnp.int32(1))
    return state, metrics, theirs, loss


def in_torch(images):
    return np.moveaxis(np.asarray(images), -1, -3)


def joined(tensors):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def close(actual, expected, tolerance):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize('name', DISTILLING)
@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-9), ('float32', 1e-4)])
def test_both_sides_have_one_loss_and_one_gradient(name, dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        state, metrics, theirs, loss = one_step(name, dtype)
        np.testing.assert_allclose(metrics['loss/total'][0], loss, rtol=1e-9 if dtype == 'float64' else 1e-5)
        # Momentum begins as the first gradient, Adam's as half of it (b1 = 0.5).
        first = state.opt_state[0]
        gradient = first.trace if hasattr(first, 'trace') else jax.tree.map(lambda m: 2 * m, first.mu)
        assert gradient['images'].dtype == dtype
        close(in_torch(gradient['images']), theirs.images.grad.numpy(), tolerance)
        if dtype == 'float64':
            np.testing.assert_allclose(in_torch(state.params['images']), theirs.images.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-9), ('float32', 1e-4)])
def test_both_students_have_one_loss_one_gradient_and_one_update(dtype, tolerance):
    with jax.enable_x64(dtype == 'float64'):
        state, metrics, theirs, loss = one_step('evaluation', dtype)
        np.testing.assert_allclose(metrics['loss/train'][0], loss, rtol=1e-9 if dtype == 'float64' else 1e-5)
        slopes = Variables(state.opt_state[1], {}, None, None)
        ours, gradient = (torch_steps.load(torch_steps.ConvNet(3, 16, 8), v) for v in (state.variables, slopes))
        buffers = [theirs.optimizer.state[p]['momentum_buffer'] for p in theirs.net.parameters()]
        # As one vector: of the biases before an instance norm only rounding is left.
        close(joined(gradient.parameters()), joined(buffers), tolerance)
        for a, b in zip(ours.parameters(), theirs.net.parameters(), strict=True):
            close(joined([a]), joined([b]), tolerance)


def test_steps_alternate_between_real_batches():
    drawn = given(WORKLOADS['dm'], 'float32')
    feed = WORKLOADS['dm'].ours(TINY, drawn).feed
    for step in range(3):
        inputs = feed(jax.random.key(0), jnp.int32(step))
        np.testing.assert_array_equal(inputs.real, drawn.real[step % 2])


def test_weights_of_another_network_are_refused():
    drawn = given(WORKLOADS['dm'], 'float32')
    with pytest.raises(ValueError, match='the weights do not fit ConvNet: shapes'):
        torch_steps.load(torch_steps.ConvNet(3, 16, 4), drawn.networks['encoder'])
    with pytest.raises(ValueError, match="do not fit ResNet18: .*'classifier|do not fit ResNet18: .*conv.weight"):
        torch_steps.load(torch_steps.ResNet18(3, 'batch', 4), drawn.networks['encoder'])


def test_arithmetic_is_counted_as_multiply_adds():
    net, images = torch_steps.ConvNet(3, 16, 8), torch.zeros(2, 3, 16, 16)
    products = 2 * (16 * 16 * 27 * 8 + (8 * 8 + 4 * 4) * 72 * 8 + 32 * 3)
    assert torch_steps.flops(lambda: net(images)) == 2 * products


def test_a_measurement_is_json_and_a_table(monkeypatch):
    monkeypatch.setattr(benchmark, 'SHORTEST', 0.0)
    monkeypatch.setattr(benchmark, 'MATRIX', 64)
    threads = torch.get_num_threads()
    result = benchmark.measure({'evaluation': TINY}, repeats=2, steps_per_call=[1, 2])
    torch.set_num_threads(threads)
    found = json.loads(json.dumps(result))['workloads']['evaluation']
    losses = found['loss of the first step']
    assert set(losses) == {'theirs', 'ours, 1', 'ours, 2'}
    np.testing.assert_allclose(list(losses.values()), losses['theirs'], rtol=1e-5)
    assert set(found['ours']) == {'1', '2'} and found['FLOPs'] > 0
    for ours in found['ours'].values():
        ratios = [a / b for a, b in zip(found['theirs']['all'], ours['all'], strict=True)]
        assert ours['ratio'] == {'min': min(ratios), 'median': np.mean(ratios), 'max': max(ratios)}
        assert ours['temporary bytes'] > 0 and ours['compile seconds'] > 0
    lines = benchmark.table(result)
    assert [line.split()[:2] for line in lines[-2:]] == [['evaluation', '1'], ['evaluation', '2']]


def test_reduced_is_a_quarter_of_the_images():
    assert benchmark._size('dm', False).per_class == 256 and benchmark._size('dm', True).per_class == 64
    assert benchmark._size('evaluation', True).ipc == 2


@pytest.mark.parametrize('arguments, message', [
    (['--workloads', 'dma'], "unknown workload 'dma'"), (['--repeats', '0'], '--repeats must be 1 or more, got 0'),
    (['--steps-per-call', '1', '0'], '--steps-per-call must be 1 or more, got 0')])
def test_senseless_options_are_one_line(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_torch_it_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'experiments.torch_steps')
    monkeypatch.delattr('experiments.torch_steps')
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert benchmark.main(['--workloads', 'dm']) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and "pip install -e '.[torch]'" in error
