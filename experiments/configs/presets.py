"""What a few words set: the evaluation protocol, the smoke run,
and the embedded digits' small budget."""

import dataclasses
from typing import Any

from experiments.configs.base import Config, Evaluation, MatchedData, Network, Proxies
from experiments.configs.pools import POOLS
from experiments.configs.protocols import ALIASES, PROTOCOLS, VERSIONS, printed
from jaxdd.checks import one_of

# What a run that only shows that everything works makes smaller, where the method has it.
SMOKE = {
    'encoder': {'width': 8},
    'training': {'epochs': 1, 'num_batches': 2, 'batch_size': 8, 'queue_size': 4},
    'matching': {'num_steps': 2, 'span': 1, 'least_start': 0, 'first_start': None, 'last_start': 1},
    'early': {'epochs': 0.02},
    'experts': {'count': 2, 'epochs': None, 'batch_size': 128},
    'recover': {'classes_per_chunk': 4},
    'teachers': {
        'width': 8,
        'epochs': 0.02,
        'batch_size': 32,
        'learning_rate': 0.01,
        'warmup_epochs': 0,
    },
    'data': {'per_class': 4},
    'proxies': {'count': 1, 'epochs': 0.02, 'batch_size': 16},
}

# Options of an evaluation that say which students are trained, on what and beside what, not how.
NOT_OF_A_PROTOCOL = (
    *('protocol', 'networks', 'pool', 'width', 'depth', 'norm', 'activation', 'pooling'),
    *('label_store', 'coresets', 'full_accuracy', 'every'),
)

# What two CPU cores do in a few minutes per cell: options beside a method's own. Learning rates are
# above the published ones because the steps are so few. Numbers compare with each other and with
# the random images beside them.
_STUDENTS = '--evaluation.epochs 60 --evaluation.num-seeds 2'
_PROXIES = (
    '--proxies.count 2 --proxies.network.width 16 --proxies.epochs 0.5 --proxies.batch-size 64'
)
REDUCED_MATCHING = f'{_STUDENTS} {_PROXIES} --checkpoint-every 20'
REDUCED_RECOVERING = (
    '--num-steps 100 --teachers.width 16 --teachers.epochs 1 --evaluation.width 16 '
    '--evaluation.epochs 20 --evaluation.num-seeds 2'
)


def protocol(name: str, evaluation: Evaluation = Evaluation()) -> Evaluation:
    """The evaluation with everything that a protocol's name sets.

    Raises:
        ValueError: an unknown name.
    """
    one_of('evaluation.protocol', name, (*PROTOCOLS, *ALIASES))
    name = ALIASES.get(name, name)
    return dataclasses.replace(evaluation, protocol=name, **PROTOCOLS[name])


def resolved(evaluation: Evaluation) -> Evaluation:
    """The evaluation with its protocol's own name in the place of one that others use."""
    name = evaluation.protocol
    return dataclasses.replace(evaluation, protocol=ALIASES.get(name, name))


def standing(name: str) -> dict[str, Any]:
    """Every setting that a protocol's version stands for: what its name sets, and the defaults of
    the other options of how students train."""
    made = dataclasses.asdict(protocol(name))
    return {field: value for field, value in made.items() if field not in NOT_OF_A_PROTOCOL}


def identified(evaluation: Evaluation) -> dict[str, Any]:
    """The protocol of an evaluation, as results carry it.

    Returns:
        'name', 'version', and 'changed' {setting: {'protocol': the name's own, 'here': this one's}}
        of whatever is not the name's own, whoever changed it.
    """
    name = resolved(evaluation).protocol
    return {
        'name': printed(name),
        'version': VERSIONS[name],
        'changed': {
            field: {'protocol': value, 'here': getattr(evaluation, field)}
            for field, value in standing(name).items()
            if getattr(evaluation, field) != value
        },
    }


def pool(name: str, evaluation: Evaluation = Evaluation()) -> Evaluation:
    """The evaluation with the students of a pool.

    Raises:
        ValueError: an unknown name.
    """
    one_of('evaluation.pool', name, POOLS)
    return dataclasses.replace(evaluation, pool=name, networks=POOLS[name])


def smoke(config: Config) -> Config:
    """The same run, as small as it can be: it shows that everything works, not that it learns."""
    records = {
        name: _shrunk(getattr(config, name), values)
        for name, values in SMOKE.items()
        if hasattr(config, name)
    }
    network = dataclasses.replace(config.proxies.network, width=8)
    records['proxies'] = dataclasses.replace(records['proxies'], network=network)
    return dataclasses.replace(
        config, smoke=True, num_steps=2, evaluation=_smoke_evaluation(config), **records
    )


def _smoke_evaluation(config: Config) -> Evaluation:
    """Hard labels: the quick protocol; soft ones: the method's own, with as little of it."""
    soft = config.evaluation.labels != 'hard'
    made = config.evaluation if soft else protocol('quick', config.evaluation)
    return dataclasses.replace(made, epochs=1, num_seeds=2, width=8, warmup_epochs=0)


def _shrunk(record: Any, values: dict[str, Any]) -> Any:
    """A record with smaller values where it has the fields."""
    return dataclasses.replace(
        record, **{name: value for name, value in values.items() if hasattr(record, name)}
    )


def digits(config: Config) -> Config:
    """The embedded 8x8 digits within a minute on two CPU cores:
    narrow networks, few steps, few proxies."""
    return dataclasses.replace(
        config,
        num_steps=300,
        data=MatchedData(per_class=64),
        encoder=Network(name='convnet', width=64),
        proxies=Proxies(
            network=Network(name='convnet', width=32), count=3, epochs=15, batch_size=64
        ),
        evaluation=protocol('quick', Evaluation(width=64)),
        checkpoint_every=100,
    )
