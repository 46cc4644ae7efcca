"""Nothing in the repository is true on one machine only, and nothing in it is a secret."""

import re

import pytest
import repository

# each pattern is written so that it does not match itself
SUSPECTS = {
    "a home directory": r"(?<![\w.])/(?:home|Users)/[\w.-]+|(?<![\w.$}])/root/[\w.-]+",
    "a working directory": r"(?<![\w.$}/])/work(?:space)?/[\w.-]+",
    "a package index": r"(?:--(?:extra-)?index-url|--find-links|--trusted-host|index-url *=)[ =]\S|/simple/?(?=[\"'\s])|files[.]pythonhosted[.]org",
    "a private host": r"(?i)\b[\w-]+(?:\.[\w-]+)*\.(?:internal|intranet|corp|lan)\b(?!\()|\b(?:artifactory|nexus|devpi)\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an access token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}|xox[abp]-[A-Za-z0-9-]{20,}|glpat-[\w-]{20,})",
    "unfinished work": r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b",
}


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_no_file_holds(suspect):
    found = [
        f"{name}: {match[0]}"
        for name, text in repository.texts()
        for match in re.finditer(SUSPECTS[suspect], text)
        if name != "tests/architecture/test_repository_text.py"
    ]
    assert found == []


def test_every_file_was_looked_at():
    names = [name for name, _ in repository.texts()]
    assert {"pyproject.toml", "dev", "manage.py", "requirements.txt"} <= set(names)
    assert not any(name.startswith((".venv/", ".boltz/", ".env")) for name in names)


@pytest.mark.parametrize(
    ("suspect", "text"),
    [
        ("a home directory", "see /home/" + "ann/mesh"),
        ("a home directory", "/root/" + ".cache"),
        ("a working directory", "cd /work/" + "main"),
        ("a package index", "pip --index-url https://example.org"),
        ("a package index", '"https://example.org/simple/"'),
        ("a private host", "http://pypi.build.internal:8080"),
        ("a private key", "-----BEGIN RSA PRIVATE KEY-----"),
        ("an access token", "ghp_" + "a" * 36),
        ("unfinished work", "# TO" + "DO: later"),
    ],
)
def test_a_suspect_is_found(suspect, text):
    assert re.search(SUSPECTS[suspect], text)


@pytest.mark.parametrize(
    "text", ["/var/lib/postgresql", "data/work/x", "/api/v1/rounds", "127.0.0.1:8010", "$HOME/root/x"]
)
def test_what_is_no_suspect_is_left_alone(text):
    assert not any(re.search(pattern, text) for pattern in SUSPECTS.values())
