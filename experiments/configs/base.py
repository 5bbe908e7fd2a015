"""The configuration's records: every field, its default, its unit. Values of the papers live in the presets."""
import dataclasses

import tyro

from jaxdd.checks import one_of

frozen = dataclasses.dataclass(frozen=True, kw_only=True)


@frozen
class Data:
    """The training set, and how much of it a step sees."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: int | None = None
    """Pixels; resizes an image folder's images, shorter side then centre crop."""
    per_class: int = 256
    """Real images per class per step."""
    feed: str = 'device'
    """'device': the whole set lies on the devices. 'stream': batches come from the host, for sets that do not fit."""


@frozen
class Network:
    """An architecture."""
    name: str = 'convnet'
    """One of the names of jaxdd.models."""
    width: int | None = None
    """Channels of the first block; default: the architecture's own."""
    depth: int | None = None
    """Blocks of a ConvNet; default: 3, less for images under 16 pixels."""


@frozen
class SGD:
    """Stochastic gradient descent on the synthetic set."""
    learning_rate: float = 1.0
    momentum: float = 0.5


@frozen
class Augmentation:
    """DSA."""
    strategy: str | None = None
    """Operations joined by '_', or 'none'; default: all six, without flip where a mirror image changes the class."""
    mode: str = 'S'
    """'S': one operation per draw. 'M': all of them in order."""


@frozen
class Regularizer:
    """One plug-in's weight."""
    weight: float | None = None
    """lambda; None: automatic, so that its gradient is `ratio` times the objective's at the start."""
    ratio: float = 0.1
    """Wanted ||lambda grad R|| / ||grad L|| of an automatic weight."""
    source: str = 'not published: automatic scale'
    """Where the weight comes from."""


@frozen
class Regularizers:
    """The plug-ins' weights; they apply to those named in `plugins`."""
    cc: Regularizer = Regularizer()
    """Class centralization (IID)."""
    cc_form: str = 'squared'
    """'squared' as in the authors' code, 'exp_hinge' as in the paper."""
    cm: Regularizer = Regularizer()
    """Local covariance matching (IID)."""
    cmi: Regularizer = Regularizer()
    """Conditional mutual information (CMI)."""


@frozen
class Proxies:
    """The pool of networks trained on real data that CC and CMI read."""
    network: Network = Network(name='resnet18')
    count: int = 20
    """Networks; the papers use 1000, their comments allow 200."""
    epochs: float = 40
    """Passes over the training set per network."""
    batch_size: int = 256
    """Images."""
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-3
    seed: int = 0
    """Of the pool; runs with another `seed` share the pool."""


@frozen
class Evaluation:
    """Students trained from scratch on the distilled set."""
    protocol: str = 'dsa'
    """Sets the fields below: 'dsa' (DSA, DM, IDM, IID), 'dc' (300 epochs, no augmentation) or 'quick'."""
    networks: tuple[str, ...] = ('convnet',)
    """Architectures of the students."""
    width: int | None = None
    """Channels of the students' first block; default: the architecture's own."""
    num_seeds: int = 5
    """Students per architecture."""
    epochs: int = 1000
    """The last epoch index: epochs 0..E are run, E + 1 in all, as in the papers' code."""
    batch_size: int = 256
    """Images."""
    learning_rate: float = 0.01
    """x 0.1 with a new optimiser after epoch E // 2 + 1."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = True
    """DSA on the students' batches: one operation per batch, parameters per image."""
    every: int = 0
    """Synthetic-set updates between evaluations on the way; 0: only at the end."""


@frozen
class Config:
    """One run: prepare, distil, evaluate, report."""
    method: tyro.conf.Positional[str]
    """The method."""
    dataset: str = 'cifar10'
    """A data set's name, an .npz file or an image folder."""
    ipc: int = 10
    """Images per class that are stored."""
    plugins: tuple[str, ...] = ()
    """Regularizers: any of cc cm cmi."""
    smoke: bool = False
    """Shrink everything to a test of a few seconds."""
    workdir: str = 'runs/latest'
    """Everything that the run writes; the same command continues what is there."""
    cache_dir: str = '~/.cache/jaxdd'
    """Trained proxies and the random baseline's accuracies, shared between runs."""
    seed: int = 0
    num_steps: int = 20_000
    """Synthetic-set updates."""
    optimizer: SGD = SGD()
    data: Data = Data()
    encoder: Network = Network()
    augmentation: Augmentation = Augmentation()
    regularizers: Regularizers = Regularizers()
    proxies: Proxies = Proxies()
    evaluation: Evaluation = Evaluation()
    checkpoint_every: int = 500
    """Synthetic-set updates between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""
    steps_per_call: int | None = None
    """Steps per dispatch; default: 1 on CPUs, 50 on accelerators."""
    num_devices: int | None = None
    """Devices to use; default: all, one per core on a CPU host."""


# What a protocol's name sets; a name is printed with its epochs, so that a changed budget is seen. 'quick' is for smoke
# runs and first looks: its numbers compare with nothing published.
PROTOCOLS = {'dsa': {'epochs': 1000, 'num_seeds': 5, 'augment': True},
             'dc': {'epochs': 300, 'num_seeds': 5, 'augment': False},
             'quick': {'epochs': 100, 'num_seeds': 3, 'augment': True}}


def protocol(name: str, evaluation: Evaluation = Evaluation()) -> Evaluation:
    """The evaluation with everything that a protocol's name sets.

    Raises:
        ValueError: an unknown name.
    """
    one_of('evaluation.protocol', name, PROTOCOLS)
    return dataclasses.replace(evaluation, protocol=name, **PROTOCOLS[name])


def smoke(config: Config) -> Config:
    """The same run, as small as it can be: it shows that everything works, not that it learns."""
    def small(network: Network) -> Network:
        return dataclasses.replace(network, width=8)
    return dataclasses.replace(
        config, smoke=True, num_steps=2, encoder=small(config.encoder),
        data=dataclasses.replace(config.data, per_class=4),
        proxies=dataclasses.replace(config.proxies, network=small(config.proxies.network), count=1, epochs=0.02,
                                    batch_size=16),
        evaluation=dataclasses.replace(protocol('quick', config.evaluation), epochs=1, num_seeds=2, width=8))
