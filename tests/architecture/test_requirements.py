"""What is installed is exactly what was looked at: pinned, hashed, and under licences that a trading firm can accept."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import ROOT

LOCKS = ("requirements.txt", "requirements-dev.txt")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
# the licences that reach into the program that uses a library; the Lesser one does not
COPYLEFT = re.compile(r"(?<![A-Za-z])A?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)


def locked(name):
    """Each requirement of a lock with its hashes: a logical line ends where no backslash continues it."""
    text = re.sub(r"\s+#.*|^#.*", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    for line in filter(str.strip, text.replace("\\\n", " ").splitlines()):
        yield line.partition(" --hash")[0].strip(), HASH.findall(line), HASH.sub("", line).strip()


def wanted(name):
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            yield from wanted(line.removeprefix("-r "))
        elif requirement := line.partition("#")[0].strip():
            yield Requirement(requirement)


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_its_hashes_and_nothing_else(name):
    lines = list(locked(name))
    assert len(lines) > 20
    for requirement, hashes, without_hashes in lines:
        assert hashes, requirement
        # no options, no addresses: only a version and the Pythons it is for
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( ; [\w\s.()<>=!']+)?", without_hashes), without_hashes


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_its_source_asks_for(name):
    versions = {}
    for line, _, _ in locked(name):
        pinned = Requirement(line)
        versions.setdefault(canonicalize_name(pinned.name), []).append(next(iter(pinned.specifier)).version)
    for requirement in wanted(name.replace(".txt", ".in")):
        found = versions.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in found), requirement


def test_what_is_tested_is_what_is_deployed():
    deployed, tested = ({line for line, _, _ in locked(name)} for name in LOCKS)
    assert deployed <= tested


def licences(name):
    """All that a distribution says about its licence."""
    said = metadata.metadata(name)
    classifiers = [text for text in said.get_all("Classifier") or [] if text.startswith("License")]
    # some put the whole text here; its name is at the top
    return [said.get("License-Expression") or "", (said.get("License") or "")[:200], *classifiers]


def installed_of(lock):
    for line, _, _ in locked(lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement.name


def is_copyleft(text):
    """Whether a licence binds whoever uses the library; one of several to choose from does not."""
    return all(COPYLEFT.search(choice) for choice in re.split(r" OR ", text))


def test_nothing_in_the_server_binds_its_user_to_the_gpl():
    bound = {name: texts for name in installed_of(LOCKS[0]) if any(map(is_copyleft, texts := licences(name)))}
    assert bound == {}


def test_everything_in_the_server_says_what_licence_it_has():
    assert [name for name in installed_of(LOCKS[0]) if not any(licences(name))] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0-only", True),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
        ("MIT AND GPL-2.0-only", True),
        ("LGPL with exceptions", False),
        ("License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)", False),
        ("MIT OR GPL-2.0-only", False),
        ("BSD-3-Clause", False),
    ],
)
def test_a_licence_is_told_from_its_lesser_relative(text, expected):
    assert is_copyleft(text) is expected
