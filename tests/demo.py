"""relctl at work on real releases, in two minutes (`make demo`).

Builds web with `mix release` and api with rebar3 from tests/releases, starts relctld on a config of its own in a
temporary directory (as whatever user), and shows with relctl's own commands what it does when things go wrong. All
that is shown is checked: exit code 0 only if all of it was seen, else 1, and what was not seen is named.
Nothing is left behind: processes are ended by pid, those of ours alone.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from typing import Any

import psutil

from tests.demo_stage import Scene, ours, painted, stage
from tests.load import Load, asked
from tests.releases import build
from tests.running import Relctld
from tests.waiting import wait_until

CLIENTS = 20
TICK = re.compile(r"^mapp tick (\d+)$", re.MULTILINE)


def comes_up(scene: Scene) -> None:
    """Two releases, one daemon"""
    scene.shell("cat relctld.toml")
    print(scene.daemon.config.read_text().rstrip(), flush=True)
    scene.shell("relctld --config relctld.toml &")
    scene.daemon.start()
    scene.relctl("start", "web", "api")
    scene.relctl("status")
    for name, flavour in (("web", "mix"), ("api", "relx")):
        now = scene.daemon.status(name)
        scene.see(f"{name} runs, a {flavour} release", (now["state"], now["flavour"]) == ("running", flavour))
        executable = os.readlink(f"/proc/{now['pid']}/exe")
        scene.see(f"pid {now['pid']} is {name}'s VM itself, no wrapper", executable.endswith("/beam.smp"), executable)


def killed_and_back(scene: Scene) -> None:
    """A VM is killed, and comes back"""
    before = scene.daemon.status("web")
    scene.shell(f"kill -9 {before['pid']}")
    began = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)
    now = scene.daemon.wait_for("web", state="running", restarts=1, health="well")
    took = time.monotonic() - began
    scene.relctl("status", "web")
    scene.relctl("events", "web")
    exits = [event for event in scene.daemon.events("web") if event["event"] == "exited"]
    causes = [(event["pid"], event["cause"], event["signal"]) for event in exits]
    scene.see(f"a new pid, {now['pid']}, well after {took:.1f} s", now["pid"] != before["pid"])
    scene.see("one restart counted", (now["restarts"], now["restarts_total"]) == (1, 1))
    scene.see("an event with the cause: killed, SIGKILL", causes == [(before["pid"], "killed", "SIGKILL")], str(causes))


def keeps_every_line(scene: Scene) -> None:
    """The log has what both VMs wrote"""
    scene.relctl("logs", "web", "-n", "4")
    runs = ticks(scene.daemon)
    scene.see(f"every tick of both VMs, {sum(map(len, runs))} lines", len(runs) == 2 and complete(runs))


def leaves_nothing(scene: Scene) -> None:
    """A stop leaves nothing behind"""
    folder = scene.daemon.folder
    before = wait_until(lambda: len(found := ours(folder, "api")) >= 5 and found, what="api's port programs") or []
    listed(before)
    sessions = {os.getsid(process.pid) for process in before if process.name() == "sleep"}
    began = time.monotonic()
    scene.relctl("stop", "api")
    took = time.monotonic() - began
    left = ours(folder, "api")
    listed(left)
    scene.see("port programs in three sessions, two without their parent, ran beside the VM", len(sessions) == 3)
    scene.see(f"{len(before)} processes before, none when stop returned, {took:.1f} s later", not left)
    scene.see("web runs on beside it", scene.daemon.status("web")["state"] == "running")


def restarts(scene: Scene) -> None:
    """A restart returns when the release is well again"""
    before = scene.daemon.status("web")
    scene.relctl("restart", "web")
    now = scene.daemon.status("web")
    scene.relctl("start", "api")
    scene.see("another VM of web, ready", now["state"] == "running" and now["pid"] != before["pid"])
    scene.see("its former one stopped on request", (now["last_exit"] or {}).get("cause") == "stopped")


def speaks_to_nodes(scene: Scene) -> None:
    """The nodes are asked, and no VM is booted for it"""
    wait_until(lambda: scene.daemon.status("web")["beam"] and scene.daemon.status("api")["beam"], what="first figures")
    text = scene.relctl("top", "--once")
    scene.see("a row for each node, with its memory and load", all(name in text for name in ("web", "api", "BEAM")))
    total = scene.relctl("eval", "api", "erlang:memory(total).")
    scene.see("Erlang evaluated in api", total.strip().isdecimal(), total)
    name = scene.relctl("eval", "web", "node()")
    scene.see("Elixir evaluated in web", name.strip() == f':"{scene.daemon.status("web")["node"]}"', name)
    text = scene.relctl("eval", "api", "1/0.", code=1)
    scene.see("what fails says so, and is told by the exit code", "badarith" in text)


def finds_what_hangs(scene: Scene) -> None:
    """A node that hangs is found, and restarted"""
    before = scene.daemon.status("api")
    scene.shell(f"kill -STOP {before['pid']}")
    began = time.monotonic()
    os.kill(before["pid"], signal.SIGSTOP)
    wait_until(lambda: scene.daemon.status("api")["health"] == "hung", 20, what="the node to be found hung")
    took = time.monotonic() - began
    scene.relctl("status", "api", code=3)
    now = scene.daemon.wait_for("api", 30, state="running", health="well")
    last = now["last_exit"] or {}
    scene.see(f"found after {took:.1f} s: alive as a process, silent as a node", took < 10)
    scene.see("restarted, with the cause: hung", now["pid"] != before["pid"] and last.get("cause") == "hung")
    scene.see("web runs on beside it", scene.daemon.status("web")["health"] == "well")


def gives_up(scene: Scene) -> None:
    """A crash loop ends in FAILED"""
    others = pids(scene.daemon, "web", "api")
    scene.relctl("start", "jobs")
    scene.daemon.wait_for("jobs", timeout=60, state="failed", restarts=2)
    wait_until(lambda: scene.daemon.status("jobs")["last_exit"]["cause"] == "crash-dump", what="the last dump")
    text = scene.relctl("status", "jobs", code=3)
    dumps = scene.relctl("crashes", "jobs")
    scene.see("failed after two restarts, with its cause: a crash dump", "failed" in text and "crash-dump" in text)
    scene.see("each of the three VMs left a dump of its own", dumps.count("application_controller") == 3)
    scene.see("web and api did not notice", pids(scene.daemon, "web", "api") == others)


def says_why(scene: Scene) -> None:
    """A start that cannot work says why"""
    mend(scene, "DEMO_BOOT_FAIL=no_database")
    text = scene.relctl("start", "jobs", code=1)
    scene.see("the cause: the boot failed", "boot failed" in text)
    scene.see("the node's own last lines, which name no_database", "  | " in text and "no_database" in text)
    scene.relctl("stop", "jobs")
    mend(scene, "DEMO_GREETING=mended")
    scene.relctl("start", "jobs")
    scene.see("mended, it runs", scene.daemon.status("jobs")["state"] == "running")


def outlives_its_daemon(scene: Scene) -> None:
    """relctld itself is killed; the nodes do not notice"""
    daemon = scene.daemon
    before = pids(daemon, "web", "api", "jobs")
    scene.shell(f"kill -9 {daemon.pid}")
    daemon.kill()
    text = scene.relctl("status", code=4)
    scene.see("relctl says that nobody is there", "relctl: cannot status" in text, text.strip())
    scene.see("all three VMs live", all(psutil.pid_exists(pid) for pid in before))
    scene.shell("relctld --config relctld.toml &")
    daemon.start()
    for name in ("web", "api", "jobs"):
        daemon.wait_for(name, state="running")
    daemon.wait_for("web", health="well")
    scene.relctl("status")
    now = pids(daemon, "web", "api", "jobs")
    scene.see("taken up again: the same three pids", now == before, f"{before} became {now}")
    scene.see("no line of web's was lost meanwhile", complete(ticks(daemon)))


def upgrades_while_it_serves(scene: Scene) -> None:
    """Another version, while twenty clients talk to each"""
    for name in ("web", "api"):
        before, port = scene.daemon.status(name), tcp_port(scene.daemon, name)
        with Load(port, CLIENTS, 0.05) as load:
            scene.relctl("upgrade", name, f"{name}-1.1.0.tar.gz")
            served(scene, name, load)
        now, state = scene.daemon.status(name), asked(port, "state")
        scene.see(f"{name}: the same pid, another version", same_node(before, now) and only("1.1.0", now))
        scene.see(f"{name}: the counter's state was migrated and kept: {state}", state == f"v2 {load.answered}")


def downgrades_while_it_serves(scene: Scene) -> None:
    """And back"""
    scene.relctl("versions", "web")
    for name in ("web", "api"):
        before, port = scene.daemon.status(name), tcp_port(scene.daemon, name)
        count = int(asked(port, "state").split()[1])
        with Load(port, CLIENTS, 0.05) as load:
            scene.relctl("downgrade", name)
            served(scene, name, load)
        now, state = scene.daemon.status(name), asked(port, "state")
        scene.see(f"{name}: the same pid, the version before", same_node(before, now) and only("1.0.0", now))
        scene.see(f"{name}: the counter counts on: {state}", state == f"v1 {count + load.answered}")


def was_never_there(scene: Scene) -> None:
    """A version that dies in its soak, and comes back as the one before"""
    text = scene.relctl("upgrade", "api", "api-1.1.0-crash.tar.gz", code=1)
    now = scene.daemon.wait_for("api", 30, state="running", health="well")
    scene.relctl("status", "api")
    scene.see("told when it died, and what runs", "died during the soak; it runs 1.0.0 as before" in text)
    scene.see("api runs 1.0.0 again, by itself", only("1.0.0", now) and now["upgrade"] is None)
    left = [path.name for path in (scene.daemon.folder / "api").rglob("*1.1.0-crash*")]
    scene.see("nothing of 1.1.0-crash is left in its tree", not left, ", ".join(left))


def lives_a_whole_life(scene: Scene) -> None:
    """From nothing: deployed, upgraded by a relup that relctl made, tidied"""
    scene.relctl("deploy", "shop", "shop-1.0.0.tar.gz")
    scene.relctl("start", "shop")
    before, port = scene.daemon.status("shop"), tcp_port(scene.daemon, "shop")
    scene.see("shop runs 1.0.0, where nothing was", before["state"] == "running" and only("1.0.0", before))
    done = json.loads(scene.relctl("deploy", "shop", "shop-1.0.0.tar.gz", "--json"))
    scene.see("the same once more changes nothing", done["ok"] and not done["changed"])
    scene.relctl("relup", "shop-1.0.0.tar.gz", "shop-1.1.0.tar.gz", "-o", "shop-1.1.0-hot.tar.gz")
    with Load(port, CLIENTS, 0.05) as load:
        scene.relctl("upgrade", "shop", "shop-1.1.0-hot.tar.gz")
        served(scene, "shop", load)
    now = scene.daemon.status("shop")
    scene.see("the same pid, another version, its state kept", same_node(before, now) and only("1.1.0", now))
    scene.relctl("remove", "shop", "1.0.0")
    left = [each["version"] for each in scene.daemon.ask("versions", {"release": "shop"})["versions"]]
    scene.see("only 1.1.0 is left", left == ["1.1.0"], ", ".join(left))
    text = scene.relctl("doctor", "shop", code=1)
    scene.see("the doctor has one word on it: who may speak to it", "listens-everywhere" in text)


def goes(scene: Scene) -> None:
    """The end"""
    scene.relctl("daemon", "stop")
    scene.see("no process left of any release", not ours(scene.daemon.folder))
    scene.relctl("status", code=4)


SCENES: tuple[Callable[[Scene], None], ...] = (
    comes_up,
    killed_and_back,
    keeps_every_line,
    leaves_nothing,
    restarts,
    speaks_to_nodes,
    finds_what_hangs,
    gives_up,
    says_why,
    outlives_its_daemon,
    upgrades_while_it_serves,
    downgrades_while_it_serves,
    was_never_there,
    lives_a_whole_life,
    goes,
)


def mend(scene: Scene, line: str) -> None:
    """Write jobs' env_file."""
    scene.shell(f"echo {line} > jobs.env")
    (scene.daemon.folder / "jobs.env").write_text(f"{line}\n")


def pids(daemon: Relctld, *names: str) -> list[int]:
    """The VMs of these releases."""
    return [daemon.status(name)["pid"] for name in names]


def tcp_port(daemon: Relctld, name: str) -> int:
    """Where the release's service listens."""
    config = tomllib.loads(daemon.config.read_text())
    return int(config["release"][name]["env"]["DEMO_TCP_PORT"])


def served(scene: Scene, name: str, load: Load) -> None:
    """What clients noticed."""
    what = f"{CLIENTS} connections, {load.answered} requests, the longest took {load.since() * 1000:.0f} ms"
    scene.see(f"{name}: {what}; none dropped, none failed", not load.dropped and not load.failed and load.is_whole())


def same_node(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether it never ended, nor restarted inside its process."""
    return all(before[key] == now[key] for key in ("pid", "epoch", "restarts_total"))


def only(version: str, release: dict[str, Any]) -> bool:
    """Whether it runs this version, and would boot it."""
    return release["version"] == release["boot_version"] == version


def ticks(daemon: Relctld) -> list[list[int]]:
    """The numbers of web's ticks in its log, a list for each of its VMs."""
    runs: list[list[int]] = []
    for number in map(int, TICK.findall(daemon.relctl("logs", "web", "-n", "100000").stdout)):
        if number == 1:
            runs.append([])
        runs[-1].append(number)
    return runs


def complete(runs: list[list[int]]) -> bool:
    """No tick is missing, and none came twice."""
    return all(run == list(range(1, len(run) + 1)) for run in runs)


def listed(processes: list[psutil.Process]) -> None:
    """Show processes in one line."""
    names = [f"{process.name()} {process.pid}" for process in processes]
    print(f"processes of api: {', '.join(names) or 'none'}", flush=True)


def play(daemon: Relctld) -> list[Scene]:
    """All scenes; one that breaks off is missed, and the next goes on."""
    scenes = []
    for number, act in enumerate(SCENES, 1):
        title = (act.__doc__ or "").strip()
        scenes.append(scene := Scene(f"{number}. {title}", daemon))
        try:
            act(scene)
        except (AssertionError, OSError, LookupError, subprocess.TimeoutExpired) as error:
            scene.see(title, False, f"{type(error).__name__}: {str(error)[:500]}")
    return scenes


def main() -> int:
    """The demo; its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    try:
        with stage() as daemon:
            built = time.monotonic()
            scenes = play(daemon)
    except build.BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    seen = [what for scene in scenes for what in scene.seen]
    missed = [what for scene in scenes for what in scene.missed]
    took = f"{time.monotonic() - built:.0f} s, after {built - began:.0f} s of building"
    print(f"\n{painted(f'Seen: {len(seen)} of {len(seen) + len(missed)}', '1')} in {took}.", flush=True)
    for what in missed:
        print(f"  {painted('not seen:', '31')} {what}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
