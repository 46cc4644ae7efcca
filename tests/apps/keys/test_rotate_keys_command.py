from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.keys import services as keys


@pytest.mark.parametrize(("use", "current"), [("sig", keys.signing_key), ("enc", keys.encryption_key)])
def test_a_key_is_rotated_and_the_rotation_logged(db, few_rsa_keys, use, current):
    keys.ensure_mesh_keys()
    old = current()
    out = StringIO()
    call_command("rotate_keys", "--use", use, stdout=out)
    assert out.getvalue().strip() == current().kid != old.kid
    entry = log.entries_of_type("key.rotated").get()
    assert (entry.actor, audit.read_detail(entry)) == ("command-line", {"use": use, "kid": current().kid})


def test_another_use_is_refused(db):
    with pytest.raises(CommandError):
        call_command("rotate_keys", "--use", "log")
