"""Policies for the encoder: which network measures the match at each step."""
from jaxdd.types import Inputs, Model, Networks, PRNGKey, PyTree, SyntheticSet, Variables


def fresh(model: Model) -> Networks:
    """A newly initialised network at every step, never trained (DM).

    Zhao & Bilen, Dataset Condensation with Distribution Matching (WACV 2023),
    https://arxiv.org/abs/2110.04181, Algorithm 1: theta ~ P_theta at each iteration.
    """
    def init(key: PRNGKey) -> PyTree:
        del key
        return ()

    def sample(state: PyTree, key: PRNGKey) -> Variables:
        del state
        return model.init(key)

    return Networks(init, sample, _keep)


def _keep(state: PyTree, key: PRNGKey, inputs: Inputs, synthetic: SyntheticSet) -> PyTree:
    del key, inputs, synthetic
    return state
