"""Teachers under torch's names: UFC's references from their recipe,
and torchvision's layers run by torch itself."""

import math

import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch.nn import functional

from jaxdd.models.torch_weights import convert

SEEDS = {'resnet18': 1000, 'mobilenetv2': 2000, 'efficientnetb0': 3000, 'shufflenetg2': 4000}
MEAN, STD = (
    np.array(values, np.float32) for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
)


def shapes(module):
    """{torch name: torch shape} of the parameters of a module of ours."""
    params = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))[
        'params'
    ]
    named = {}
    for path, leaf in flatten_dict(params).items():
        kind = 'bias' if path[-1] == 'bias' else 'weight'
        shape = leaf.shape if leaf.ndim == 1 else (*leaf.shape[:-3:-1], *leaf.shape[:-2])
        named[f'{module.torch_key("/".join(path[:-1]))}.{kind}'] = shape
    return named


def reference_state(reference, network, module, unused=None):
    """The state dict of a network of 'infer_ufc';
    `unused` holds the shapes of tensors that ours does not have."""
    known = {**shapes(module), **(unused or {})}
    names = [str(name) for name in reference[f'{network}_param_names']]
    state = {name: _drawn(name, known[name], SEEDS[network] + j) for j, name in enumerate(names)}
    norms = [
        name.removesuffix('.weight')
        for name in names
        if name.endswith('.weight') and state[name].ndim == 1
    ]
    ends = np.cumsum(reference[f'{network}_bn_sizes'])[:-1]
    for kind in ('mean', 'var'):
        parts = np.split(reference[f'{network}_bn_{kind}'], ends)
        state |= {f'{norm}.running_{kind}': part for norm, part in zip(norms, parts, strict=True)}
    return state


def _drawn(name, shape, seed):
    z = np.random.RandomState(seed).standard_normal(math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        z = z * np.sqrt(2 / math.prod(shape[1:]))
    else:
        z = 1 + 0.2 * z if name.endswith('weight') else 0.1 * z
    return z.astype(np.float32)


def check_reference(reference, network, module, net, unused=None):
    """Asserts the logits and batch-norm distances of a reference;
    call it in float64, `net` being module's model."""
    variables = convert(reference_state(reference, network, module, unused), module, (32, 32, 3))
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    natural = (
        (reference['natural_u8'][0].astype(np.float32) / np.float32(255) - MEAN) / STD
    ).astype(np.float64)
    shifted = natural + np.transpose(reference['u_test'], (0, 2, 3, 1))
    # u0 and ur are both rolled, u0 with an offset of zero
    rolled = [np.roll(x, tuple(reference['u_roll_hw']), (1, 2)) for x in (natural, shifted)]
    outputs = jax.jit(jax.vmap(net.apply, (None, 0)))(variables, np.stack([natural, *rolled]))
    for i, name in ((0, 'logits_nat0'), (2, 'ur_logits')):
        expected = reference[f'{network}_{name}']
        np.testing.assert_allclose(
            outputs.logits[i], expected, rtol=0, atol=2e-5 * np.abs(expected).max()
        )
    for i, tag in ((1, 'u0'), (2, 'ur')):
        distances = [
            np.linalg.norm(outputs.moments[path].var[i] - running['var'])
            + np.linalg.norm(outputs.moments[path].mean[i] - running['mean'])
            for path, running in sorted(variables.batch_stats.items())
        ]
        np.testing.assert_allclose(distances, reference[f'{network}_{tag}_bn_feats'], rtol=1e-8)


class Torch:
    """Layers of torch on a state dict of random numbers;
    `used` collects the names that were read."""

    def __init__(self, module, seed=0):
        rng = np.random.default_rng(seed)
        self.state, self.used, self.dtype = {}, set(), torch.float32
        for name, shape in shapes(module).items():
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
            norm = len(shape) == 1 and name.endswith('weight')
            self.state[name] = (norm + scale * rng.normal(size=shape)).astype(np.float32)
            if norm:
                layer = name.removesuffix('.weight')
                self.state[f'{layer}.running_mean'] = rng.normal(size=shape).astype(
                    np.float32
                ) * np.float32(0.2)
                self.state[f'{layer}.running_var'] = rng.uniform(0.5, 2, shape).astype(np.float32)

    def _read(self, name):
        self.used.add(name)
        return torch.from_numpy(self.state[name]).to(self.dtype)

    def conv(self, x, name, stride=1, groups=1, bias=False):
        weight = self._read(f'{name}.weight')
        return functional.conv2d(
            x,
            weight,
            self._read(f'{name}.bias') if bias else None,
            stride,
            weight.shape[-1] // 2,
            1,
            groups,
        )

    def norm(self, x, name):
        mean, var, weight, bias = (
            self._read(f'{name}.{kind}')
            for kind in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return functional.batch_norm(x, mean, var, weight, bias)

    def linear(self, x, name):
        return functional.linear(x, self._read(f'{name}.weight'), self._read(f'{name}.bias'))

    def check(self, forward, module, net, side=32):
        """Asserts that `forward(self, images)` gives the logits of ours and reads every tensor."""
        images = np.random.default_rng(1).normal(size=(2, 3, side, side)).astype(np.float32)
        expected = forward(self, torch.from_numpy(images)).numpy()
        assert self.used == set(self.state)
        variables = convert(self.state, module, (side, side, 3))
        logits = jax.jit(net.apply)(variables, np.transpose(images, (0, 2, 3, 1))).logits
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())

    def check_exactly(self, forward, module, net, side):
        """The same in float64 to 1e-9, for the gradient to the images as well; call it there."""
        self.dtype = torch.float64
        rng = np.random.default_rng(1)
        images, pull = rng.normal(size=(2, 3, side, side)), rng.normal(size=(2, module.num_classes))
        given = torch.from_numpy(images).requires_grad_()
        expected = forward(self, given)
        (expected * torch.from_numpy(pull)).sum().backward()
        assert self.used == set(self.state)
        variables = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float64), convert(self.state, module, (side, side, 3))
        )

        def pulled(images):
            logits = net.apply(variables, images).logits
            return (logits * pull).sum(), logits

        slope, logits = jax.jit(jax.grad(pulled, has_aux=True))(np.transpose(images, (0, 2, 3, 1)))
        for ours, theirs in (
            (logits, expected.detach().numpy()),
            (slope, np.transpose(given.grad.numpy(), (0, 2, 3, 1))),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())
