"""Recipes of students by architecture: what each network needs to learn from a few hundred images."""
DEFAULT = 0.01                            # learning rate of the papers' evaluation, for every architecture
LEARNING_RATES: dict[str, float] = {}     # where it is another
