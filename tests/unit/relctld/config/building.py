"""What the tests of the config share: a directory of files, and a load that is not told who runs it."""

from pathlib import Path

import pytest
from hypothesis import settings

from relctld.config import Config, ConfigError, load

UNHURRIED = settings(deadline=None)  # a noisy machine is no bug
ENVIRON = {"HOME": "/home/op"}
GOOD = """
[daemon]
state_dir = "/s"
[daemon.access]
admin = ["@wheel"]
[release.web]
root = "/opt/web"
command = ["bin/web", "foreground"]
env = { PORT = "8080" }
ready = "tcp:[::1]:80"
limits = { nofile = 1024 }
[release.web.health]
interval = "1.5s"
[release.api]
root = "/opt/api"
"""


class Files:
    """Config files in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.main = directory / "relctld.toml"
        (directory / "releases.d").mkdir()

    def write(self, text: str, name: str = "relctld.toml") -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def load(self, text: str | None = None, *, uid: int = 0) -> Config:
        if text is not None:
            self.write(text)
        return load(self.main, uid=uid, environ=ENVIRON)

    def release(self, lines: str, *, uid: int = 0) -> Config:
        return self.load(f'[release.web]\nroot = "/opt/web"\n{lines}\n', uid=uid)

    def problems(self, text: str | None = None, *, uid: int = 0) -> list[str]:
        """What is wrong, each without "cannot use", the directory's path shortened to DIR."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, uid=uid)
        assert str(caught.value) == "; ".join(caught.value.problems)
        short = [problem.replace(str(self.directory), "DIR") for problem in caught.value.problems]
        assert all(problem.startswith("cannot use DIR/") for problem in short)
        return [problem.removeprefix("cannot use ") for problem in short]

    def problem(self, lines: str, *, uid: int = 0) -> str:
        """The one thing that is wrong with a release of these lines, without the name of the file."""
        (only,) = self.problems(f'[release.web]\nroot = "/opt/web"\n{lines}\n', uid=uid)
        return only.removeprefix("DIR/relctld.toml: ")
