"""Distils the digits by hand: DM with local covariance matching, scored beside random real images.

    python -m experiments.examples.dm_with_cm [--steps 300] [--ipc 1]

Everything is a value: the network, the method, the regularizer, the feed, the optimiser. Nothing is
written to disk.
"""

import argparse
import functools
import sys
from collections.abc import Sequence

import jax
import optax

from jaxdd import augment, data, losses, methods, models, optimizers, regularizers, terms
from jaxdd.engine import distill, evaluate
from jaxdd.labels import relabel
from jaxdd.types import Accuracy, Recipe, SyntheticSet


def distilled(
    digits: data.Dataset, net, *, ipc: int, num_steps: int
) -> tuple[SyntheticSet, SyntheticSet]:
    """The real images that distillation starts from, and what it makes of them."""
    # a mirrored 3 is no 3
    method = methods.dm(net, augment=augment.shared(augment.STRATEGY['no_flip']))
    method = terms.regularize(method, {'cm': (0.01, regularizers.cm())})  # L = L_DM + 0.01 L_CM
    initial = data.real_subset(jax.random.key(0), digits.train, digits.spec, ipc=ipc)
    optimizer = optax.sgd(1.0, momentum=0.5)
    state = distill.init_state(jax.random.key(1), method, optimizer, initial)
    feed = data.stratified(digits.train, digits.spec, per_class=64)
    state = distill.run(
        distill.make_step(method, optimizer), state, feed, num_steps=num_steps, steps_per_call=5
    )
    return initial, method.parametrization.decode(state.params, state.fixed)


def accuracy(digits: data.Dataset, net, synthetic: SyntheticSet, *, num_steps: int) -> Accuracy:
    """Test accuracy of two students that are trained from scratch on a set."""
    recipe = Recipe(
        optimizers.sgd(0.01, momentum=0.9, weight_decay=5e-4),
        num_steps,
        100,
        losses.soft_cross_entropy,
    )
    seen = relabel.hard(augment.independent(augment.STRATEGY['no_flip']))
    student = evaluate.Student(net, seen, recipe)
    return evaluate.evaluate(
        jax.random.key(2),
        synthetic,
        digits.test,
        student,
        num_seeds=2,
        preprocess=functools.partial(data.normalise, digits.spec),
    )


def main(argv: Sequence[str]) -> int:
    """Runs one command line."""
    parser = argparse.ArgumentParser(prog='python -m experiments.examples.dm_with_cm')
    parser.add_argument(
        '--steps', type=int, default=300, help='updates of the set, and of each student'
    )
    parser.add_argument('--ipc', type=int, default=1, help='images per class')
    options = parser.parse_args(argv)
    digits = data.load('digits')
    net = models.by_name('convnet', digits.spec.image_shape, digits.spec.num_classes, width=32)
    sets = zip(
        ('random real images', 'DM + CM'),
        distilled(digits, net, ipc=options.ipc, num_steps=options.steps),
        strict=True,
    )
    for name, synthetic in sets:
        found = accuracy(digits, net, synthetic, num_steps=options.steps)
        print(f'{name}: {100 * found.mean:.2f} ± {100 * found.std:.2f} % (2 students)')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
