"""Trains PyTorch's students on a distilled set under its own protocol, and compares them with ours.

    python -m experiments.torch_check runs/dm/distilled.npz --seeds 3

What a set is worth should not depend on who wrote the student. Network, initialisation,
augmentation, schedule and optimiser are torch's here; from the library come the set's file, the
test images and what the protocol's name says. Prints torch's mean and deviation beside ours
(results.json beside the set) and whether their difference lies within the seeds' spread. Exit code
0: it does; 1: it does not; 2: wrong input.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.configs import presets, scoring
from experiments.configs.base import Evaluation
from experiments.configs.rules import refuse
from experiments.configs.scoring import Given, Options
from experiments.speed.eager.augment import OPERATIONS, Transform, drawn, unchanged
from experiments.speed.eager.networks import ConvNet, tensor
from experiments.stages import build, existing, scores, students
from jaxdd import data, hosts, models
from jaxdd.models.layers import stem_padding
from jaxdd.reporting import report
from jaxdd.storage import records
from jaxdd.storage.atomic import expanded

PROGRAM = 'python -m experiments.torch_check'
NETWORK = 'convnet'
# Options of a protocol that a student on hard labels does not have, or that change no student.
UNUSED = ('num_seeds', 'temperature', 'squared_temperature', 'label_dtype', 'label_top_k')
ARCHITECTURE = ('width', 'depth', 'norm', 'activation', 'pooling')
KNOWN = {
    'labels': ('hard',),
    'schedule': ('dsa',),
    'optimizer': ('sgd',),
    'mode': ('S',),
    'cutmix': (0.0,),
    'mixup': (0.0,),
    'accumulate': (1,),
    'norm': (None, 'instance'),
    'activation': (None, 'relu'),
    'pooling': (None, 'avg'),
}
ONLY = ' (the students in torch have the protocols dsa, dc, idm, mtt, datm and quick alone)'
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
WIDTH = 128
DROP = 0.1  # of the rate, half way
TESTED = 500  # images per forward pass
OURS = {
    'type': 'object',
    'required': ['protocol', 'accuracy'],
    'properties': {
        'protocol': {'type': 'object'},
        'accuracy': {
            'type': 'object',
            'required': ['distilled'],
            'properties': {'distilled': scores.SCORES},
        },
    },
}


class Agreement(NamedTuple):
    """Two groups of students beside each other, accuracies as fractions."""

    difference: float  # of the means, theirs - ours
    allowed: float  # two standard errors of the difference

    @property
    def holds(self) -> bool:
        """Whether the difference lies within the seeds' spread."""
        return abs(self.difference) <= self.allowed


class Task(NamedTuple):
    """What a student of torch trains on, how, and what it is tested on."""

    evaluation: Evaluation  # with the set's own learning rate, where it brings one
    images: Tensor  # [N, C, H, W], as networks see them
    labels: Tensor  # [N, Y] probabilities
    dataset: data.Dataset  # real images, prepared as the set's own were


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 within the spread, 1 outside it, 2 wrong input."""
    try:
        jax.config.update('jax_platforms', 'cpu')  # it only normalises images
        return run(*parse(argv))
    except (ValueError, OSError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Options, Given]:
    """The options of this command, those of `experiments.evaluate`, and the set.

    Raises:
        ValueError: what `scoring.parse` refuses, or fewer students than have a spread.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=str(__doc__).partition('\n')[0],
        epilog='and --dataset, --data-dir and --evaluation.* of experiments.evaluate',
        allow_abbrev=False,
    )
    parser.add_argument('distilled', help='a distilled.npz, or its workdir')
    parser.add_argument('--seeds', type=int, default=3, help='students of torch')
    parser.add_argument('--epochs', type=int, help="E of the protocol; default: the set's own")
    parser.add_argument('--ours', help='default: results.json beside the set')
    own, words = parser.parse_known_args(list(argv))
    refuse('seeds', own.seeds, 'at least 2: one student has no spread', own.seeds < 2)
    epochs = [] if own.epochs is None else ['--evaluation.epochs', str(own.epochs)]
    options, given = scoring.parse(
        [own.distilled, '--evaluation.networks', NETWORK, *words, *epochs]
    )
    return own, options, given


def run(own: argparse.Namespace, options: Options, given: Given) -> int:
    """Trains the students and says how they compare with ours."""
    e = options.evaluation
    require_known(e)
    path = expanded(own.ours or pathlib.Path(options.distilled).parent / 'results.json')
    ours = read_ours(path, e, given)
    task = assemble(e, existing.read(options, given), given)
    student = students.labels(e, task.dataset.spec.image_shape)[NETWORK]
    print(f'{report.protocol(presets.identified(e))}; {student}; {len(task.images)} images')
    theirs = []
    for seed in range(own.seeds):
        start = time.monotonic()
        theirs.append(accuracy(task, trained(task, seed)))
        print(f'student {seed}: {100 * theirs[-1]:.2f} % ({time.monotonic() - start:.0f} s)')
    found = agreement(theirs, ours)
    print(said(theirs, ours, found))
    return 0 if found.holds else 1


def require_known(e: Evaluation) -> None:
    """Refuses a protocol that the students here do not have.

    Raises:
        ValueError: names the option, what is known and what was received.
    """
    names = (*OPERATIONS, 'default', 'none')
    known = set(e.strategy.split('_')) <= set(names)
    for field, valid in KNOWN.items():
        value = getattr(e, field)
        refuse(f'evaluation.{field}', value, f'{valid[-1]!r}{ONLY}', value not in valid)
    refuse('evaluation.strategy', e.strategy, f'of {", ".join(names)}{ONLY}', not known)


def read_ours(path: pathlib.Path, e: Evaluation, given: Given) -> tuple[float, ...]:
    """Accuracies of our students of the same set under the same protocol.

    Args:
        path: a run's results.json, or what `experiments.evaluate` writes.

    Raises:
        ValueError: no such file, one of another set or of another network, one student alone, or
            another protocol; says how to make the right one.
    """
    advice = (
        f'make one: python -m experiments.evaluate DISTILLED --evaluation.networks {NETWORK} '
        '--evaluation.epochs E --output FILE, and give it with --ours FILE'
    )
    record = records.load(path, OURS)
    if record is None:
        raise ValueError(f'{path} does not exist, and nothing else holds our accuracies; {advice}')
    if record.get('set', record).get('config', {}) != given.made:
        raise ValueError(f'{path} holds the accuracies of another set; {advice}')
    if other := differences(record['protocol'], e):
        raise ValueError(f'{path} holds other students: {"; ".join(other)}; {advice}')
    row = record['accuracy']['distilled'].get(NETWORK)
    if row is None or len(row['per_seed']) < 2:
        raise ValueError(f'{path} must hold at least 2 students of {NETWORK}; {advice}')
    return tuple(row['per_seed'])


def differences(protocol: dict[str, Any], e: Evaluation) -> list[str]:
    """Where a record's students were trained otherwise than an evaluation says, in words."""
    fields = [*presets.standing(e.protocol), *ARCHITECTURE]
    return [
        f'{field} {protocol.get(field)}, here {getattr(e, field)}'
        for field in fields
        if field not in UNUSED and protocol.get(field, getattr(e, field)) != getattr(e, field)
    ]


def assemble(e: Evaluation, dataset: data.Dataset, given: Given) -> Task:
    """The set's decoded images and labels in torch's layout, its classes in the data set's order.

    Raises:
        ValueError: images that are not square, or classes of other names.
    """
    height, width, _ = dataset.spec.image_shape
    refuse('images', f'{height}x{width}', 'square', height != width)
    order = existing.class_order(given.about['class_names'], dataset.spec)
    images, labels, _ = given.synthetic
    images, labels = np.asarray(images)[order], np.asarray(labels)[order][..., order]
    return Task(
        students.with_learned_rate(e, given.synthetic),
        tensor(images.reshape(-1, *images.shape[2:]), DEVICE),
        torch.from_numpy(labels.reshape(-1, labels.shape[-1])).to(DEVICE),
        dataset,
    )


def trained(task: Task, seed: int) -> ConvNet:
    """A student after the last step: E + 1 epochs, the rate x 0.1 with a new optimiser after epoch
    E // 2 + 1."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # of the operation that a mini-batch undergoes
    e, net = task.evaluation, network(task)
    optimizer = _optimizer(e, net, 1.0)
    for epoch in range(students.num_epochs(e)):
        if epoch == e.epochs // 2 + 2:
            optimizer = _optimizer(e, net, DROP)
        for some in torch.randperm(len(task.images)).split(e.batch_size):
            images = _view(task, len(some))(task.images[some])
            loss = functional.cross_entropy(logits(task, net, images), task.labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


def network(task: Task) -> ConvNet:
    """ConvNet of the protocol's width and depth, with torch's own initialisation."""
    e, shape, classes = task.evaluation, task.dataset.spec.image_shape, task.labels.shape[1]
    depth = e.depth or models.default_depth(shape, e.pooling)
    side = shape[0] + 2 * stem_padding(shape)
    return ConvNet(classes, side, e.width or WIDTH, depth, shape[-1]).to(DEVICE)


def logits(task: Task, net: ConvNet, images: Tensor) -> Tensor:
    """`[N, C, H, W]` -> `[N, Y]`; MNIST's 28x28 are seen within 32x32, as DC's networks do."""
    return net(functional.pad(images, (stem_padding(task.dataset.spec.image_shape),) * 4))[0]


@torch.no_grad()
def accuracy(task: Task, net: ConvNet) -> float:
    """Top-1 accuracy on the data set's test images, a fraction."""
    spec, test = task.dataset.spec, task.dataset.test
    hits = 0
    for start in range(0, len(test.labels), TESTED):
        some = np.arange(start, min(start + TESTED, len(test.labels)))
        images = tensor(np.array(data.normalise(spec, test.images[some])), DEVICE)
        predicted = logits(task, net, images).argmax(1).cpu().numpy()
        hits += int((predicted == test.labels[some]).sum())
    return hits / len(test.labels)


def agreement(theirs: Sequence[float], ours: Sequence[float]) -> Agreement:
    """How far the means of two groups are apart, and how far two standard errors reach.

    2 sqrt(s_t^2 / n_t + s_o^2 / n_o), with s the sample standard deviation (n - 1): of two equal
    means, 19 of 20 differences lie within it where there are many students, and fewer where there
    are few.
    """
    spread = sum(float(np.var(some, ddof=1)) / len(some) for some in (theirs, ours))
    return Agreement(float(np.mean(theirs) - np.mean(ours)), 2 * spread**0.5)


def said(theirs: Sequence[float], ours: Sequence[float], found: Agreement) -> str:
    """Both groups and the verdict, in percent; ± is the population deviation, as in reports."""
    rows = [
        f'{name:6}{100 * np.mean(some):.2f} ± {100 * np.std(some):.2f} % ({len(some)} students)'
        for name, some in (('torch', theirs), ('ours', ours))
    ]
    verdict = 'within' if found.holds else 'OUTSIDE'
    rows.append(
        f'torch - ours: {100 * found.difference:+.2f} points, {verdict} the spread of the seeds: '
        f'two standard errors, 2 sqrt(s_t^2/n_t + s_o^2/n_o) = {100 * found.allowed:.2f} points'
    )
    return '\n'.join(rows)


def _optimizer(e: Evaluation, net: ConvNet, factor: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        net.parameters(),
        lr=factor * students.rate(e, NETWORK),
        momentum=e.momentum,
        weight_decay=e.weight_decay,
    )


def _view(task: Task, count: int) -> Transform:
    """One operation for a mini-batch, its parameters drawn per image."""
    strategy = build.strategy(task.evaluation.strategy, task.dataset.spec)
    if strategy == 'none':
        return unchanged
    return drawn(strategy, 'S', count, (task.images.shape[2], task.images.shape[3]))


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
