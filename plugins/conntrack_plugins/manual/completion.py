r"""Bash completion of all commands, from their own parsers.

python3 -m conntrack_plugins.manual.completion DIRECTORY

The script asks no program. What was typed, and names of files and namespaces, are never evaluated.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from conntrack_common.breakdown import DIMENSIONS
from conntrack_common.catalogue.lookup import CATALOGUE
from conntrack_common.catalogue.metric import COUNTER
from conntrack_common.records import NamedTuple
from conntrack_common.terms import PROTOCOLS, STATE_ALIASES, STATES, STATUS_FLAGS
from conntrack_plugins.interface import Interface, Option
from conntrack_plugins.manual.commands import commands
from conntrack_plugins.render import AGENTS
from conntrack_plugins.render.settings import BY_KEY
from conntrack_plugins.stat.conntrack_line import OUTPUTS

NAMED = "/run/netns"
FILE = "conntrack-stat"


class Value(NamedTuple):
    """What an option takes: the way it is completed, the words known, and whether it must be."""

    way: str = ""
    words: tuple[str, ...] = ()
    optional: bool = False


WORD, LIST, OPEN, FILES, FOLDERS, NETNS, ANY = (
    "word",
    "list",
    "open",
    "files",
    "folders",
    "netns",
    "any",
)
METRICS = tuple(metric.id for metric in CATALOGUE)
CHECKED = tuple(
    name
    for metric in CATALOGUE
    for name in (metric.id, *((f"{metric.id}/s",) if metric.kind == COUNTER else ()))
)
STATE_WORDS = tuple(
    dict.fromkeys([*(name for names in STATES.values() for name in names), *STATE_ALIASES])
)
# How the value of an option is completed, by what the parser calls it.
VALUES: Mapping[str, Value] = {
    "AGENT": Value(WORD, tuple(AGENTS)),
    "DIMENSION,…": Value(LIST, tuple(DIMENSIONS)),
    "DIR": Value(FOLDERS),
    "EVENT,…": Value(LIST, ("NEW", "UPDATES", "DESTROY", "ALL")),
    "FILE": Value(FILES),
    "FILE.prom": Value(FILES),
    "FLAG,…": Value(LIST, (*STATUS_FLAGS, "UNREPLIED", "UNSET")),
    "FORMAT,…": Value(LIST, OUTPUTS),
    "KEY=VALUE": Value(OPEN, tuple(f"{key}=" for key in BY_KEY)),
    "METRIC,WARN,CRIT": Value(OPEN, CHECKED),
    "NAME|PATH|PID|all": Value(NETNS),
    "PATH": Value(FILES),
    "PATTERN,…": Value(LIST, METRICS),
    "PROTO": Value(WORD, tuple(PROTOCOLS.values())),
    "STATE": Value(WORD, STATE_WORDS),
    "ipv4|ipv6": Value(WORD, ("ipv4", "ipv6")),
}

HEAD = r"""# Bash completion of conntrack-plugins: python3 -m conntrack_plugins.manual.completion.
# What was typed, and the names of files and namespaces, are compared and never evaluated.

# Add those of the words that begin with $current, as bash will put them behind $prefix.
_conntrack_plugins_offer() {
    local word
    for word; do
        if [[ $word == "$current"* ]]; then
            word=$head$word
            COMPREPLY+=("${word#"$prefix"}")
        fi
    done
}

# Add files, or folders alone, that begin with $current.
_conntrack_plugins_files() {
    local path typed=$current home=
    if [[ $current == '~'/* ]]; then
        home=${HOME-} typed=${HOME-}${current#'~'}
    fi
    while IFS= read -r -d '' path; do
        if [[ -d $path || $1 == files && ( -e $path || -L $path ) ]]; then
            [[ -n $home ]] && path='~'${path#"$home"}
            _conntrack_plugins_offer "$path"
        fi
    done < <(shopt -u failglob nullglob; set +f; printf '%s\0' "$typed"*)
    compopt -o filenames 2>/dev/null
}

# Add files, or network namespaces that have a name, quoted: they may be called anything.
_conntrack_plugins_netns() {
    local path name quoted
    if [[ $current == /* ]]; then
        _conntrack_plugins_files files
        return
    fi
    _conntrack_plugins_offer all
    while IFS= read -r -d '' path; do
        name=${path##*/}
        if [[ $name == "$current"* && ( -e $path || -L $path ) ]]; then
            printf -v quoted '%q' "$name"
            if [[ $quoted == "$name" || -z $quote ]]; then
                quoted=$head$quoted
                COMPREPLY+=("${quoted#"$prefix"}")
            fi
        fi
    done < <(shopt -u failglob nullglob; set +f; printf '%s\0' @NAMED@/*)
}

# Say what may be in a place (a command, or a command and its subcommand): $options, $names of
# subcommands and arguments; and of the option $2 the $way in which its value is completed, its
# $words, and whether it is $optional.
_conntrack_plugins_place() {
    options=() names=() way='' words=() optional=''
    case $1 in
"""
TAIL = r"""    esac
}

_conntrack_plugins() {
    local i word line=${COMP_LINE-} said=()
    COMPREPLY=()
    # Bash breaks words at '=' and ':', too: what has no blank between belongs together.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)); then
            said=("$word")
        elif [[ -n ${COMP_LINE-} && $line != [[:space:]]* && $line == "$word"* ]] ||
            [[ -z ${COMP_LINE-} && ( $word == = || ${COMP_WORDS[i - 1]} == = ) ]]; then
            said[${#said[@]} - 1]+=$word
        else
            said+=("$word")
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#*"$word"}
    done
    _conntrack_plugins_complete "${said[@]}"
}

# Complete the last of these words.
_conntrack_plugins_complete() {
    local place=${1##*/} option='' current=${*:$#} token=${COMP_WORDS[COMP_CWORD]}
    local word name prefix head='' quote='' options names way words optional
    shift
    while (($# > 1)); do
        word=$1
        shift
        if [[ -n $option && ( -z $optional || $word != -* ) ]]; then
            option=''
            continue
        fi
        option=''
        if [[ $word == -* ]]; then
            _conntrack_plugins_place "$place" "$word"
            [[ -n $way ]] && option=$word
        else
            _conntrack_plugins_place "$place" ''
            for name in "${names[@]}"; do
                if [[ $name == "$word" && $place != *' '* ]]; then
                    place+=" $word"
                    break
                fi
            done
        fi
    done
    # Behind a break that was just typed, bash replaces nothing.
    [[ $token == [=:] ]] && token=''
    prefix=${current%"$token"}
    if [[ $current == --*=* ]]; then
        option=${current%%=*}
        head=$option=
        current=${current#*=}
    elif [[ -n $option && -n $optional && $current == -* ]]; then
        option=''
    fi
    _conntrack_plugins_place "$place" "$option"
    if [[ $current == [\'\"]* ]]; then
        quote=${current:0:1}
        current=${current:1}
    fi
    current=${current//\\/}
    if [[ -n $option ]]; then
        case $way in
        word) _conntrack_plugins_offer "${words[@]}" ;;
        open)
            _conntrack_plugins_offer "${words[@]}"
            compopt -o nospace 2>/dev/null
            ;;
        list)
            head+=${current%"${current##*,}"}
            current=${current##*,}
            _conntrack_plugins_offer "${words[@]}"
            ;;
        netns) _conntrack_plugins_netns ;;
        files | folders) _conntrack_plugins_files "$way" ;;
        esac
        # Where the value may be left out, the next option may follow, too.
        [[ -n $optional && -z $head$current ]] && _conntrack_plugins_offer "${options[@]}"
    elif [[ $current == -* || ${#names[@]} -eq 0 ]]; then
        _conntrack_plugins_offer "${options[@]}"
    else
        _conntrack_plugins_offer "${names[@]}"
    fi
}

"""


def script(named: str = NAMED) -> str:
    """Return the script; `named` is the folder in which network namespaces have names."""
    interfaces = commands()
    head = HEAD.replace("@NAMED@", shlex.quote(named))
    cases = "".join(_cases(interfaces.values()))
    return f"{head}{cases}{TAIL}complete -F _conntrack_plugins {' '.join(interfaces)}\n"


def value(command: str, option: Option) -> Value:
    """Return how an option's value is completed; the way is empty if it takes none."""
    if not option.value:
        return Value()
    if option.choices:
        return Value(WORD, option.choices, option.value_is_optional)
    found = VALUES.get(option.value, Value(ANY))._replace(optional=option.value_is_optional)
    if command == "check_conntrackd" and found.way == OPEN:
        # It asks conntrackd alone.
        return found._replace(words=tuple(id_ for id_ in found.words if id_.startswith("sync.")))
    return found


def _cases(interfaces: Iterable[Interface]) -> Iterator[str]:
    for interface in interfaces:
        yield from _case(interface.name, interface)
        for each in interface.subcommands:
            yield from _case(f"{interface.name} {each.name}", each)


def _case(place: str, interface: Interface) -> Iterator[str]:
    flags = [flag for option in interface.options for flag in option.flags]
    names = [each.name for each in interface.subcommands]
    for option in interface.options:
        names += () if option.flags else value(interface.name, option).words
    yield f"    {shlex.quote(place)})\n{_array('options', flags)}{_array('names', names)}"
    yield "        case $2 in\n"
    for taken, patterns in _by_value(interface.name, interface.options).items():
        if taken.way:
            yield f"        {' | '.join(patterns)})\n            way={taken.way}"
            yield " optional=yes\n" if taken.optional else "\n"
            yield textwrap.indent(_array("words", taken.words), "    ")
            yield "            ;;\n"
    yield "        esac\n        ;;\n"


def _by_value(command: str, options: Iterable[Option]) -> Mapping[Value, list[str]]:
    found: dict[Value, list[str]] = {}
    for option in options:
        found.setdefault(value(command, option), []).extend(map(shlex.quote, option.flags))
    return {taken: patterns for taken, patterns in found.items() if patterns}


def _array(name: str, words: Iterable[str]) -> str:
    """Return the assignment of words to an array, in lines to read; nothing for no words."""
    lines = textwrap.wrap(
        " ".join(map(shlex.quote, words)), 88, break_long_words=False, break_on_hyphens=False
    )
    if not lines:
        return ""
    if len(lines) == 1:
        return f"        {name}=({lines[0]})\n"
    return f"        {name}=(\n{textwrap.indent(chr(10).join(lines), ' ' * 12)}\n        )\n"


def main(argv: Sequence[str]) -> None:
    """Write the script, and a link to it for each other command, as bash-completion wants it."""
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name in commands():
        (folder / name).unlink(missing_ok=True)
        if name != FILE:
            (folder / name).symlink_to(FILE)
    (folder / FILE).write_text(script(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
