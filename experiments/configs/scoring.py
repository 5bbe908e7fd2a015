"""The options of an evaluation of a distilled set that is there already."""

import tyro

from experiments.configs import base
from experiments.configs.rules import Count, Seed, choice


@base.frozen
class Options:
    """One evaluation of one distilled set."""

    distilled: tyro.conf.Positional[str]
    """A distilled.npz."""
    dataset: str
    """Where the test images come from; default: what the set was distilled from."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: Count | None = None
    """Pixels; resizes an image folder's images. Default: as the set's own were."""
    resize: choice('square', 'stretched', 'margin') = 'square'
    """Of an image folder: 'square', 'stretched' or 'margin'.
    Default: as the set's own images were."""
    evaluation: base.Evaluation = base.Evaluation()
    """Default: the protocol that the set was scored under, on those of IID's four architectures
    (or of `evaluation.pool`) that fit its images."""
    random: bool = False
    """Also score as many random real images, stored ones counted, under the same protocol."""
    seed: Seed = 0
    output: str | None = None
    """Default: evaluation.json beside the set."""
    steps_per_call: Count | None = None
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: Count | None = None
    """Devices to use; default: all, one per core on a CPU host."""
    precision: base.PRECISION | None = None
    """Of what networks compute before their last layer; default: 'bf16' on accelerators, 'f32' on
    CPUs."""
    hosts: base.Hosts = base.Hosts()
