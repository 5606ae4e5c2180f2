"""A release of ten small applications in two versions, for the bench of upgrades: rmany by rebar3, mmany by mix.

    many_1 … many_10    an application each, the same in both releases: a supervisor, a server, three modules more

From 1.0.0 to 1.1.0 all ten change: the servers migrate their state, one of those modules gets new code.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tests.releases.build import SOURCES, cached, check, default_cache, fingerprint, run
from tests.releases.package import by_mix, by_relx

APPS = tuple(f"many_{number}" for number in range(1, 11))
VERSIONS = ("1.0.0", "1.1.0")
LIKE = {"rmany": "rapp", "mmany": "mapp"}  # which sample's tools and configuration

APP_SRC = """\
{application, NAME, [
    {description, "One of many"},
    {vsn, {cmd, "printf %s ${VSN}"}},
    {registered, [NAME_sup, NAME_srv]},
    {mod, {NAME_app, []}},
    {applications, [kernel, stdlib, sasl]}
]}.
"""
APP = """\
-module(NAME_app).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1]).
start(_Type, _Args) -> supervisor:start_link({local, NAME_sup}, ?MODULE, []).
stop(_State) -> ok.
init([]) -> {ok, {#{}, [#{id => NAME_srv, start => {NAME_srv, start_link, []}}]}}.
"""
SERVER = """\
-module(NAME_srv).
-behaviour(gen_server).
-export([start_link/0, get/0]).
-export([init/1, handle_call/3, handle_cast/2, code_change/3]).
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).
get() -> gen_server:call(?MODULE, get).
init([]) -> {ok, {STATE, 0}}.
handle_call(get, _From, State) -> {reply, State, State}.
handle_cast(_Request, State) -> {noreply, State}.
code_change({down, _}, {v2, N}, _Extra) -> {ok, {v1, N}};
code_change(_Old, {_, N}, _Extra) -> {ok, {STATE, N}}.
"""
MODULE = "-module(NAME_WHICH).\n-export([which/0]).\nwhich() -> SAYS.\n"
APPUP = """\
{"1.1.0",
 [{"1.0.0", [{load_module, NAME_changed}, {update, NAME_srv, {advanced, []}, [NAME_changed]}]}],
 [{"1.0.0", [{load_module, NAME_changed}, {update, NAME_srv, {advanced, []}, [NAME_changed]}]}]}.
"""
REBAR = """\
{erl_opts, [warnings_as_errors, deterministic]}.
{relx, [
    {release, {rmany, {cmd, "printf %s ${VSN}"}}, [APPS, sasl]},
    {mode, prod}, {include_erts, true}, {include_src, false}, {debug_info, strip}, {extended_start_script, true},
    {sys_config_src, "config/sys.config.src"}, {vm_args_src, "config/vm.args.src"}
]}.
"""
MIX_APP = """\
defmodule MODULE.MixProject do
  use Mix.Project
  def project, do: [app: :NAME, version: System.fetch_env!("VSN"), erlc_options: [:deterministic]]
  def application, do: [mod: {:NAME_app, []}, extra_applications: [:sasl]]
end
"""
MIX = """\
Code.require_file("relup.exs", __DIR__)

defmodule Mmany.MixProject do
  use Mix.Project

  def project do
    [
      app: :mmany,
      version: "1.0.0",
      start_permanent: true,
      deps: for(path <- Path.wildcard("apps/*"), do: {String.to_atom(Path.basename(path)), path: path}),
      releases: [
        mmany: [
          version: System.fetch_env!("VSN"), include_executables_for: [:unix], strip_beams: true, steps: Relup.steps()
        ]
      ]
    ]
  end

  def application, do: [extra_applications: [:logger, :sasl]]
end
"""


def build(name: str, cache: Path | None = None) -> Path:
    """The root of 1.0.0 of rmany or mmany in the cache, built if need be."""
    root = _cached_at(name, "root", cache)
    return cached(root, root.with_suffix(".lock"), lambda scratch: _build_in(scratch, name))


def package(name: str, cache: Path | None = None) -> Path:
    """The tarball of 1.1.0, with a relup from and to 1.0.0."""
    before, folder = build(name, cache), _cached_at(name, "tar", cache)
    cached(folder, folder.with_suffix(".lock"), lambda scratch: _package_in(scratch, name, before))
    return next(folder.glob("*.tar.gz"))


def _cached_at(name: str, what: str, cache: Path | None) -> Path:
    check(LIKE[name], "1.0.0")
    files = (Path(__file__), SOURCES / "package.py")
    of = fingerprint(LIKE[name], "1.0.0").encode() + b"".join(path.read_bytes() for path in files)
    return (cache or default_cache()) / f"{name}-{what}-{hashlib.sha256(of).hexdigest()[:16]}"


def _build_in(scratch: Path, name: str) -> Path:
    source, vsn = scratch / name, VERSIONS[0]
    _lay_sources(name, vsn, source)
    if name == "rmany":
        run(["rebar3", "as", "prod", "release"], source, vsn)
    else:
        run(["mix", "release"], source, vsn)
    return source / "_build" / "prod" / "rel" / name


def _package_in(scratch: Path, name: str, before: Path) -> Path:
    source, vsn, folder = scratch / name, VERSIONS[1], scratch / "package"
    _lay_sources(name, vsn, source)
    made = (by_relx if name == "rmany" else by_mix)(source, name, vsn, before)
    folder.mkdir()
    made.rename(folder / made.name)
    return folder


def _lay_sources(name: str, vsn: str, source: Path) -> None:
    """The applications, and what makes a release of them."""
    for app in APPS:
        _lay_app(source / "apps" / app, app, vsn, by_mix=name == "mmany")
    config, limit = source / "config", 10 if vsn == VERSIONS[0] else 20
    config.mkdir()
    if name == "rmany":
        (source / "rebar.config").write_text(REBAR.replace("APPS", ", ".join(APPS)))
        args = (SOURCES / "rapp" / "config" / "vm.args.src").read_text()
        (config / "vm.args.src").write_text(args.replace("rapp", "rmany"))
        (config / "sys.config.src").write_text(f"[{{many_1, [{{limit, ${{DEMO_LIMIT:-{limit}}}}}]}}].\n")
    else:
        (source / "mix.exs").write_text(MIX)
        shutil.copy(SOURCES / "mapp" / "relup.exs", source)
        shutil.copytree(SOURCES / "mapp" / "rel", source / "rel")
        (config / "runtime.exs").write_text(
            f'import Config\nconfig :many_1, limit: String.to_integer(System.get_env("DEMO_LIMIT", "{limit}"))\n'
        )


def _lay_app(folder: Path, app: str, vsn: str, *, by_mix: bool) -> None:
    state = "v1" if vsn == VERSIONS[0] else "v2"
    files = {f"src/{app}_app.erl": APP, f"src/{app}_srv.erl": SERVER.replace("STATE", state)}
    for which, says in (("changed", state), ("same", "same"), ("other", "other")):
        files[f"src/{app}_{which}.erl"] = MODULE.replace("WHICH", which).replace("SAYS", says)
    if by_mix:
        files["mix.exs"] = MIX_APP.replace("MODULE", app.title().replace("_", ""))
    else:
        files[f"src/{app}.app.src"] = APP_SRC
    if vsn != VERSIONS[0]:  # rebar3 takes the files of ebin along, our mix step those of the top
        files[f"{app}.appup" if by_mix else f"ebin/{app}.appup"] = APPUP
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace("NAME", app))
