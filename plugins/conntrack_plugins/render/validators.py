"""Each agent's own judgement of what was rendered for it, before any file is written.

The rendered files are in a temporary directory, in a frame (templates/check) of what the agent
wants around them, so that nothing of the host's configuration is read or changed.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator

import conntrack_plugins
from conntrack_common.errors import InvalidRequest, NotAvailable
from conntrack_common.records import NamedTuple
from conntrack_plugins.render import File, expand, write
from conntrack_plugins.render.settings import Settings

PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)
DEADLINE = 60  # seconds; promtool's tests take the longest, about one


class Validator(NamedTuple):
    """A program that judges: its first words, who brings it, and what makes its further words.

    That is given the folder and the rendered names.
    """

    command: str
    package: str
    words: Callable[[str, list[str]], list[str]]

    @property
    def program(self) -> str:
        """What has to be installed."""
        return self.command.partition(" ")[0]


def _icinga(folder: str, _names: list[str]) -> list[str]:
    # Its own defaults are directories of the daemon, and a user that only root can become.
    user, group = _identity()
    constants = {
        **{f"{name}Dir": folder for name in ("Data", "Log", "Cache", "Spool", "InitRun")},
        "ObjectsPath": f"{folder}/objects",
        "VarsPath": f"{folder}/vars",
        "RunAsUser": user,
        "RunAsGroup": group,
    }
    defined = [word for pair in constants.items() for word in ("-D", "=".join(pair))]
    return ["-c", f"{folder}/frame.conf", *defined]


def _units(folder: str, names: list[str]) -> list[str]:
    units = {name.partition(".d/")[0] for name in names}
    return ["--man=no", *(f"{folder}/rendered/{unit}" for unit in sorted(units))]


def _ending(end: str) -> Callable[[str, list[str]], list[str]]:
    def words(folder: str, names: list[str]) -> list[str]:
        return [f"{folder}/rendered/{name}" for name in names if name.endswith(end)]

    return words


VALIDATORS = {
    "nagios": (Validator("nagios4 -v", "nagios4-core", lambda at, _: [f"{at}/nagios.cfg"]),),
    "icinga2": (Validator("icinga2 daemon -C", "icinga2-bin", _icinga),),
    # 5.12's own `-t` ends with 0 before it has read anything; `-T` reads the files, and once all
    # that they name.
    "collectd": (
        Validator("collectd -T", "collectd-core", lambda at, _: ["-C", f"{at}/frame.conf"]),
    ),
    "telegraf": (Validator("telegraf --test --config", "telegraf", _ending(".conf")),),
    "prometheus": (
        Validator("promtool check rules", "prometheus", _ending(".rules.yml")),
        Validator("promtool test rules", "prometheus", _ending(".test.yml")),
    ),
    "systemd": (Validator("systemd-analyze verify", "systemd", _units),),
    "sudoers": (Validator("visudo -c -f", "sudo", _ending("")),),
}


def validate(agent: str, files: Iterable[File], settings: Settings) -> Iterator[str]:
    """Let the agent's validators judge the files, and yield the command of each.

    Raises InvalidRequest with the words of the one that objects, NotAvailable where there is none.
    """
    if agent not in VALIDATORS:
        raise NotAvailable(f"no program can check what is rendered for {agent}: leave out --check")
    rendered = list(files)
    with tempfile.TemporaryDirectory(prefix="conntrack-plugins-") as folder:
        write(rendered, os.path.join(folder, "rendered"), 0o600, force=False)
        modules = os.path.dirname(os.path.dirname(os.path.abspath(conntrack_plugins.__file__)))
        user, group = _identity()
        more = {"folder": folder, "modules": modules, "user": user, "group": group}
        frame = expand(os.path.join("check", agent), agent, settings, **more)
        write(frame, folder, 0o600, force=False)
        for validator in VALIDATORS[agent]:
            words = validator.words(folder, [file.name for file in rendered])
            objections = _objections(validator, words)
            if objections:
                sentence = "; ".join(objections).replace(f"{folder}/rendered/", "")
                raise InvalidRequest(
                    f"{validator.program} objects to what these settings make: {sentence}"
                )
            yield validator.command


def _identity() -> tuple[str, str]:
    """Return the names of this process's user and group, or their numbers."""
    user, group = os.geteuid(), os.getegid()
    try:
        return pwd.getpwuid(user).pw_name, grp.getgrgid(group).gr_name
    except KeyError:
        return str(user), str(group)


def _objections(validator: Validator, words: list[str]) -> list[str]:
    program = shutil.which(validator.program, path=PATH)
    if program is None:
        raise NotAvailable(
            f"{validator.program} is not installed, so --check can't ask it: "
            f"apt install {validator.package}, or render without --check"
        )
    try:
        done = subprocess.run(
            [program, *validator.command.split()[1:], *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
            timeout=DEADLINE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAvailable(f"{program} could not judge what was rendered: {error}") from error
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    # systemd-analyze ends with 0 where it warns of a line that systemd would ignore.
    if not done.returncode and not (validator.program == "systemd-analyze" and lines):
        return []
    objections = [
        line.strip() for line in lines if re.search("error|warn|crit|fail", line, re.IGNORECASE)
    ]
    return objections or lines or [f"it ended with {done.returncode}"]
