"""One module per method; `PRESETS` maps the method's name to its configuration."""
from experiments.configs import dc, dm, idc, idm, infer, sre2l
from experiments.configs.base import Config as Config

PRESETS = {'dc': dc.config, 'dsa': dc.dsa, 'dm': dm.config, 'idm': idm.config, 'idc': idc.config,
           'sre2l': sre2l.config, 'infer': infer.config}
