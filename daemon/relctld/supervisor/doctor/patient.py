"""One release as a check sees it: what the shell knows of it at one moment, and how to look further."""

from collections.abc import Callable
from dataclasses import dataclass

from relctld.core.spec import ReleaseSpec
from relctld.core.state import Vm
from relctld.host.records import Launched
from relctld.supervisor.doctor.findings import Finding, Kind, Mend, Severity
from relctld.supervisor.recipe import Place, Recipe


@dataclass(frozen=True, slots=True)
class Patient:
    """`wanted`: it is wanted up · `runs`: the version that runs, None without a VM · `upgrading`: its tree is somebody
    else's just now · `recipe`: how it would be launched, `start_epmd`: starts one as a launch would; both block, and
    raise as a launch does.
    """

    spec: ReleaseSpec
    place: Place
    wanted: bool
    vm: Vm | None
    launched: Launched
    runs: str | None
    upgrading: bool
    recipe: Callable[[], Recipe]
    start_epmd: Callable[[], None]

    @property
    def name(self) -> str:
        return self.spec.name

    def found(self, kind: Kind, detail: str, mend: Mend | None = None, severity: Severity | None = None) -> Finding:
        """A finding about it; while an upgrade is under way nothing is mended."""
        return Finding(kind, detail, self.name, severity, None if self.upgrading else mend)
