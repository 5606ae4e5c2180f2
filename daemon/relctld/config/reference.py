"""The operators' reference of the config, made from the table of keys."""

from relctld.config.keys import ANY, KEYS, Key
from relctld.config.schema import default

_HEAD = """\
# Configuration reference

<!-- Generated: python -m relctld.config > docs/reference-config.md -->

relctld reads one TOML file and those that its `include` names. A table given in part keeps the other defaults, and
`[release.NAME.health]` says the same as `health = { … }` in `[release.NAME]`. `[daemon]` stands in the main file
only, each release in one file. Names of releases: a letter or digit, then up to 63 letters, digits, `_` or `-`.

* **Duration**: a number with a unit, `ms`, `s`, `m`, `h` or `d`: `"500ms"`, `"1.5h"`. No sum, no sign.
* **Size**: a number with a unit, `B`, `kB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB` or `GiB` (powers of 1024).
* **`"off"`** switches off an optional key; where it stands as the default the key is unset.
* **Probe**: `node` (asked over its link), `process` (it is alive), `auto` (the node where a link is possible, else the
  process), `tcp:HOST:PORT` (an IPv6 address in brackets), `http://HOST:PORT/PATH` (answered with a status from 200 to
  399), `exec:COMMAND LINE` (split into words, no shell; it ends with 0), `mfa:M:F` (the node's own function says `true`
  or `ok`).

**Acts** says when a change does after `relctl reload`: *at once*, or with the next *restart* of the release, which
`relctl status` lists as pending.

| file | as root | as a user | systemd's word for it |
|---|---|---|---|
| config | `/etc/relctl/relctld.toml` | `$XDG_CONFIG_HOME/relctl/relctld.toml` | `CONFIGURATION_DIRECTORY` |
| `state_dir` | `/var/lib/relctl` | `$XDG_STATE_HOME/relctl` | `STATE_DIRECTORY` |
| `log_dir` | `/var/log/relctl` | `$XDG_STATE_HOME/relctl/log` | `LOGS_DIRECTORY` |
| `run_dir` | `/run/relctl` | `$XDG_RUNTIME_DIR/relctl`, else `$TMPDIR/relctl-UID` | `RUNTIME_DIRECTORY` |

A key of `[daemon]` wins over systemd's word, and that over the rest.
"""


def reference() -> str:
    """The page `docs/reference-config.md`."""
    return "\n".join((_HEAD, *(_table(table) for table in KEYS)))


def _table(table: str) -> str:
    name = table.replace("release", "release.NAME", 1)
    rows = "\n".join(_row(table, key) for key in KEYS[table])
    return f"## `[{name}]`\n\n| key | value | default | acts | |\n|---|---|---|---|---|\n{rows}\n"


def _row(table: str, key: Key) -> str:
    name = "*any name*" if key.name == ANY else f"`{key.name}`"
    cells = (
        name,
        key.kind.expected,
        _default(table, key),
        key.acts.value,
        key.doc,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(table: str, key: Key) -> str:
    if key.required:
        return "required"
    return "" if key.name == ANY else f"`{key.kind.show(default(table, key))}`"
