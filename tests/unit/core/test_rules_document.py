"""docs/rules.md is what the registries say."""

import subprocess
import sys
from pathlib import Path

from boltz_core.aggregation.rules.registry import RULES, STEPS
from boltz_core.aggregation.server_optimizer import OPTIMIZERS

ROOT = Path(__file__).parents[3]


def test_the_committed_document_is_what_the_module_prints():
    command = [sys.executable, "-m", "boltz_core.aggregation.rules"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "rules.md").read_text() == printed


def test_everything_that_a_policy_can_name_is_in_it():
    text = (ROOT / "docs" / "rules.md").read_text()
    for name in [*RULES, *STEPS, *OPTIMIZERS]:
        assert f"| `{name}` |" in text
