"""The fenced blocks of a document that are meant to be run, and what may be left out.

Blocks tagged `bash` and `python` are run; `text` is what a command prints. A comment `<!-- test: skip WHY -->` on the
line above leaves a block out, which is for commands that need an engine or a network we do not have.
"""

import re
from dataclasses import dataclass

FENCE = re.compile(r"(?:^<!-- test: skip ([^\n]+?) -->\n)?^(`{3,})(\w*)\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python")
TOLD = ("text",)
MAY_BE_SKIPPED = ("docker compose ", "git clone ")


@dataclass(frozen=True)
class Block:
    """One block to be run."""

    language: str
    text: str


def blocks_to_run(text):
    """The blocks to be run, in order.

    Raises:
        ValueError: a block without a known tag, or one that is skipped though it could be run.
    """
    found = []
    for reason, _, language, content in FENCE.findall(text):
        if language not in RUN + TOLD:
            raise ValueError(f"a block is tagged {language!r}: {content}")
        if reason and not all(line.startswith(MAY_BE_SKIPPED) for line in content.splitlines()):
            raise ValueError(f"a block is skipped ({reason}) though it can be run: {content}")
        if language in RUN and not reason:
            found.append(Block(language, content))
    return found
