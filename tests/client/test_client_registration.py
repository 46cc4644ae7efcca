"""Becoming, changing and ceasing to be a client."""

import errno
import os
import threading

import pytest
from msgspec import structs

from boltz_client import FederatedClient
from boltz_client.errors import (
    LocalError,
    NotAcceptedError,
    NotRegisteredError,
    RefusedError,
    RegistrationError,
    ServerUnreachableError,
)
from tests.client.mesh_simulation import URL


def test_registering_twice_is_registering_once(mesh, client, make_client):
    record = make_client().register(region="us-east-1")
    assert record.id == client.record().id
    assert len(mesh.clients) == 1


def test_a_registration_whose_answer_was_lost_is_finished_by_the_next_call(mesh, make_client):
    mesh.lose_answer("POST .*/clients$", times=100)
    with pytest.raises(ServerUnreachableError):
        make_client().register(region="eu")
    mesh.faults.clear()
    assert make_client().register(region="eu").id == "c_0"
    assert len(mesh.clients) == 1


def test_a_mesh_that_answers_409_to_its_own_client_is_asked_who_we_are(mesh, make_client):
    mesh.lose_answer("POST .*/clients$", times=5)
    with pytest.raises(ServerUnreachableError):
        make_client().register(region="eu")
    mesh.faults.clear()
    mesh.answer("POST .*/clients$", 409)
    assert make_client().register(region="eu").id == "c_0"


def test_kind_and_token_reach_the_mesh(mesh, make_client):
    record = make_client().register("eu", "broker_adapter", token="one-time-token")
    assert (record.kind, record.region, record.organisation) == ("broker_adapter", "eu", "by one-time-token")


def test_a_taken_name_says_what_to_do(client, make_client, tmp_path):
    with pytest.raises(RefusedError, match="Choose another name") as caught:
        make_client("alice", home=tmp_path / "elsewhere").register(region="eu")
    assert caught.value.code == "name_taken"


def test_another_region_is_not_silently_ignored(client, make_client):
    with pytest.raises(RegistrationError, match=r"registered as 'alice' \(user_device, us-east-1\)"):
        make_client().register(region="eu")


def test_a_home_belongs_to_one_mesh(client, mesh):
    moved = FederatedClient("alice", "http://other.test", home=client.home, transport=mesh.transport())
    with pytest.raises(RegistrationError, match=r"belongs to the mesh at mesh\.test"):
        moved.register(region="us-east-1")
    with pytest.raises(RegistrationError):
        moved.models()


def test_a_pending_client_learns_of_its_approval(mesh, make_client):
    mesh.enrolment_state = "pending"
    client = make_client()
    assert client.register(region="eu").status == "pending"
    approved = mesh.clients["c_0"]
    approved.record = structs.replace(approved.record, status="active")
    assert client.register(region="eu").status == "active"
    assert client.record().status == "active"


def test_a_pending_client_is_let_in_by_a_token_that_it_is_given_later(mesh, make_client):
    mesh.enrolment_state = "pending"
    assert make_client().register(region="eu").status == "pending"
    record = make_client().register(region="eu", token="came-by-mail")
    assert (record.status, record.organisation) == ("active", "by came-by-mail")
    assert make_client().record().status == "active"


def test_a_token_is_not_spent_on_a_registration_that_is_another_ones(mesh, make_client):
    mesh.enrolment_state = "pending"
    make_client().register(region="eu")
    with pytest.raises(RegistrationError):
        make_client().register(region="us", token="came-by-mail")
    assert mesh.clients["c_0"].record.status == "pending"


def test_a_token_of_an_active_client_is_not_sent_again(mesh, make_client):
    make_client().register(region="eu", token="one-time-token")
    make_client().register(region="eu", token="another-token")
    assert mesh.count("POST .*/clients$") == 1


def test_a_revoked_client_is_told_what_to_do(mesh, client):
    mesh.clients.clear()
    with pytest.raises(NotAcceptedError, match=r"register\(...\) again"):
        client.models()


def test_a_mesh_that_has_forgotten_us_can_be_joined_again_with_the_same_key(mesh, client, make_client):
    kid = client.record().kid
    mesh.clients.clear()
    assert make_client().register(region="us-east-1").kid == kid
    assert [known.record.kid for known in mesh.clients.values()] == [kid]


def test_a_receipt_of_an_earlier_life_does_not_stand_in_for_a_new_update(mesh, client, make_client, data):
    client.participate_in_round("boltz-core", data)
    alice = mesh.clients.pop("c_0")
    mesh.clients["c_7"] = alice
    alice.record = structs.replace(alice.record, id="c_7")
    mesh.rounds[1].updates.clear()
    mesh.rounds[1].joined.clear()
    again = make_client()
    again.register(region="us-east-1")
    result = again.participate_in_round("boltz-core", data)
    assert not result.resumed
    assert result.receipt.client_id == "c_7"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"region": ""}, "region must be"), ({"region": "eu", "kind": "hedge_fund"}, "kind must be broker_adapter")],
)
def test_values_the_mesh_would_refuse_are_refused_here(make_client, arguments, words):
    with pytest.raises(LocalError, match=words):
        make_client().register(**arguments)


def test_a_name_of_control_characters_is_refused(make_client):
    with pytest.raises(LocalError, match="name must be"):
        make_client("a\nb", home="unused")


# --- rotation


def test_after_a_rotation_only_the_new_key_speaks(mesh, client, make_client, data):
    old_kid = client.record().kid
    record = client.rotate_key()
    assert record.kid != old_kid
    assert client.record().kid == record.kid
    assert make_client().record().kid == record.kid
    result = client.participate_in_round("boltz-core", data)
    assert mesh.the_update().header.client_kid == record.kid
    assert result.receipt.client_id == record.id


def test_a_rotation_whose_answer_was_lost_is_settled_by_the_retry(mesh, client):
    mesh.lose_answer("POST .*/me/keys")
    record = client.rotate_key()
    assert client.record().kid == record.kid == mesh.clients["c_0"].record.kid


@pytest.mark.parametrize("lose", ["lose_answer", "lose_request"])
def test_a_crash_in_a_rotation_leaves_a_client_that_works(mesh, client, make_client, lose):
    getattr(mesh, lose)("POST .*/me/keys", times=1)
    mesh.lose_request(".*", times=100)
    with pytest.raises(ServerUnreachableError):
        client.rotate_key()
    mesh.faults.clear()
    restarted = make_client()
    assert restarted.record().kid == mesh.clients["c_0"].record.kid
    assert restarted.rotate_key().kid == mesh.clients["c_0"].record.kid
    assert not (client.home / "identity-next.json").exists()


def test_registering_after_a_crashed_rotation_finds_the_new_key(mesh, client, make_client):
    mesh.lose_answer("POST .*/me/keys")
    mesh.lose_request(".*", times=100)
    with pytest.raises(ServerUnreachableError):
        client.rotate_key()
    mesh.faults.clear()
    assert make_client().register(region="us-east-1").kid == mesh.clients["c_0"].record.kid


def test_a_rotation_that_is_refused_changes_nothing(mesh, client):
    before = client.record().kid
    mesh.answer("POST .*/me/keys", 401, times=10)
    with pytest.raises(NotAcceptedError):
        client.rotate_key()
    assert client.record().kid == before


# --- leaving


def test_leaving_erases_there_and_forgets_the_key_here_but_keeps_receipts(mesh, client, make_client, data):
    client.participate_in_round("boltz-core", data)
    client.leave()
    assert mesh.clients == {}
    assert sorted(path.name for path in client.home.iterdir()) == ["mesh.json", "models", "rounds"]
    with pytest.raises(NotRegisteredError):
        client.models()
    assert make_client().register(region="eu").region == "eu"


def test_homes_are_apart_by_mesh_and_name(monkeypatch, tmp_path):
    monkeypatch.setenv("BOLTZ_CLIENT_HOME", str(tmp_path))
    homes = [
        FederatedClient(name, url).home.relative_to(tmp_path).parts
        for name, url in (("my-client", "http://localhost:8010"), ("a/b", URL), ("a_b", URL))
    ]
    assert homes[0] == ("localhost_8010", "my-client")
    assert homes[1][1].startswith("a_b-")
    assert homes[2] == ("mesh.test", "a_b")


def test_the_home_is_below_the_users_own_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("BOLTZ_CLIENT_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FederatedClient("me", URL).home == tmp_path / ".boltz" / "clients" / "mesh.test" / "me"


def test_a_home_that_cannot_be_made_is_said_with_the_way_out(mesh, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    client = FederatedClient("a", URL, home=blocked / "home", transport=mesh.transport(), clock=mesh.clock.for_client())
    with pytest.raises(LocalError, match="BOLTZ_CLIENT_HOME"):
        client.register(region="eu")


def test_a_full_disk_is_said_and_leaves_nothing_half_written(mesh, client, data, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(LocalError, match="No space left"):
            client.participate_in_round("boltz-core", data)
    assert mesh.count("^PUT") == 0
    assert client.participate_in_round("boltz-core", data).round == 1


def test_a_damaged_file_is_named(client, make_client):
    (client.home / "registration.json").write_bytes(b"{}")
    with pytest.raises(LocalError, match=r"registration.json is damaged"):
        make_client().models()


def test_two_clients_in_one_process_do_not_mix(mesh, make_client, data):
    clients = [make_client(name) for name in ("anna", "ben")]
    for client in clients:
        client.register(region="eu")
    threads = [threading.Thread(target=client.participate_in_round, args=("boltz-core", data)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mesh.rounds[1].updates) == 2


def test_a_client_closes_its_connections_when_the_block_ends(client):
    with client as opened:
        opened.models()
    with pytest.raises(RuntimeError, match="closed"):
        client.models()
