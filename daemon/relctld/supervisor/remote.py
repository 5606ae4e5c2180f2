"""Remote shells: the release's own, on a terminal here, relayed to an operator who is somewhere else.

    attach ─ prepare (worker) ─ terminal ─ `Session` ─ ended ─ all removed

Rule 1: only the user who opened a session feeds it; for everybody else it does not exist.
Rule 2: when relctld goes, so do the shells, and nothing of them stays: no process, no file.

    RUN/releases/NAME/remote-SESSION/            ours, so that nobody can put something else in its place
                                     scratch/    0700, the user's: what its script renders, never over the VM's files;
                                                 .erlang.cookie for a plain release
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from relctld.beam.dist import arguments, cookies
from relctld.beam.layout import ReleaseError
from relctld.beam.remote import COOKIE_FILE, NoRemoteShell, RemoteShell, remote_environment, remote_shell
from relctld.config import EnvFileError
from relctld.control.server import RefusedError, SendProgress
from relctld.core.notes import Note
from relctld.core.spec import ReleaseSpec
from relctld.core.state import ExitStatus
from relctld.host import folders
from relctld.host.errors import in_words
from relctld.host.fsuser import as_process
from relctld.host.gate import Identity
from relctld.host.terminal import GRACE, Order, Terminals
from relctld.host.users import UnknownUserError
from relctld.supervisor.history import History
from relctld.supervisor.managed import Managed
from relctld.supervisor.recipe import Place, Recipe, read_recipe
from relctld.supervisor.session import ROOM, Session
from relctld.supervisor.shell import Shell

MOST_SESSIONS = 16

_FOLDER = "remote-"


class Remotes:
    """The sessions of all releases."""

    def __init__(
        self,
        *,
        shell: Shell,
        terminals: Terminals,
        history: History,
        pool: Executor,
        run_dir: Path,
        environ: Mapping[str, str],
        soft_nofile: int,
    ) -> None:
        self._shell = shell
        self._terminals = terminals
        self._history = history
        self._pool = pool
        self._environ = environ
        self._soft_nofile = soft_nofile
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, Session] = {}
        self._opened = 0
        self._closing = False
        for left in (run_dir / "releases").glob(f"*/{_FOLDER}*"):  # of a former self that was killed
            pool.submit(_remove, left)

    async def attach(
        self, name: str, term: str, size: tuple[int, int], by: tuple[int, str], tell: SendProgress
    ) -> dict[str, Any]:
        """Run the release's remote shell to its end: {"code", "signal"}. `size`: rows, columns; `by`: uid, name.

        Raises RefusedError.
        """
        managed = self._shell.releases[name]
        if managed.state.vm is None:
            raise RefusedError("impossible", "it is not running", f"relctl start {name}")
        if self._closing:
            raise RefusedError("failed", "relctld is stopping")
        if self._opened >= MOST_SESSIONS:
            raise RefusedError("busy", f"{MOST_SESSIONS} remote shells are open, and that is the limit")
        self._opened += 1
        session_id = secrets.token_hex(16)
        place = Place(managed.folder / f"{_FOLDER}{session_id}", managed.log_folder)
        try:
            order = await self._order(managed, managed.state.vm.pid, place, term)
            return await self._serve(managed.name, session_id, order, size, by, tell)
        finally:
            self._opened -= 1
            await asyncio.shield(self._loop.run_in_executor(self._pool, _remove, place.run))
            self._sessions.pop(session_id, None)  # together with the reply: before it, nobody is told that it is over

    def feed(self, session_id: str, uid: int, seq: int, data: bytes, ack: int) -> dict[str, Any]:
        """Input of a session's client, and how many bytes of output it has shown. Raises RefusedError."""
        return self._session(session_id, uid).feed(seq, data, ack)

    def resize(self, session_id: str, uid: int, rows: int, cols: int) -> None:
        """The client's window has another size. Raises RefusedError."""
        self._session(session_id, uid).resize(rows, cols)

    def hang_up(self, session_id: str, uid: int) -> None:
        """The client leaves. Raises RefusedError."""
        self._session(session_id, uid).hang_up("left")

    async def close(self) -> None:
        """End all sessions; from now on there are no new ones."""
        self._closing = True
        for session in self._sessions.values():
            session.hang_up("relctld is stopping")
        if ends := [session.terminal.ended for session in self._sessions.values()]:
            await asyncio.wait(ends, timeout=GRACE * 2)

    def _session(self, session_id: str, uid: int) -> Session:
        session = self._sessions.get(session_id)
        if session is None or session.uid != uid:
            raise RefusedError("failed", "this session is over")
        return session

    async def _order(self, managed: Managed, pid: int, place: Place, term: str) -> Order:
        spec = managed.launched_spec or managed.spec
        work = self._loop.run_in_executor(self._pool, self._prepare, spec, pid, place, term)
        try:
            return await asyncio.shield(work)
        except NoRemoteShell as error:
            raise RefusedError("impossible", str(error), error.hint) from None
        except (ReleaseError, UnknownUserError, EnvFileError, cookies.CookieError) as error:
            raise RefusedError("impossible", str(error)) from None
        except OSError as error:
            raise RefusedError("failed", in_words(error)) from None

    def _prepare(self, spec: ReleaseSpec, pid: int, place: Place, term: str) -> Order:
        """In a worker: what is to run, and the session's directory."""
        recipe = read_recipe(spec, place, self._environ, self._soft_nofile)
        if recipe.release is None:
            why = f"it runs a command of its own, and no release with a remote shell lies in {spec.root}"
            raise NoRemoteShell(why)
        flags, living_env = arguments.living(pid)
        shell = remote_shell(recipe.release, place.scratch, flags, spec.node.name)
        place.run.mkdir(mode=0o711)
        folders.own(place.scratch, recipe.identity, 0o700)
        if shell.needs_cookie:
            with as_process(pid) if spec.node.cookie_file is None else contextlib.nullcontext():
                cookie = _cookie(spec, recipe, shell, flags, living_env)
            _put_cookie(cookie, place.scratch, recipe.identity)
        return Order(
            argv=shell.argv,
            env=remote_environment(recipe.env, shell, term),
            cwd=recipe.cwd,
            identity=recipe.switch,
            umask=recipe.umask,
            limits=recipe.limits,
        )

    async def _serve(
        self, name: str, session_id: str, order: Order, size: tuple[int, int], by: tuple[int, str], tell: SendProgress
    ) -> dict[str, Any]:
        uid, user = by
        try:
            terminal = await self._terminals.open(order, *size)
        except OSError as error:
            raise RefusedError("failed", in_words(error)) from None
        begun = self._loop.time()
        session = self._sessions[session_id] = Session(uid, terminal, tell)
        self._history.report(name, Note.REMOTE_ATTACHED, {"by": user, "pid": terminal.vm.pid})
        tell({"session": session_id, "room": ROOM})
        session.begin()
        if self._closing:
            session.hang_up("relctld is stopping")
        try:
            status = await asyncio.shield(terminal.ended)
        finally:
            terminal.kill()
            session.end()
            seconds = round(self._loop.time() - begun, 3)
            fields = {"by": user, "pid": terminal.vm.pid, "seconds": seconds, "why": session.why or "ended"}
            self._history.report(name, Note.REMOTE_DETACHED, fields)
        return _outcome(session, status)


def _outcome(session: Session, status: ExitStatus) -> dict[str, Any]:
    if session.why:
        raise RefusedError("failed", session.why)
    return {"code": status.code, "signal": status.signal}


def _cookie(spec: ReleaseSpec, recipe: Recipe, shell: RemoteShell, flags: list[str], living_env: dict[str, str]) -> str:
    assert recipe.release is not None
    places = cookies.Places(
        root=recipe.release.root,
        flavour=recipe.release.flavour,
        own="",
        flags=flags,
        env=living_env or recipe.env,
        home=Path(recipe.identity.home),
        cookie_file=spec.node.cookie_file,
    )
    return cookies.find(shell.node or "", places).cookie.secret


def _put_cookie(secret: str, folder: Path, identity: Identity) -> None:
    """The directory belongs to the release's user: nothing that he put there is followed or kept."""
    fd = os.open(folder / COOKIE_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    with open(fd, "w", encoding="latin-1") as file:
        file.write(secret)
        if os.geteuid() == 0:
            os.fchown(fd, identity.uid, identity.gid)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
