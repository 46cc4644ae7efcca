"""What holds for every document: links resolve, named files exist, lines can be read, tables are whole."""

import re
import shlex

import pytest

from tests.docs import documents

DOCUMENTS = documents.documents()
OURS = ["CONTRIBUTING.md", "SECURITY.md", "docs/operations.md", "docs/participants.md", "docs/protocol.md"]
# a path of the repository in marks of code: begins with one of its folders and has no placeholder in it
MENTION = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/?)`")


def test_the_documents_are_found():
    assert set(DOCUMENTS) >= {"README.md", "CHANGELOG.md", "docs/architecture.md", *OURS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_resolves(name):
    assert broken_links(name, documents.read(name)) == []


def broken_links(name, text):
    """Links to files that are not there, and to headings that no document has."""
    broken = []
    for target in documents.links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (documents.ROOT / name).parent / path if path else documents.ROOT / name
        # the second question is asked only of files that are there
        if not file.exists() or (anchor and anchor not in documents.anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](docs/architecture.md)", []),
        ("[a](docs/absent.md)", ["docs/absent.md"]),
        ("[a](docs/architecture.md#who-may-import-whom)", []),
        ("[a](docs/architecture.md#absent)", ["docs/architecture.md#absent"]),
        ("[a](https://example.com/x)", []),
        ("```text\n[a](docs/absent.md)\n```", []),
    ],
)
def test_a_broken_link_is_found(text, broken):
    assert broken_links("README.md", text) == broken


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_of_the_repository_that_is_named_exists(name):
    assert absent_files(documents.read(name)) == []


def absent_files(text):
    """Paths that begin with a file or folder of the repository and lead nowhere."""
    top = {path.name for path in documents.ROOT.iterdir()}
    mentions = {match[1] for match in MENTION.finditer(documents.prose(text))}
    paths = [mention for mention in mentions if mention.partition("/")[0] in top and "/" in mention]
    return sorted(path for path in paths if not (documents.ROOT / path).exists())


def test_an_absent_file_is_found():
    assert absent_files("see `docs/absent.md`, `docs/architecture.md` and `inbox/`") == ["docs/absent.md"]


@pytest.mark.parametrize("name", OURS)
def test_lines_have_120_characters_at_most(name):
    lines = documents.read(name).splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_table_is_whole(name):
    tables = documents.tables(documents.read(name))
    assert all(table.rows for table in tables)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_of_dev_exist(name):
    """`./dev up`, in prose and in blocks."""
    text = documents.read(name)
    named = {match[1] for match in re.finditer(r"\./dev ([a-z]+)", text)}
    known = set(re.findall(r'^    "(\w+)": \(', documents.read("dev"), re.MULTILINE)) | {"help"}
    assert "test" in known
    assert named <= known


@pytest.mark.parametrize("name", DOCUMENTS)
def test_shell_blocks_can_be_parsed(name):
    for block in documents.code_blocks(documents.read(name), "bash"):
        assert shlex.split(block, comments=True)
