"""One module per method; `PRESETS` maps the method's name to its configuration."""
from experiments.configs import dm
from experiments.configs.base import Config as Config

PRESETS = {'dm': dm.config}
