"""Distils images of one's own with a network of one's own, and keeps the set as a file.

    python -m experiments.examples.own_network [--images mine.npz] [--steps 100] \\
        [--output distilled.npz]

Without --images it makes up a small set. The network is any `flax.linen` module that returns
(logits, features, maps).
"""

import argparse
import sys
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdd import augment, data, methods, models
from jaxdd.engine import distill
from jaxdd.models import layers, norms
from jaxdd.storage.distilled_set import save_npz


class MyNet(nn.Module):
    """Two convolutions with a skip; the first norm and everything after it are this file's
    business."""

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images):  # [N, H, W, C], normalised
        x = layers.conv(images, self.width, name='stem')  # nn.Conv, faster on a CPU
        x = nn.relu(norms.norm('instance', batch_statistics=False, name='norm')(x))
        x = x + layers.conv(x, self.width, name='body')
        pooled = nn.avg_pool(x, (4, 4), (4, 4))
        maps = pooled.reshape(len(x), -1, self.width)  # [N, P, C]: what CM compares
        features = maps.reshape(len(x), -1)  # [N, D]: what DM and CC compare
        return nn.Dense(self.num_classes, name='head')(features), features, maps


def main(argv: Sequence[str]) -> int:
    """Runs one command line."""
    parser = argparse.ArgumentParser(prog='python -m experiments.examples.own_network')
    parser.add_argument(
        '--images', help='an .npz with train_images, train_labels, test_images, test_labels'
    )
    parser.add_argument('--steps', type=int, default=100, help='updates of the set')
    parser.add_argument('--ipc', type=int, default=2, help='images per class')
    parser.add_argument('--output', default='distilled.npz', help='the file to write')
    options = parser.parse_args(argv)
    dataset = (
        data.load(options.images) if options.images else data.fake(num_classes=3, per_class=40)
    )
    spec = dataset.spec
    # checks the module, and says what is wrong
    net = models.model(MyNet(spec.num_classes), spec.image_shape)
    method = methods.dm(net, augment=augment.shared('flip_crop'))
    optimizer = optax.sgd(1.0, momentum=0.5)
    initial = data.real_subset(jax.random.key(0), dataset.train, spec, ipc=options.ipc)
    state = distill.init_state(jax.random.key(1), method, optimizer, initial)
    feed = data.stratified(dataset.train, spec, per_class=32)
    state = distill.run(
        distill.make_step(method, optimizer), state, feed, num_steps=options.steps, steps_per_call=5
    )
    synthetic = method.parametrization.decode(state.params, state.fixed)
    names = spec.class_names or tuple(map(str, range(spec.num_classes)))
    save_npz(
        options.output,
        synthetic,
        mean=spec.mean,
        std=spec.std,
        class_names=names,
        info={'steps': options.steps},
    )
    moved = float(np.abs(np.asarray(synthetic.images - initial.images)).mean())
    print(
        f'{options.output}: {spec.num_classes} x {options.ipc} images, moved by {moved:.3f} on '
        'average'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
