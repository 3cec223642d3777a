"""The Debian packages: built twice, criticized, installed, upgraded, removed, purged and tested.

For that they are really installed, so a host where they are installed already is left alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import conntrack_common
from checkout import check_out
from installation import TREE, is_debian
from processes import must, run

TOOLS = ("dpkg-buildpackage", "dh_python3", "lintian", "autopkgtest")
NAMES = ["", "-nagios", "-collectd", "-telegraf", "-prometheus"]
PACKAGES = [f"conntrack-plugins{name}" for name in NAMES]
SETTINGS = Path("/etc/conntrack-plugins.conf")
NRPE = Path("/etc/nagios/nrpe.d/conntrack.cfg")
MEMORY = "/var/tmp/conntrack-plugins-"
# Where a package may put something; what dpkg itself keeps about packages is its own affair.
PLACES = ("/etc", "/lib/systemd", "/opt", "/srv", "/usr", "/var")
KEPT = re.compile(r"/var/(lib/(dpkg|apt|ucf|man-db)|cache|log|backups)(/|$)|.*/__pycache__(/|$)")


def installed() -> str:
    """The packages that dpkg knows anything of, with their states."""
    found = run(["dpkg-query", "-W", "-f=${Package} ${db:Status-Abbrev}\n", "conntrack-plugins*"])
    lines = [line for line in found.stdout.splitlines() if not line.endswith("un ")]
    return "\n".join(lines)


def reason() -> str:
    """Why nothing can be tested here; empty if it can."""
    if os.geteuid():
        return "needs root, to install packages"
    if is_debian() or installed():
        return "conntrack-plugins is installed here already"
    return ""


pytestmark = [pytest.mark.agent(*TOOLS), pytest.mark.skipif(bool(reason()), reason=reason())]


def build(folder: Path, tree: Path = TREE, *, tests: bool = False) -> Mapping[str, Path]:
    options = {} if tests else {"DEB_BUILD_OPTIONS": "nocheck"}
    must(["sh", tree / "debian/build.sh", folder], env=options, timeout=300)
    return {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The packages, with the unit tests run in the build."""
    return build(tmp_path_factory.mktemp("built"), tests=True)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The packages of a version before this, whose settings had another text."""
    tree = check_out(tmp_path_factory.mktemp("older") / "tree")
    changelog = tree / "debian/changelog"
    changelog.write_text(
        changelog.read_text("utf-8").replace(f"({conntrack_common.__version__})", "(0.0.9)"),
        "utf-8",
    )
    settings = tree / "plugins/conntrack_plugins/render/settings.py"
    text = settings.read_text("utf-8")
    assert "Percent of the table in use at which to warn." in text
    settings.write_text(text.replace("Percent of the table", "Percent, as it was, of it"), "utf-8")
    must(["git", "init", "-q", tree])
    must(["git", "-C", tree, "add", "-A"])
    return build(tree.parent / "built", tree)


@pytest.fixture
def purged() -> Iterator[None]:
    """Take away what a failed test left installed."""
    yield
    if installed():
        must(["dpkg", "--purge", *PACKAGES])


def snapshot() -> dict[str, str]:
    """Every file in the places of packages: its kind, mode and owner, in /etc its content, too."""
    found = {}
    for place in PLACES:
        for folder, folders, files in os.walk(place):
            folders[:] = [name for name in folders if not KEPT.match(f"{folder}/{name}")]
            for name in (*folders, *files):
                path = Path(folder, name)
                if not KEPT.match(str(path)):
                    found[str(path)] = description(path)
    return found


def description(path: Path) -> str:
    status = path.lstat()
    text = f"{status.st_mode:o} {status.st_uid} {status.st_gid}"
    if path.is_symlink():
        return f"{text} {path.readlink()}"
    if path.is_file() and str(path).startswith("/etc"):
        return f"{text} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return text


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}


def install(debs: Mapping[str, Path]) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    must(["dpkg", "--force-confdef", "--force-confold", "-i", *debs.values()], env=env)


def test_all_packages_are_built_and_a_second_build_is_the_same(
    built: Mapping[str, Path], tmp_path: Path
) -> None:
    assert sorted(built) == sorted(PACKAGES)
    again = build(tmp_path)
    digests = [
        {name: hashlib.sha256(deb.read_bytes()).hexdigest() for name, deb in debs.items()}
        for debs in (built, again)
    ]
    assert digests[0] == digests[1]


def test_lintian_has_nothing_to_say(built: Mapping[str, Path]) -> None:
    (changes,) = built["conntrack-plugins"].parent.glob("*.changes")
    words = ["lintian", "--allow-root", "--display-info", "--display-experimental", "--pedantic"]
    assert must([*words, changes]) == ""


def test_each_lintian_override_says_why() -> None:
    for path in TREE.glob("debian/**/*lintian-overrides"):
        lines = path.read_text("utf-8").splitlines()
        for above, line in zip(["", *lines], lines):
            assert line.startswith("#") or above.startswith("#"), line


def test_dependencies_are_debians_with_their_versions(built: Mapping[str, Path]) -> None:
    def fields(name: str) -> str:
        return must(["dpkg-deb", "-f", built[name], "Depends", "Recommends", "Suggests"])

    core = fields("conntrack-plugins")
    for needed in ("python3-pyroute2 (>= 0.7.2)", "python3-rich (>= 13.3)", "python3:any"):
        assert needed in core.partition("Recommends:")[0]
    recommended = core.partition("Recommends:")[2]
    assert "python3-jinja2 (>= 3.0)" in recommended
    assert "nagiosplugin" not in core, "rendering for Nagios does not need it"
    nagios = fields("conntrack-plugins-nagios")
    assert "python3-nagiosplugin (>= 1.3.2)" in nagios.partition("Suggests:")[0]
    for name in PACKAGES[1:]:
        depends, _, suggested = fields(name).partition("Suggests:")
        assert f"conntrack-plugins (= {conntrack_common.__version__})" in depends
        assert suggested, "the agent"


def test_install_upgrade_remove_purge(
    built: Mapping[str, Path], older: Mapping[str, Path], purged: None
) -> None:
    # What checks remembered before is theirs to lose: purge takes it.
    before = {path: how for path, how in snapshot().items() if not path.startswith(MEMORY)}
    install(older)
    assert "as it was" in SETTINGS.read_text("utf-8")
    assert must(["dpkg", "-V", *PACKAGES]) == ""
    # An administrator's words in one conffile; the other is as it came.
    ours = "[all]\nwarning = 61\n"
    NRPE.write_text("# mine\n", "utf-8")
    install(built)
    assert "as it was" not in SETTINGS.read_text("utf-8"), "an untouched conffile is renewed"
    assert NRPE.read_text("utf-8") == "# mine\n"
    SETTINGS.write_text(ours, "utf-8")
    install(built)
    assert SETTINGS.read_text("utf-8") == ours
    rendered = must(["conntrack-stat", "render", "nrpe"])
    assert "--warning 61" in rendered
    must(["/usr/lib/nagios/plugins/check_conntrack", "--check", "cpu.drop/s,,"])
    assert Path(f"{MEMORY}0").is_dir(), "what purge has to find"
    must(["dpkg", "--remove", *PACKAGES])
    left = difference(before, snapshot())
    assert str(SETTINGS) in left
    assert SETTINGS.read_text("utf-8") == ours
    code = [path for path in left if path.startswith(("/usr", "/lib"))]
    assert code == [], "a removed package leaves its configuration alone"
    must(["dpkg", "--purge", *PACKAGES])
    assert difference(before, snapshot()) == set()


def test_autopkgtest(built: Mapping[str, Path], tmp_path: Path, purged: None) -> None:
    """Install them, and run the tests of debian/tests on what is installed."""
    before = snapshot()
    source = next(built["conntrack-plugins"].parent.glob("*.dsc"))
    output = tmp_path / "output"
    words = ["autopkgtest", "-B", *built.values(), source, "-o", output]
    done = run([*words, "--", "null"], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    summary = (output / "summary").read_text("utf-8")
    assert re.findall(r"^(\w+) +PASS", summary, re.MULTILINE) == [
        "agents",
        "conntrackd",
        "documents",
        "files",
    ]
    must(["dpkg", "--purge", *PACKAGES])
    assert difference(before, snapshot()) == set()
