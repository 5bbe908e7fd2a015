"""Distilled images among real ones: t-SNE of the features of one network, a colour per class."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxdd.reporting.curves import save
from jaxdd.reporting.pictures import written

REAL, CLASSES = 60, 10  # most images per class, and most classes, that a figure shows
PERPLEXITY = 30.0
_GREY = '#808080'  # of words: read on white and on black
_COLOURS = (
    *('#4477aa', '#ee6677', '#228833', '#c9a227', '#56b4d9'),
    *('#aa3377', '#8c6d46', '#e8853a', '#7766cc', '#7f8c8d'),
)

Classes = Sequence[np.ndarray]


def embed(real: Classes, synthetic: Classes, *, seed: int = 0) -> tuple[list, list]:
    """Lays features into the plane, real and distilled ones together.

    Van der Maaten & Hinton, "Visualizing Data using t-SNE" (JMLR 2008), as scikit-learn computes
    it, from the first two principal components on.

    Args:
        real: per class `[m, D]`.
        synthetic: per class `[n, D]`.
        seed: of what is random in it; the same seed gives the same plane.

    Returns:
        Per class `[m, 2]` and `[n, 2]`.

    Raises:
        ValueError: fewer than four images in all, or a feature that is not finite.
    """
    parts = [*real, *synthetic]
    features = np.concatenate([np.asarray(part, np.float32) for part in parts])
    if len(features) < 4:
        raise ValueError(f't-SNE needs at least 4 images, got {len(features)}')
    if not np.isfinite(features).all():
        raise ValueError('t-SNE needs finite features, and the network gives others')
    from sklearn.manifold import TSNE  # slow to import

    plane = TSNE(
        init='pca', random_state=seed, perplexity=min(PERPLEXITY, (len(features) - 1) / 3)
    ).fit_transform(features)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    found = np.split(plane, ends)
    return found[: len(real)], found[len(real) :]


def embedding_png(
    path: str | os.PathLike, real: Classes, synthetic: Classes, *, class_names: Sequence[str]
) -> None:
    """Draws distilled images as stars over real ones as dots, a colour per class.

    The ground is transparent, for light pages and dark ones.

    Args:
        path: the png file; written through a temporary file.
        real, synthetic: per class `[m, 2]` and `[n, 2]`, as `embed` gives them.
        class_names: one per class. A name that no letters here can write shows its number.
    """
    figure = Figure(figsize=(7.2, 4.8), layout='constrained')
    figure.patch.set_alpha(0)
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    size = 120 if max(map(len, synthetic), default=0) <= 20 else 60
    for number, (dots, stars) in enumerate(zip(real, synthetic)):
        colour = _COLOURS[number % len(_COLOURS)]
        axis.scatter(*np.reshape(dots, (-1, 2)).T, s=13, color=colour, alpha=0.38, linewidths=0)
        axis.scatter(
            *np.reshape(stars, (-1, 2)).T,
            s=size,
            marker='*',
            color=colour,
            edgecolors='white',
            linewidths=0.7,
            zorder=3,
            label=_name(class_names[number], number),
        )
    axis.set_axis_off()
    axis.legend(
        loc='center left',
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=_GREY,
        handletextpad=0.2,
    )
    save(path, figure)


def _name(name: str, number: int) -> str:
    """A class's name where the figure's font has its letters, else its number."""
    ((text, whole),) = written([name], 12)[1]
    return text.replace('$', r'\$') if whole and text.isascii() else str(number)
