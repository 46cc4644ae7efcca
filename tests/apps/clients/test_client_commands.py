from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.audit import selectors as log
from apps.clients import selectors
from tests.apps.signed_requests import enrolled


def make_token(*arguments):
    out, err = StringIO(), StringIO()
    call_command("make_token", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_token_is_printed_alone_so_that_it_can_be_piped(mesh_http, settings):
    settings.BOLTZ_ENROLMENT = "token"
    out, err = make_token("--organisation", "Acme", "--uses", "2", "--note", "for the pilot")
    assert out.startswith("bt_")
    assert out.count("\n") == 1
    assert "2 client(s) of Acme" in err
    assert enrolled(mesh_http, "alpha", token=out.strip()).record.organisation == "Acme"
    assert selectors.tokens_of("Acme").get().note == "for the pilot"


def test_the_log_says_that_a_token_was_made_by_a_command(db):
    make_token("--organisation", "Acme")
    assert log.entries_of_type("token.made").get().actor == "command-line"


@pytest.mark.parametrize("wrong", [["--uses", "0"], ["--days", "0"], ["--days", "400"], ["--kind", "hedge_fund"]])
def test_a_token_that_makes_no_sense_is_refused(db, wrong):
    with pytest.raises(CommandError):
        make_token("--organisation", "Acme", *wrong)
    assert not selectors.tokens_of("Acme").exists()
