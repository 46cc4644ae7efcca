"""The API of a real mesh under requests that nobody has thought of: as nobody, and well signed by a client.

Every answer is what the description says, none is a 5xx, and nobody gets anything without a signature.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from requests.exceptions import InvalidHeader
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from boltz_protocol.errors import BadSignatureError
from tests.apps.hostile_envelopes import plain
from tests.fuzz.damage import damaged
from tests.fuzz.examination import examine
from tests.fuzz.hostile_requests import requests_of, right_request
from tests.fuzz.participant import ANSWER_SECONDS, LAYOUT, Participants, Sending

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
NOBODY, CLIENT = "nobody", "a client"
# what others ask about comes first, what ends a client or its key last
FIRST, LAST = ("postParticipation", "putUpdate"), ("postMyKeys", "deleteMe")
MOST_FINDINGS = 20
CONTENT = plain(layout=LAYOUT)
# each has a client of its own: one in so many requests of an operation
HOSTILE_UPDATES = 5


@dataclass
class Fuzzing:
    """What is sent to one mesh, what came back, and what is wrong with it."""

    url: str
    participants: Participants
    counts: Counter = field(default_factory=Counter)
    findings: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self):
        self.session = requests.Session()
        self.session.trust_env = False
        schema = schemathesis.openapi.from_url(
            f"{self.url}/api/schema/", params={"format": "json"}, timeout=ANSWER_SECONDS
        )
        found = [result.ok() for result in schema.get_all_operations()]
        self.operations = sorted(found, key=turn_of)

    def close(self):
        self.session.close()

    def round(self, seed, examples):
        """Each operation once as it should be, and then with so many requests of each kind."""
        self.participants.renew()
        for operation in self.operations:
            for who in (NOBODY, CLIENT):
                if len(self.findings) < MOST_FINDINGS:
                    self.fuzz(operation, who, seed, examples)
        self.send_hostile_updates(seed, 1 + examples // HOSTILE_UPDATES)

    def send_hostile_updates(self, seed, examples):
        """Updates that are refused nothing at the door, each in a place of its own: for the workers to open."""
        (put,) = (operation for operation in self.operations if name_of(operation) == "putUpdate")

        def send(data):
            content = data.draw(damaged(CONTENT))
            self.participants.renew()
            self.send(right_request(put, self.participants.hostile_update(content)), CLIENT, seed)

        examine(send, seed=seed, examples=examples, shrink=False)

    def fuzz(self, operation, who, seed, examples):
        """Send the right request, and then others."""
        right = self.participants.right_parts(name_of(operation))
        if who is CLIENT:
            status = self.send(right_request(operation, right), who, seed)
            self.expect(
                status is not None and 200 <= status < 300, operation, who, f"a right request gets {status}", seed
            )
        self.fuzz_others(operation, who, right, seed=seed, examples=examples)

    def fuzz_others(self, operation, who, right, *, seed, examples):
        """Send requests that are drawn around the right one."""
        strategy = requests_of(operation, right)
        examine(lambda data: self.send(data.draw(strategy), who, seed), seed=seed, examples=examples, shrink=False)

    def send(self, drawn, who, seed):
        """Send a request and judge its answer; returns the status."""
        operation = drawn.case.operation
        signer_of = None if who is NOBODY else lambda body: self.participants.signer_of(name_of(operation), body)
        try:
            response = drawn.case.call(
                base_url=self.url,
                session=self.session,
                headers=drawn.headers,
                timeout=ANSWER_SECONDS,
                allow_redirects=False,
                auth=Sending(drawn.body, signer_of),
            )
        except (InvalidHeader, BadSignatureError):
            # neither can be sent: the library refuses the header, nobody can sign the content type
            self.counts[name_of(operation), who, "not sent"] += 1
            return None
        except requests.RequestException as error:
            self.found(operation, who, type(error).__name__, f"{error}\n{drawn}", seed)
            return None
        self.counts[name_of(operation), who, response.status_code] += 1
        self.judge(drawn, response, who, seed)
        if who is CLIENT:
            self.participants.learn(name_of(operation), response.status_code)
        return response.status_code

    def judge(self, drawn, response, who, seed):
        """Compare an answer with the description, and with what may never be."""
        operation, status = drawn.case.operation, response.status_code
        self.expect(status < 500, operation, who, f"status {status}", seed, told(drawn, response))
        self.expect(status != 429, operation, who, "a limit, on a mesh that has none", seed)
        public = name_of(operation) == "getKeys"
        self.expect(who is CLIENT or public or status >= 400, operation, who, f"{status} without a signature", seed)
        try:
            drawn.case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.found(operation, who, f"{failure.title} {status}", f"{failure}\n{told(drawn, response)}", seed)

    def names(self):
        """Every operation that the description has."""
        return {name_of(operation) for operation in self.operations}

    def in_words(self):
        """Every finding."""
        return [f"{name}, {who}: {title}\n{more}" for (name, who, title), more in self.findings.items()]

    def expect(self, holds, operation, who, title, seed, more=""):
        if not holds:
            self.found(operation, who, title, more, seed)

    def found(self, operation, who, title, more, seed):
        """Note a finding, once for each operation and kind."""
        self.findings.setdefault((name_of(operation), who, title), f"{more}\nseed: {seed}")


def turn_of(operation):
    return (name_of(operation) not in FIRST) + (name_of(operation) in LAST)


def name_of(operation):
    return operation.definition.raw["operationId"]


def told(drawn, response):
    """A request and its answer, for a person."""
    body = drawn.body if drawn.body is not None else drawn.case.body
    return "\n".join(
        [
            f"{response.request.method} {response.request.url}",
            f"headers {dict(response.request.headers)}",
            f"body {body!r:.2000}",
            f"answer {response.status_code} {dict(response.headers)}",
            f"{response.content!r:.2000}",
        ]
    )
