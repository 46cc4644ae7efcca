"""Bodies that are not what their headers say: far too long, longer than announced, chunked, compressed, cut off.

The same update arrives whole after each of them, and counts once.
"""

import gzip

import pytest

from boltz_protocol import codec
from tests.apps.hostile_envelopes import ENVELOPE_TYPE
from tests.apps.signed_requests import Signer, enrolment
from tests.chaos import nginx as proxies
from tests.chaos.invariants import check_invariants
from tests.chaos.nginx import needed
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.chaos.wire_faults import RawConnection, envelopes, flat_memory, head_of, partial_files, received
from tests.chaos.withheld import withhold

pytestmark = pytest.mark.processes

nginx = proxies.nginx

TEN_GIGABYTES = 10 * 1000**3
BLOCK = bytes(1 << 20)
# far more than sockets hold on both sides, far less than is announced
PATIENCE = 256 << 20
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.fixture
def senders(parameters):
    return one_hot_senders(parameters)


@pytest.fixture
def upload(mesh, wire, model, senders):
    return withhold(mesh, wire, senders[0], model)


@pytest.fixture
def nothing_comes(mesh, model, upload):
    """Nothing of what a test has sent is kept; then the update arrives whole, and the round goes on."""
    kept = envelopes(mesh)

    def check(senders):
        mesh.until(lambda: not partial_files(mesh), "no partial file is left")
        assert (envelopes(mesh), received(mesh, model)) == (kept, [])
        send_all(mesh, model, senders)
        check_invariants(mesh, model, senders)

    return check


def without_length(upload, **changes):
    """The head of a request with a body in chunks."""
    head = upload.request(more=CHUNKED.items(), **changes)
    announced = b"Content-Length: %d\r\n" % len(upload.body)
    assert head.count(announced) == 1
    return head.replace(announced, b"")


def chunks(body):
    """A body in chunks of 64 KiB, without the last one."""
    blocks = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    return b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)


def test_a_body_of_ten_gigabytes_is_refused_before_a_byte_of_it_is_sent(mesh, upload, senders, nothing_comes):
    with RawConnection(mesh.port) as connection:
        connection.send(upload.request(length=TEN_GIGABYTES))
        # nothing of the body has left this process
        assert connection.answer() == (413, "body_too_large")
    nothing_comes(senders)


@pytest.mark.long
def test_bodies_of_ten_gigabytes_that_are_sent_all_the_same_fill_neither_disk_nor_memory(
    mesh, upload, senders, nothing_comes
):
    with flat_memory(mesh, "web"):
        for _ in range(5):
            with RawConnection(mesh.port) as connection:
                connection.send(upload.request(length=TEN_GIGABYTES))
                assert connection.send_until_refused(BLOCK, at_most=PATIENCE) < PATIENCE
            assert not partial_files(mesh)
    nothing_comes(senders)


@pytest.mark.long
def test_messages_of_ten_gigabytes_are_refused_to_anybody_before_a_byte_is_sent(mesh, model, senders):
    signer = Signer()
    body = codec.encode(enrolment(signer, "nobody"))
    authority = f"127.0.0.1:{mesh.port}"
    signed = signer.headers("POST", "/api/v1/clients", body=body, authority=authority)
    with RawConnection(mesh.port) as connection:
        connection.send(
            head_of("POST", "/api/v1/clients", signed | {"Content-Length": TEN_GIGABYTES}, authority=authority)
        )
        assert connection.answer() == (413, "body_too_large")
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_a_body_that_goes_on_behind_its_announced_end_counts_up_to_there(mesh, model, upload, senders):
    with flat_memory(mesh, "web"), RawConnection(mesh.port) as connection:
        connection.send(upload.request(), upload.body)
        sent = connection.send_until_refused(BLOCK, at_most=PATIENCE)
        assert sent < PATIENCE
    assert [upload_id for upload_id, _ in received(mesh, model)] == [upload.upload_id]
    assert not partial_files(mesh)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_a_body_that_is_announced_shorter_than_what_was_signed_is_refused(mesh, upload, senders, nothing_comes):
    with RawConnection(mesh.port) as connection:
        connection.send(upload.request(length=len(upload.body) // 2))
        connection.send_until_refused(upload.body, at_most=1)
        assert connection.answer() == (422, "digest_mismatch")
    nothing_comes(senders)


@pytest.mark.long
def test_a_body_in_chunks_is_refused(mesh, upload, senders, nothing_comes):
    """Its length is unknown until its end, which may never come."""
    with RawConnection(mesh.port) as connection:
        connection.send(without_length(upload))
        assert connection.answer() == (411, "length_required")
    with flat_memory(mesh, "web"), RawConnection(mesh.port) as connection:
        connection.send(without_length(upload))
        assert connection.send_until_refused(chunks(BLOCK), at_most=PATIENCE) < PATIENCE
    nothing_comes(senders)


def refused_for_two_lengths(connection, upload, **changes):
    """Two servers that believe another one each would see other requests: request smuggling."""
    connection.send(upload.request(more=CHUNKED.items(), **changes), chunks(upload.body), b"0\r\n\r\n")
    status, _ = connection.answer()
    return status in {400, 411}


@pytest.mark.long
def test_a_body_of_two_lengths_is_refused(mesh, upload, senders, nothing_comes):
    with RawConnection(mesh.port) as connection:
        assert refused_for_two_lengths(connection, upload)
    nothing_comes(senders)


@pytest.mark.long
@needed
def test_a_body_of_two_lengths_is_refused_by_nginx(nginx, upload, senders, nothing_comes):
    with RawConnection(nginx.port, certificate=nginx.certificate) as connection:
        assert refused_for_two_lengths(connection, upload, authority=nginx.authority)
    nothing_comes(senders)


@pytest.mark.long
@needed
def test_a_body_in_chunks_has_a_length_behind_nginx(mesh, nginx, model, upload, senders):
    """nginx hands on what is whole, and only that."""
    head = without_length(upload, authority=nginx.authority)
    with RawConnection(nginx.port, certificate=nginx.certificate) as connection:
        connection.send(head, chunks(upload.body))
        assert connection.is_open()
        assert received(mesh, model) == partial_files(mesh) == []
        connection.send(b"0\r\n\r\n")
        assert connection.answer() == (202, None)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
@needed
def test_a_message_in_chunks_without_an_end_is_refused_by_nginx(mesh, nginx, senders, nothing_comes):
    head = head_of("POST", "/api/v1/clients", CHUNKED, authority=nginx.authority)
    with RawConnection(nginx.port, certificate=nginx.certificate) as connection:
        connection.send(head, chunks(bytes(2 << 20)))
        assert connection.answer() == (413, "body_too_large")
    nothing_comes(senders)


@pytest.mark.long
@needed
def test_nginx_refuses_ten_gigabytes_as_the_mesh_does(mesh, nginx, upload, senders, nothing_comes):
    with RawConnection(nginx.port, certificate=nginx.certificate) as connection:
        connection.send(upload.request(length=TEN_GIGABYTES, authority=nginx.authority))
        assert connection.answer() == (413, "body_too_large")
    nothing_comes(senders)


@pytest.mark.long
def test_a_compressed_body_is_refused_and_not_unfolded(mesh, wire, upload, senders, nothing_comes):
    bomb = gzip.compress(bytes(256 << 20))
    assert len(bomb) < len(upload.body)
    with flat_memory(mesh, "web"):
        for encoding in ("gzip", "deflate", "br", "zstd", "identity", "gzip, gzip"):
            signed = upload.client.signer.headers(
                "PUT", upload.path, body=bomb, content_type=ENVELOPE_TYPE, authority=upload.client.authority
            )
            answer = wire.put(upload.path, content=bomb, headers=signed | {"Content-Encoding": encoding})
            assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding_refused")
    nothing_comes(senders)


@pytest.mark.long
def test_uploads_that_are_reset_on_their_way_leave_nothing(mesh, model, unlimited, parameters):
    senders = random_senders(parameters, seed=23)
    upload = withhold(mesh, unlimited, senders[0], model)
    kept = envelopes(mesh)
    for part in range(60):
        sent = len(upload.body) * part // 60
        connection = RawConnection(unlimited.base_url.port)
        connection.send(upload.request(), upload.body[:sent])
        # some of them are half on the disk when it happens
        if part % 4 == 3:
            mesh.until(lambda: partial_files(mesh), "the web server is inside of the body")
        connection.reset()
    mesh.until(lambda: not partial_files(mesh), "no partial file is left")
    assert (envelopes(mesh), received(mesh, model)) == (kept, [])
    answer = upload.send()
    assert answer.status_code == 202
    assert upload.send().content == answer.content
    assert len(envelopes(mesh)) == len(kept) + 1
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_an_upload_that_is_reset_after_its_last_byte_is_found_by_its_client(mesh, model, wire, parameters):
    senders = one_hot_senders(parameters)
    uploads = [withhold(mesh, wire, sender, model) for sender in senders]
    for upload in uploads:
        connection = RawConnection(mesh.port)
        connection.send(upload.request(), upload.body)
        connection.reset()
    mesh.until(lambda: not partial_files(mesh), "every one of them has been taken or thrown away")
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
