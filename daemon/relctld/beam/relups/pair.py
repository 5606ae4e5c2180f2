"""One application in two builds: which of its modules are not the same."""

from __future__ import annotations

from relctld.beam.package.refusals import PackageError
from relctld.beam.relups.builds import Build
from relctld.beam.relups.module import Module, read_module, read_records
from relctld.beam.relups.rules import Records


class Pair:
    """`before` and `after` are its modules by name."""

    def __init__(self, name: str, old: Build, new: Build) -> None:
        self._old, self._new = old.ebin(name), new.ebin(name)
        self.before = {module: _read(module, data, old, name) for module, data in self._old.items()}
        self.after = {module: _read(module, data, new, name) for module, data in self._new.items()}
        self._same_libraries = _libraries_in_priv(old, name) == _libraries_in_priv(new, name)

    def apart(self) -> list[str]:
        """The modules that are not the same in both, or would load another native library."""
        return [module for module in sorted({*self.before, *self.after}) if not self._is_same(module)]

    def structs(self) -> list[str]:
        """Those that define a struct with other fields than before."""
        both = self.before.keys() & self.after.keys()
        return [module for module in both if self.before[module].struct != self.after[module].struct]

    def records(self, module: str) -> tuple[Records, Records]:
        """Those of a module, before and after."""
        return read_records(self._old[module]), read_records(self._new[module])

    def _is_same(self, module: str) -> bool:
        before, after = self.before.get(module), self.after.get(module)
        if before is None or after is None or before.md5 != after.md5:
            return False
        return self._same_libraries or not after.is_native


def _read(module: str, data: bytes, build: Build, application: str) -> Module:
    try:
        return read_module(data)
    except PackageError as error:
        path = f"{build.rel.folder(application)}/ebin/{module}.beam"
        raise PackageError(error.kind, f"{path} in {build.path}: {error}", "build the release again") from error


def _libraries_in_priv(build: Build, name: str) -> dict[str, str]:
    """Each .so by its name, with its digest."""
    folder = build.rel.folder(name)
    found = [path for path in build.names(f"{folder}/priv") if path.endswith(".so")]
    return {path.removeprefix(folder): build.digest(path) for path in found}
