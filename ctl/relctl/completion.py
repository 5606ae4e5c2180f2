"""Shell completion, written from the verbs themselves.

Rule 1: a script knows verbs and options as of this version; names of releases it asks of `relctl __names`, which
        prints nothing where the daemon does not answer.
"""

from typing import NamedTuple

from relctl.cli import listed, load
from relctl.verb import parser_of


class Words(NamedTuple):
    """What may follow a verb. `names`: the releases too; `files`: paths."""

    verb: str
    summary: str
    flags: list[tuple[list[str], str]]
    choices: list[str]
    names: bool
    files: bool


def words() -> list[Words]:
    """What may follow each verb."""
    found = []
    for verb in map(load, listed()):
        actions = parser_of(verb)._actions
        flags = [(list(action.option_strings), action.help or "") for action in actions if action.option_strings]
        choices = [str(choice) for action in actions if not action.option_strings for choice in action.choices or ()]
        files = any(word in verb.usage for word in ("TARBALL", "DIR"))
        found.append(Words(verb.name, verb.summary, flags, choices, "RELEASE" in verb.usage, files))
    return [*found, Words("help", "Show help for a verb", [], listed(), names=False, files=False)]


def script(shell: str) -> str:
    """The script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words())


_BASH = """\
# bash completion for relctl
_relctl() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            --socket) ((i++)) ;;
            -*) ;;
            *) verb=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    COMPREPLY=()
    if [[ ${{COMP_WORDS[COMP_CWORD-1]}} == --socket ]]; then
        COMPREPLY=($(compgen -f -- "$word"))
        return
    fi
    local words= names= files=
    case $verb in
        "") words="{top}" ;;
{cases}
    esac
    if [[ -n $names && $word != -* ]]; then
        words="$words $(relctl __names 2>/dev/null)"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ -n $files && ${{#COMPREPLY[@]}} == 0 ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -F _relctl relctl"""


def _bash(found: list[Words]) -> str:
    cases = []
    for verb in found:
        known = " ".join([*(flag for flags, _ in verb.flags for flag in flags), *verb.choices])
        more = f"{' names=1' if verb.names else ''}{' files=1' if verb.files else ''}"
        cases.append(f'        {verb.verb}) words="{known}"{more} ;;')
    top = " ".join([*(verb.verb for verb in found), "--socket", "--json", "--version", "--help"])
    return _BASH.format(top=top, cases="\n".join(cases))


_ZSH = """\
#compdef relctl
_relctl() {{
    local verb= i
    for ((i = 2; i < CURRENT; i++)); do
        case ${{words[i]}} in
            --socket) ((i++)) ;;
            -*) ;;
            *) verb=${{words[i]}}; break ;;
        esac
    done
    if [[ ${{words[CURRENT-1]}} == --socket ]]; then
        _files
        return
    fi
    local -a choices flags
    local files=
    case $verb in
        "") choices=({top}) flags=(--socket --json --version --help) ;;
{cases}
    esac
    if [[ $PREFIX == -* ]]; then
        compadd -- $flags
    else
        _describe -t words word choices
        [[ -n $files ]] && _files
    fi
}}
if [[ $funcstack[1] == _relctl ]]; then _relctl "$@"; else compdef _relctl relctl; fi"""


def _zsh(found: list[Words]) -> str:
    cases = []
    for verb in found:
        flags = " ".join(flag for flags, _ in verb.flags for flag in flags)
        names = '${(f)"$(relctl __names 2>/dev/null)"}' if verb.names else ""
        more = " files=1" if verb.files else ""
        cases.append(f"        {verb.verb}) choices=({names or ' '.join(verb.choices)}) flags=({flags}){more} ;;")
    top = " ".join(f"{verb.verb}:{_quoted(verb.summary)}" for verb in found)
    return _ZSH.format(top=top, cases="\n".join(cases))


def _fish(found: list[Words]) -> str:
    lines = ["# fish completion for relctl", "complete -c relctl -f"]
    none = f"not __fish_seen_subcommand_from {' '.join(verb.verb for verb in found)}"
    for verb in found:
        seen = f"__fish_seen_subcommand_from {verb.verb}"
        lines.append(f"complete -c relctl -n {_quoted(none)} -a {verb.verb} -d {_quoted(verb.summary)}")
        lines += [
            f"complete -c relctl -n {_quoted(seen)} {_fish_flags(flags)} -d {_quoted(help)}"
            for flags, help in verb.flags
        ]
        if verb.names:
            lines.append(f"complete -c relctl -n {_quoted(seen)} -a {_quoted('(relctl __names 2>/dev/null)')}")
        if verb.files:
            lines.append(f"complete -c relctl -n {_quoted(seen)} -F")
        if verb.choices:
            lines.append(f"complete -c relctl -n {_quoted(seen)} -a {_quoted(' '.join(verb.choices))}")
    return "\n".join(lines)


def _fish_flags(flags: list[str]) -> str:
    return " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in flags)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
