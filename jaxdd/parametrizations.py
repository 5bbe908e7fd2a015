"""What is learned: how stored parameters become the synthetic images."""
from jaxdd.types import Parametrization, PRNGKey, PyTree, SyntheticSet


def pixels() -> Parametrization:
    """Every pixel is a free parameter, labels are fixed, nothing is clamped (DC, DSA, DM).

    Note:
        The papers optimise in normalised space without a pixel box, so `project` is the identity; values
        outside [0, 1] are clamped only in pictures.
    """
    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        del key
        return {'images': initial.images}, {'labels': initial.labels}

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        return SyntheticSet(params['images'], fixed['labels'])

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        del fixed
        return params

    return Parametrization(init, decode, project)
