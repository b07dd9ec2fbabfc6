"""Hostile requests: each gets a modelled error, none a 500, and nothing is written."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from sqlalchemy import text

from outcrop.service.bedrock.model import CONTROL, RUNTIME, Operation, operation
from outcrop.service.bedrock.operations import CONTROL_OPERATIONS, RUNTIME_TABLE
from outcrop.service.routes import LABEL
from tests.support.bedrock import PEBBLE, ROLE, World, customization
from tests.support.conformance import COMMON

pytestmark = pytest.mark.contract

ACCOUNT = "123456789012"
LABELS = [
    "..%2F..%2F..%2Fetc%2Fpasswd", "%2e%2e", "%00", "a%00b", "%FF%FE", "a" * 3000, "-", "%20", "%C3%A9", "a%0Ab",
    "%27%20OR%201%3D1--", "%7B%7B7*7%7D%7D", "%3Cimg%20src=x%20onerror=alert(1)%3E", "arn", "arn%3Aaws%3Abedrock",
    f"arn%3Aaws%3Abedrock%3Aus-east-1%3A{ACCOUNT}%3Acustom-model%2F..%2F..%2Fx",
    f"arn%3Aaws%3Abedrock%3Aus-east-1%3A{ACCOUNT}%3Aguardrail%2Fabcdefghijkl",
    "a" + "-" * 61 + "_", "0" * 63, "%F0%9F%92%A9", "%EF%BF%BD", "a%2525b", "con", "%5C%5Chost%5Cshare",
]  # fmt: skip
BODIES: list[bytes] = [
    b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"\x00", b"{}" * 2, b'{"a": NaN}', b'{"a": 1e999}',
    b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 100_000, b'{"jobName": "\\ud800"}', b'{"jobName": "a\\u0000b"}',
    b'{"jobName": ' + b"9" * 5000 + b"}", b'{"jobName": {"a": []}}', b'{"jobName": ["x"]}', b'{"jobName": true}',
    b'{"unknown": 1}', b'{"__class__": "x"}', b'{"jobName": "' + b"a" * 100_000 + b'"}',
    b'{"tags": [{"key": "a"}]}', b'{"tags": [null]}', b'{"tags": {"key": "a"}}', b'{"modelUnits": 1.5}',
    b'{"modelUnits": -1}', b'{"modelUnits": 1e400}', b'{"modelUnits": 99999999999999999999999}',
    b'{"hyperParameters": {"epochCount": 1}}', b'{"hyperParameters": {"": ""}}', b"<xml/>", b"a=b&c=d",
]  # fmt: skip
QUERIES = [
    "maxResults=0", "maxResults=1001", "maxResults=x", "maxResults=1e3", "maxResults=" + "9" * 40, "maxResults=",
    "nextToken=", "nextToken=x", "nextToken=" + "A" * 3000, "nextToken=WzEsMl0=", "nextToken=WyJ4IiwieCJd",
    "nextToken=W05hTiwiYSJd", "sortBy=Name", "sortOrder=Up", "statusEquals=Bogus", "nameContains=%00",
    "nameContains=%FF", "creationTimeAfter=yesterday", "creationTimeAfter=1e99", "creationTimeBefore=-1",
    "creationTimeAfter=2026-01-02T00:00:00Z&creationTimeBefore=2026-01-01T00:00:00Z", "&".join(["a=b"] * 200),
]  # fmt: skip
PLACES = [
    "", "s3://", "s3://a", "http://169.254.169.254/latest/meta-data", "https://example.com/x.jsonl", "file:///etc/passwd",
    "file://localhost/etc/passwd", "/etc/passwd", "../../etc/passwd", "s3://data/../other/x", "s3://data/%2e%2e/x",
    "s3://data/x#frag", "s3://data/x?versionId=1", "s3://user@data/x", "s3://data\\..\\x", "s3://data/\u202ex",
    "s3://data/" + "a/" * 600, "gs://data/x", "hf:org/name", "bundled:pebble-s", "s3://data/out/../../../outcrop.db",
]  # fmt: skip

BENT = [
    ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), ("AWS4-HMAC-SHA256 ", "Bearer "), ("/us-east-1/", "/us-west-2/"),
    ("/bedrock/", "/s3/"), ("/aws4_request", "/aws3_request"), ("Credential=", "Credential=x"), ("Credential=", ""),
    ("SignedHeaders=", "SignedHeaders=authorization;"), (";x-amz-date", ""), ("content-type;host", "host"),
    ("Signature=", "Signature=0"), ("Signature=", "Signature=" + "0" * 64 + ", Signature="), ("Signature=", "x="),
    (", Signature", ", Signature=, Signature"), ("AWS4-HMAC-SHA256 Credential", "Credential"),
]  # fmt: skip
"""Parts of an Authorization header, and what becomes of them."""


def _send(
    world: World, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(world.server.url.removeprefix("http://"), timeout=30)
    usual = {"Authorization": f"Bearer {world.server.keys.bearer}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers or usual)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.getheader("x-amzn-errortype", ""), content


def _state(world: World) -> Any:
    """Everything that is kept: rows of tables, names of files."""
    tables = ("projects", "api_keys", "resources", "tags", "request_tokens", "project_settings", "jobs")
    with world.server.service.database.reading() as connection:
        rows = [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() for table in tables]
    home: Path = world.server.service.home
    return rows, sorted(str(path) for path in home.rglob("*") if not path.name.startswith("outcrop.db"))


def _refused(world: World, asked: Operation, path: str, body: bytes = b"") -> None:
    status, code, content = _send(world, asked.method, path, body)
    assert 400 <= status < 500, (asked.name, path[:200], body[:200], status, content)
    assert code in COMMON | set(asked.errors), (asked.name, code)
    assert json.loads(content)["message"]


OPERATIONS = [operation(CONTROL, name) for name in CONTROL_OPERATIONS]


def test_hostile_identifiers(world: World) -> None:
    before = _state(world)
    with_label = [asked for asked in OPERATIONS if LABEL.search(asked.uri)]
    for asked in with_label:
        for label in LABELS:
            _refused(world, asked, asked.uri.replace(LABEL.search(asked.uri)[0], label))  # type: ignore[index]
    assert len(with_label) * len(LABELS) > 200
    assert _state(world) == before


def test_hostile_bodies(world: World) -> None:
    before = _state(world)
    with_body = [asked for asked in OPERATIONS if asked.method in ("POST", "PUT") and not LABEL.search(asked.uri)]
    for asked in with_body:
        for body in BODIES:
            _refused(world, asked, asked.uri, body)
    assert len(with_body) * len(BODIES) > 200
    assert _state(world) == before


def test_hostile_requests_to_models(world: World) -> None:
    before, model = _state(world), PEBBLE.replace(":", "%3A")
    for name in RUNTIME_TABLE:
        asked = operation(RUNTIME, name)
        for label in LABELS:
            _refused(world, asked, asked.uri.replace("{modelId}", label), b'{"prompt": "a"}')
        for body in BODIES:
            _refused(world, asked, asked.uri.replace("{modelId}", model), body)
    assert _state(world) == before


def test_hostile_signatures(world: World) -> None:
    """A request that would make a job, with every part of its signature bent."""
    before = _state(world)
    create = operation(CONTROL, "CreateModelCustomizationJob")
    body = json.dumps(customization("forged")).encode()
    request = AWSRequest("POST", f"{world.server.url}{create.uri}", {"Content-Type": "application/json"}, body)
    keys = world.server.keys
    SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "bedrock", "us-east-1").add_auth(request)
    good = dict(request.headers.items())
    bent = [(good["Authorization"].replace(old, new), good["X-Amz-Date"], body) for old, new in BENT]
    bent += [(good["Authorization"], date, body) for date in ("20200101T000000Z", "now", "")]
    bent += [(good["Authorization"], good["X-Amz-Date"], body.replace(b"forged", b"bended"))]
    for authorization, date, sent in bent:
        headers = {**good, "Authorization": authorization, "X-Amz-Date": date}
        status, code, _ = _send(world, "POST", create.uri, sent, headers)
        assert status in (400, 403), (authorization, date, code)
        assert code in COMMON | {"IncompleteSignatureException", "MissingAuthenticationTokenException"}, code
    assert _state(world) == before


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:30])
def test_hostile_queries(world: World, query: str) -> None:
    asked = operation(CONTROL, "ListModelCustomizationJobs")
    _refused(world, asked, f"{asked.uri}?{query}")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[:30] or "empty")
def test_hostile_places(world: World, place: str) -> None:
    before = _state(world)
    create = operation(CONTROL, "CreateModelCustomizationJob")
    for change in ({"trainingDataConfig": {"s3Uri": place}}, {"outputDataConfig": {"s3Uri": place}}):
        _refused(world, create, create.uri, json.dumps(customization("hostile", **change)).encode())
    source = {"s3DataSource": {"s3Uri": place}}
    body = {"jobName": "hostile", "importedModelName": "hostile", "roleArn": ROLE, "modelDataSource": source}
    create = operation(CONTROL, "CreateModelImportJob")
    _refused(world, create, create.uri, json.dumps(body).encode())
    assert _state(world) == before


def test_names_that_keep_a_regular_expression_busy_are_answered_at_once(world: World) -> None:
    name = "a" + "-" * 61 + "!"
    create = operation(CONTROL, "CreateModelCustomizationJob")
    _refused(world, create, create.uri, json.dumps(customization(name)).encode())


def test_a_model_with_code_or_pickles_is_not_imported(world: World) -> None:
    bucket = world.server.bucket("hostile")
    canary = bucket / "ran"
    for number, (name, content) in enumerate(
        {
            "config.json": json.dumps({"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}}),
            "pytorch_model.bin": "pickle",
            "adapter_config.json": json.dumps({"base_model_name_or_path": "/etc"}),
        }.items()
    ):
        folder = bucket / str(number)
        folder.mkdir()
        pebble = world.server.bucket("data") / "model"
        for file in pebble.iterdir():
            if name != "pytorch_model.bin" or file.suffix != ".safetensors":
                (folder / file.name).write_bytes(file.read_bytes())
        (folder / name).write_text(content)
        (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
        job = world.client.create_model_import_job(
            jobName=f"evil-{number}", importedModelName=f"evil{number}", roleArn=ROLE,
            modelDataSource={"s3DataSource": {"s3Uri": f"s3://hostile/{number}/"}},
        )["jobArn"]  # fmt: skip
        world.server.work()
        found = world.client.get_model_import_job(jobIdentifier=job)
        assert found["status"] == "Failed", name
        assert found["failureMessage"]
    assert not canary.exists()
    assert PEBBLE not in [model["modelName"] for model in world.client.list_imported_models()["modelSummaries"]]
