"""What each request means: arguments checked, then asked of the supervisor. One operation, one short method.

`Services` is what the supervisor offers; this file knows nothing else of it.
"""

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from relctld.control import eval_handlers, log_handlers, remote_handlers, upgrade_handlers
from relctld.control.access import Peer
from relctld.control.server import RefusedError, SendProgress
from relctld.core.effects import Done, Refused
from relctld.core.state import Op
from relctld.wire.messages import Request

Answered = Callable[[Done | Refused], None]

_MOST_NAMES = 1_000
_MOST_EVENTS = 10_000
_ACCEPT_WITHIN = 0.2


class Services(Protocol):
    """What the supervisor does for the door. What blocks is awaited; nothing here raises for a bad argument."""

    @property
    def remotes(self) -> remote_handlers.Sessions: ...
    @property
    def upgrades(self) -> upgrade_handlers.Upgrades: ...
    def names(self, *, configured: bool = False) -> list[str]: ...
    @property
    def evaluate(self) -> eval_handlers.Evaluate: ...
    def state_of(self, name: str) -> dict[str, Any]: ...
    def request(self, name: str, op: Op, request_id: str, by: str, answered: Answered) -> None: ...
    def watch(self, name: str, changed: Callable[[], None]) -> Callable[[], None]: ...
    async def user_name(self, uid: int) -> str: ...
    async def status(self, names: list[str]) -> dict[str, Any]: ...
    async def last_lines(self, name: str, count: int) -> list[str]: ...
    async def read_log(self, name: str, asked: log_handlers.Asked) -> log_handlers.Part | None: ...
    async def events(self, names: list[str], since: str, after: int, limit: int) -> list[dict[str, Any]]: ...
    async def crashes(self, name: str) -> list[dict[str, Any]]: ...
    async def crash_head(self, name: str, n: int) -> tuple[dict[str, Any], str] | None: ...
    async def reload(self, *, plan_only: bool, by: str) -> dict[str, Any]: ...
    def rotate(self, name: str) -> str | None: ...
    @property
    def doctor(self) -> Callable[[list[str], str | None], Awaitable[dict[str, Any]]]: ...
    def daemon_status(self) -> dict[str, Any]: ...
    def stop_daemon(self, by: str) -> None: ...
    @property
    def reexec(self) -> Callable[[str], Awaitable[dict[str, Any]]]: ...


class Handlers:
    """The operations of `wire.messages.OPS`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def handle(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        """Carry out a request. Raises RefusedError."""
        args = request.args
        match request.op:
            case "status":
                return await self._services.status(self._named(args) or self._services.names())
            case "start" | "stop" | "restart":
                return await self._change(request, peer, progress)
            case "logs":
                return await log_handlers.logs(self._services.read_log, self._one_name(args), args)
            case "rotate":
                return self._rotate(args)
            case "events":
                return await self._events(args)
            case "crashes":
                return await self._crashes(args)
            case "reload":
                return await self._reload(request, peer, progress)
            case "eval" | "rpc":
                return await self._evaluate(request, peer, progress)
            case "upgrade" | "downgrade" | "deploy":
                return await self._upgrade(request, peer, progress)
            case "remove":
                return await self._remove(request, peer, progress)
            case "versions":
                return await self._services.upgrades.versions(self._one_name(args))
            case "doctor" | "doctor-fix":
                return await self._doctor(request, peer, progress)
            case "remote":
                return await self._remote(args, peer, progress)
            case "remote-input" | "remote-resize" | "remote-close":
                return remote_handlers.about_session(self._services.remotes, request.op, args, peer)
            case "daemon-status":
                return self._services.daemon_status()
            case "daemon-stop":
                self._services.stop_daemon(await self._services.user_name(peer.uid))
                return {"stopping": True}
            case "daemon-reexec":
                progress({"accepted": True})
                return await self._services.reexec(await self._services.user_name(peer.uid))
        raise RefusedError("usage", f"relctld does not know how to {request.op}")

    async def _change(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        """start, stop, restart: all names are checked before anything is done; then they go on side by side."""
        op, args = Op(request.op), request.args
        everything, configured = args.get("all") is True, self._services.names(configured=True)
        names = self._named(args)
        if everything:
            names = self._services.names() if op is Op.STOP else configured
        elif not names:
            raise RefusedError("usage", f"{op} needs the name of a release, or --all")
        if op is not Op.STOP and (left := [name for name in names if name not in configured]):
            why = f"{', '.join(left)} left the config, and can only be stopped"
            raise RefusedError("impossible", why, "put it back into the config: relctl reload")
        progress({"accepted": True})
        by = await self._services.user_name(peer.uid)
        wait = args.get("wait") is not False
        changes = (self._one(name, op, request.id, by, progress, wait=wait) for name in names)
        return {"results": list(await asyncio.gather(*changes))}

    async def _one(
        self, name: str, op: Op, request_id: str, by: str, progress: SendProgress, *, wait: bool
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        outcome: asyncio.Future[Done | Refused] = loop.create_future()
        unwatch = self._services.watch(name, lambda: progress({"release": name, **self._services.state_of(name)}))
        self._services.request(name, op, f"{request_id}/{name}", by, lambda ended: _settle(outcome, ended))
        try:
            ended = await asyncio.wait_for(asyncio.shield(outcome), None if wait else _ACCEPT_WITHIN)
        except TimeoutError:
            ended = None
        finally:
            unwatch()
        result: dict[str, Any] = {"ok": True, "release": name, "op": str(op)}
        if ended is None:
            result |= {"changed": True, "accepted": True, **self._services.state_of(name)}
        elif isinstance(ended, Done):
            result |= {"changed": ended.changed, **self._services.state_of(name)}
        else:
            error: dict[str, Any] = {"kind": ended.kind, "message": ended.why, "hint": ended.hint}
            if ended.boot:
                result["log"] = await self._services.last_lines(name, 5)
                error["hint"] = ended.hint or f"relctl logs {name}"
            result |= {"ok": False, "error": error, "state": self._services.state_of(name)["state"]}
        result["seconds"] = round(loop.time() - begun, 3)
        progress({"release": name, "result": result})
        return result

    def _rotate(self, args: dict[str, Any]) -> dict[str, Any]:
        results = []
        for name in self._named(args) or self._services.names():
            error = self._services.rotate(name)
            result: dict[str, Any] = {"ok": error is None, "release": name, "op": "rotate"}
            if error is None:
                result["changed"] = True
            else:
                result["error"] = {"kind": "failed", "message": error, "hint": ""}
            results.append(result)
        return {"results": results}

    async def _events(self, args: dict[str, Any]) -> dict[str, Any]:
        since = args.get("since", "")
        if not isinstance(since, str):
            raise RefusedError("usage", "since is a time in RFC 3339")
        limit, after = _number(args, "limit", 1000, _MOST_EVENTS), _number(args, "after", 0, 1 << 62)
        names = self._named(args, known_only=False)
        try:
            events = await self._services.events(names, since, after, limit)
            if not events and not after:
                await self._check_history(names)
        except OSError as error:
            raise RefusedError("failed", f"the history cannot be read: {error}") from None
        return {"events": events, "last": events[-1]["seq"] if events else after}

    async def _check_history(self, names: list[str]) -> None:
        """A release that is gone has its history still; one that never was is a slip of the pen."""
        for name in set(names).difference(self._services.names()):
            if not await self._services.events([name], "", 0, 1):
                self._check([name])

    async def _crashes(self, args: dict[str, Any]) -> dict[str, Any]:
        name = self._one_name(args)
        try:
            if args.get("n") is None:
                return {"crashes": await self._services.crashes(name)}
            n = _number(args, "n", 1, 10_000)
            found = await self._services.crash_head(name, n)
        except OSError as error:
            raise RefusedError("failed", f"the crash dumps cannot be read: {error}") from None
        if found is None:
            raise RefusedError("impossible", f"there is no crash dump {n}", f"relctl crashes {name}")
        return {"crash": found[0], "head": found[1]}

    async def _reload(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        """With stop_removed, all that left the config by now is stopped, and the reply waits until it is."""
        args = request.args
        progress({"accepted": True})
        by = await self._services.user_name(peer.uid)
        plan_only = args.get("plan") is True
        result = await self._services.reload(plan_only=plan_only, by=by)
        if args.get("stop_removed") is True and not plan_only:
            configured = self._services.names(configured=True)
            removed = [name for name in self._services.names() if name not in configured]
            stops = (self._one(name, Op.STOP, request.id, by, progress, wait=True) for name in removed)
            result["results"] = list(await asyncio.gather(*stops))
        return result

    async def _evaluate(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        name = self._one_name(request.args)
        progress({"accepted": True})
        by = await self._services.user_name(peer.uid)
        return await eval_handlers.evaluate(self._services.evaluate, request.op, name, request.args, by)

    async def _upgrade(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        name = self._one_name(request.args)
        progress({"accepted": True})
        by = (peer.uid, await self._services.user_name(peer.uid))
        asked = (request.id, by)
        return await upgrade_handlers.upgrade(self._services.upgrades, request.op, name, request.args, asked, progress)

    async def _remove(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        name = self._one_name(request.args)
        progress({"accepted": True})
        by = await self._services.user_name(peer.uid)
        return await upgrade_handlers.remove(self._services.upgrades, name, request.args, by)

    async def _doctor(self, request: Request, peer: Peer, progress: SendProgress) -> dict[str, Any]:
        names = self._named(request.args)
        progress({"accepted": True})
        by = await self._services.user_name(peer.uid) if request.op == "doctor-fix" else None
        return await self._services.doctor(names, by)

    async def _remote(self, args: dict[str, Any], peer: Peer, progress: SendProgress) -> dict[str, Any]:
        name = self._one_name(args)
        progress({"accepted": True})
        by = (peer.uid, await self._services.user_name(peer.uid))
        return await remote_handlers.attach(self._services.remotes, name, args, by, progress)

    # -- arguments -----------------------------------------------------------------------------

    def _named(self, args: dict[str, Any], *, known_only: bool = True) -> list[str]:
        """The names asked for, each once, in the order asked."""
        names = args.get("names", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RefusedError("usage", "names is a list of strings")
        if len(names) > _MOST_NAMES:
            raise RefusedError("usage", f"at most {_MOST_NAMES} names at a time")
        if known_only:
            self._check(names)
        return list(dict.fromkeys(names))

    def _one_name(self, args: dict[str, Any]) -> str:
        name = args.get("release")
        if not isinstance(name, str):
            raise RefusedError("usage", "release is the name of a release")
        self._check([name])
        return name

    def _check(self, names: Iterable[str]) -> None:
        known = dict.fromkeys(self._services.names())
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name[:64], known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
                raise RefusedError("unknown-release", f"no release is named {name[:80]}", hint[:400])


def _settle(outcome: asyncio.Future[Done | Refused], ended: Done | Refused) -> None:
    if not outcome.done():
        outcome.set_result(ended)


def _number(args: dict[str, Any], key: str, default: int, most: int) -> int:
    value = args.get(key, default)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise RefusedError("usage", f"{key} is a number from 0 to {most}")
    return value
