"""What the operator wrote, as frozen values of `relctld.core.spec`.

What lives here: where the files are (`paths`), reading and merging them (`files`, `load`), the one table of
keys (`keys`, put to use by `schema` and `parse`), what values mean (`values`, `probes`), how a problem is told
(`notes`), what a reload would change (`plan`), the last good config (`good`), systemd's EnvironmentFile syntax
(`envfile`), the operators' reference (`reference`).
What may never: asyncio, sockets, starting a process, looking up a group or a host. Loading blocks on disk: not for
the loop's thread. Every bad input ends in a ConfigError (or EnvFileError), never in another exception.
"""

from relctld.config.envfile import EnvFileError, parse_env, read_env
from relctld.config.good import keep_good, load_good, load_or_last_good
from relctld.config.load import load
from relctld.config.notes import ConfigError
from relctld.config.paths import default_config_path
from relctld.config.plan import Change, KeyChange, Plan, changed_keys, diff, fingerprints
from relctld.config.settings import Access, Config

__all__ = [
    "Access",
    "Change",
    "Config",
    "ConfigError",
    "EnvFileError",
    "KeyChange",
    "Plan",
    "changed_keys",
    "default_config_path",
    "diff",
    "fingerprints",
    "keep_good",
    "load",
    "load_good",
    "load_or_last_good",
    "parse_env",
    "read_env",
]
