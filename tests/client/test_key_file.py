"""The key at rest."""

import json
import stat

import pytest
from cryptography.exceptions import InvalidTag

from boltz_client import identity
from boltz_client.clock import Clock
from boltz_client.errors import IdentityError, LocalError, WrongPassphraseError
from boltz_client.home import Home
from boltz_protocol import codec

FILE = "identity.json"
CLOCK = Clock()


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def stored(home: Home) -> dict:
    return json.loads(home.path(FILE).read_bytes())


def rewrite(home: Home, **changes: object) -> None:
    home.path(FILE).write_bytes(codec.encode(stored(home) | changes))


def test_the_file_is_for_its_owner_alone(home):
    identity.create(home, FILE, passphrase=None, clock=CLOCK)
    assert stat.S_IMODE(home.path(FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_what_was_stored_is_loaded(home, passphrase):
    made = identity.create(home, FILE, passphrase=passphrase, clock=CLOCK)
    loaded = identity.load(home, FILE, passphrase=passphrase, clock=CLOCK)
    assert loaded.secret() == made.secret()
    assert loaded.kid == made.kid


def test_no_file_is_no_identity(home):
    assert identity.load(home, FILE, passphrase=None, clock=CLOCK) is None


def test_with_a_passphrase_the_key_is_not_in_the_file(home):
    made = identity.create(home, FILE, passphrase="correct horse", clock=CLOCK)
    raw = home.path(FILE).read_bytes()
    assert made.secret() not in raw
    assert made.secret().hex().encode() not in raw
    assert identity.base64url(made.secret()).encode() not in raw


def test_a_wrong_passphrase_says_so(home):
    identity.create(home, FILE, passphrase="right", clock=CLOCK)
    with pytest.raises(WrongPassphraseError, match="wrong passphrase for"):
        identity.load(home, FILE, passphrase="wrong", clock=CLOCK)


def test_a_missing_passphrase_says_where_to_give_it(home):
    identity.create(home, FILE, passphrase="right", clock=CLOCK)
    with pytest.raises(WrongPassphraseError, match="--passphrase-env"):
        identity.load(home, FILE, passphrase=None, clock=CLOCK)


def test_a_plain_file_met_with_a_passphrase_is_sealed_on_the_spot(home):
    made = identity.create(home, FILE, passphrase=None, clock=CLOCK)
    assert identity.load(home, FILE, passphrase="new", clock=CLOCK).kid == made.kid
    assert stored(home)["lock"]["iterations"] >= 3
    with pytest.raises(WrongPassphraseError):
        identity.load(home, FILE, passphrase=None, clock=CLOCK)


def test_a_file_that_others_can_read_is_refused_with_the_remedy(home):
    identity.create(home, FILE, passphrase=None, clock=CLOCK)
    home.path(FILE).chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        identity.load(home, FILE, passphrase=None, clock=CLOCK)


def test_a_sealed_key_cannot_be_passed_off_under_another_name(home):
    identity.create(home, FILE, passphrase="p", clock=CLOCK)
    rewrite(home, kid="A" * 43)
    with pytest.raises(WrongPassphraseError) as caught:
        identity.load(home, FILE, passphrase="p", clock=CLOCK)
    assert isinstance(caught.value.__cause__, InvalidTag)


def test_a_file_whose_parts_do_not_belong_together_is_refused(home):
    identity.create(home, FILE, passphrase=None, clock=CLOCK)
    rewrite(home, public="A" * 43)
    with pytest.raises(IdentityError, match="not the one it names"):
        identity.load(home, FILE, passphrase=None, clock=CLOCK)


def test_a_secret_of_another_length_is_no_key(home):
    identity.create(home, FILE, passphrase=None, clock=CLOCK)
    rewrite(home, secret="AAAA")
    with pytest.raises(IdentityError, match="no Ed25519 key"):
        identity.load(home, FILE, passphrase=None, clock=CLOCK)


def test_a_file_that_asks_for_a_terabyte_is_refused_before_it_gets_it(home):
    identity.create(home, FILE, passphrase="p", clock=CLOCK)
    rewrite(home, lock=stored(home)["lock"] | {"memory_kib": 1 << 30})
    with pytest.raises(LocalError, match="damaged"):
        identity.load(home, FILE, passphrase="p", clock=CLOCK)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(home):
    made = identity.create(home, FILE, passphrase=None, clock=CLOCK)

    def interrupted() -> None:
        with home.writing(FILE) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in home.folder.iterdir()] == [FILE]
    assert identity.load(home, FILE, passphrase=None, clock=CLOCK).kid == made.kid


def test_of_two_processes_that_make_a_key_at_once_both_get_the_first(home):
    first = identity.create(home, FILE, passphrase="p", clock=CLOCK)
    second = identity.create(home, FILE, passphrase="p", clock=CLOCK)
    assert second.secret() == first.secret()
    assert [path.name for path in home.folder.iterdir()] == [FILE]


def test_a_client_with_a_passphrase_needs_it_after_a_restart(mesh, make_client):
    make_client(passphrase="secret").register(region="eu")
    assert make_client(passphrase="secret").record().name == "alice"
    with pytest.raises(WrongPassphraseError):
        make_client(passphrase="guess").record()
