#!/bin/sh
# Installs relctl on a host with systemd, upgrades it, or removes it. May be repeated: it brings the host to the
# state described in docs/install.md and never touches a config, a node, or what runs.
set -eu
umask 022  # all users run relctl

usage() {
    cat <<'EOF'
usage: sh install.sh [options] [SOURCE]      install or upgrade
       sh install.sh --uninstall [--purge]   remove; --purge: state, logs, config and the run directory too

SOURCE is what pip installs: a wheel, a directory, a requirement. Default: the checkout this script lies in.
As root it installs for the system, else for the calling user (systemctl --user).

  --prefix DIR    the virtual environment (/opt/relctl; for a user ~/.local/share/relctl/venv)
  --user NAME     relctld and all releases run as NAME, not as root; "root" goes back. relctl is created if need be
  --python PATH   the Python >= 3.11 to build the environment with (default: /usr/bin/python3)
  --no-venv       units, links and config only: the environment exists already
  --uninstall, --purge, --help
DESTDIR=DIR in the environment puts all files below DIR, for packages and images; then nothing is run on this host.
EOF
}

say() { printf '%s\n' "relctl: $*"; }
die() { printf '%s\n' "relctl: cannot $action: $*" >&2; exit 1; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
DESTDIR=${DESTDIR:-}
prefix='' account='' source='' python=/usr/bin/python3 venv=yes action=install purge=no
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a directory}; shift ;;
        --user) account=${2:?--user needs a name}; shift ;;
        --python) python=${2:?--python needs a path}; shift ;;
        --no-venv) venv=no ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) source=$1 ;;
    esac
    shift
done

if [ "$(id -u)" -eq 0 ] || [ -n "$DESTDIR" ]; then
    scope=system units_from=$here
    prefix=${prefix:-/opt/relctl} bin=/usr/local/bin lib=/usr/local/lib
    units=$lib/systemd/system config=/etc/relctl
    state=/var/lib/relctl logs=/var/log/relctl run=/run/relctl
else
    scope=user units_from=$here/user
    [ -z "$account" ] || die "--user needs root"
    prefix=${prefix:-$HOME/.local/share/relctl/venv} bin=$HOME/.local/bin
    units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user config=${XDG_CONFIG_HOME:-$HOME/.config}/relctl
    state=${XDG_STATE_HOME:-$HOME/.local/state}/relctl logs=$state/log run=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/relctl
fi
case $prefix in /*) ;; *) die "--prefix $prefix is not an absolute path" ;; esac
case $prefix in *[!A-Za-z0-9/._-]*) die "--prefix $prefix has characters that a unit file would need quoted" ;; esac
case $account in *[!A-Za-z0-9._-]*) die "--user $account is not a user name" ;; esac
prefix=${prefix%/}

# systemctl for the manager concerned; never for an image, nor on a host that systemd did not boot.
manager() {
    if [ -n "$DESTDIR" ] || [ ! -d /run/systemd/system ]; then return 0; fi
    if [ $scope = user ]; then systemctl --user "$@"; else systemctl "$@"; fi
}

is_active() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ] && manager --quiet is-active "$1" 2>/dev/null; }

# put FILE TARGET [MODE]: a copy whose paths match this installation.
put() {
    mkdir -p "$DESTDIR$(dirname "$2")"
    sed -e "s|/opt/relctl/|$prefix/|g" -e "s|%h/.local/share/relctl/venv/|$prefix/|g" \
        -e "s|^User=relctl\$|User=${account:-relctl}|" -e "s|^Group=relctl\$|Group=${group:-relctl}|" \
        "$1" >"$DESTDIR$2.new"
    chmod "${3:-644}" "$DESTDIR$2.new"
    mv -f "$DESTDIR$2.new" "$DESTDIR$2"
}

install_venv() {
    if [ -z "$source" ]; then
        [ -f "$here/../pyproject.toml" ] || die "no SOURCE given and $here lies in no checkout"
        source=$here/..
    fi
    "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "$python is not a Python >= 3.11 with venv (Debian: apt-get install python3-venv), see --python"
    if [ -e "$DESTDIR$prefix" ] && [ ! -f "$DESTDIR$prefix/pyvenv.cfg" ]; then
        rmdir "$DESTDIR$prefix" 2>/dev/null || die "$DESTDIR$prefix exists and is no virtual environment"
    fi
    # After an upgrade of the system its Python may be gone: build anew.
    "$DESTDIR$prefix/bin/python" -c 'import pip' 2>/dev/null || "$python" -m venv --clear "$DESTDIR$prefix"
    "$DESTDIR$prefix/bin/python" -m pip -qq --disable-pip-version-check install --upgrade "$source"
    [ -z "$DESTDIR" ] || grep -rlI -- "$DESTDIR" "$DESTDIR$prefix/bin" "$DESTDIR$prefix/pyvenv.cfg" |
        xargs -r sed -i "s|$DESTDIR||g"
}

install_account() {
    case $account in
        '') ;;
        root)
            group=root
            rm -f "$DESTDIR$units/relctld.service.d/10-user.conf" \
                "$DESTDIR$units/relctl-logger.service.d/10-user.conf" "$DESTDIR$lib/sysusers.d/relctl-user.conf" ;;
        *)
            group=$account
            if [ "$account" = relctl ]; then
                put "$here/dedicated-user/relctl-user.sysusers.conf" "$lib"/sysusers.d/relctl-user.conf
            elif [ -z "$DESTDIR" ]; then
                group=$(id -gn "$account") || die "there is no user $account"
            fi
            put "$here/dedicated-user/relctld.conf" "$units"/relctld.service.d/10-user.conf
            put "$here/dedicated-user/relctl-logger.conf" "$units"/relctl-logger.service.d/10-user.conf ;;
    esac
}

install_all() {
    # Run from inside the environment (share/relctl/systemd): there is nothing to build.
    case $here in "$DESTDIR$prefix"/*) venv=no ;; esac
    [ $venv = no ] || install_venv
    mkdir -p "$DESTDIR$bin"
    ln -sfn "$prefix/bin/relctl" "$DESTDIR$bin/relctl"
    ln -sfn "$prefix/bin/relctld" "$DESTDIR$bin/relctld"
    for unit in "$units_from"/*.service; do put "$unit" "$units/$(basename "$unit")"; done
    if [ $scope = system ]; then
        put "$here/relctl.sysusers.conf" "$lib"/sysusers.d/relctl.conf
        put "$here/relctl.tmpfiles.conf" "$lib"/tmpfiles.d/relctl.conf
        install_account
    fi
    if [ -z "$DESTDIR" ] && [ $scope = system ]; then
        systemd-sysusers
        systemd-tmpfiles --create "$lib"/tmpfiles.d/relctl.conf
    fi
    mkdir -p "$DESTDIR$(dirname "$config")"
    for dir in "$DESTDIR$config" "$DESTDIR$config/releases.d"; do [ -d "$dir" ] || mkdir -m 750 "$dir"; done
    [ -e "$DESTDIR$config/relctld.toml" ] || put "$here/relctld.example.toml" "$config/relctld.toml" 640
    if [ -n "${group:-}" ] && [ -z "$DESTDIR" ]; then chgrp -R "$group" "$config"; fi
    manager daemon-reload || say "daemon-reload did not work: no $scope manager answers here"
    say "installed in $DESTDIR$prefix, config in $config/relctld.toml"
    [ -z "$DESTDIR" ] || return 0
    if is_active relctld.service; then
        say "the running relctld is still the old one: systemctl restart relctld (no node is touched)"
    elif [ $scope = system ]; then
        say "next: systemctl enable --now relctld"
    else
        say "next: loginctl enable-linger && systemctl --user enable --now relctld"
    fi
}

uninstall_all() {
    for unit in relctld.service relctl-logger.service; do
        ! is_active $unit || die "$unit is running; first: systemctl$([ $scope = system ] || echo ' --user')" \
            "disable --now relctld && systemctl$([ $scope = system ] || echo ' --user') stop relctl-logger"
    done
    manager --quiet disable relctld.service 2>/dev/null || true
    for unit in "$units_from"/*.service; do rm -f "$DESTDIR$units/$(basename "$unit")"; done
    if [ $scope = system ]; then
        rm -f "$DESTDIR$units/relctld.service.d/10-user.conf" "$DESTDIR$units/relctl-logger.service.d/10-user.conf"
        rmdir "$DESTDIR$units/relctld.service.d" "$DESTDIR$units/relctl-logger.service.d" 2>/dev/null || true
        rm -f "$DESTDIR$lib/sysusers.d/relctl.conf" "$DESTDIR$lib/sysusers.d/relctl-user.conf" \
            "$DESTDIR$lib/tmpfiles.d/relctl.conf"
    fi
    for name in relctl relctld; do
        [ "$(readlink "$DESTDIR$bin/$name")" != "$prefix/bin/$name" ] || rm -f "$DESTDIR$bin/$name"
    done
    # Only what is one of our environments is removed as a whole.
    if [ -f "$DESTDIR$prefix/pyvenv.cfg" ] && [ -e "$DESTDIR$prefix/bin/relctld" ]; then
        rm -rf "$DESTDIR${prefix:?}"
    fi
    manager daemon-reload || true
    if [ $purge = yes ]; then
        for dir in "$config" "$state" "$logs" "$run"; do rm -rf "$DESTDIR${dir:?}"; done
        say "removed, with config, state and logs"
    else
        say "removed; kept: $config $state $logs"
    fi
}

if [ $action = install ]; then install_all; else uninstall_all; fi
