"""What other servers of this kind got wrong, each with the tests that keep it from happening here."""

from __future__ import annotations

import ast
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from outcrop.service.server import first_keys
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service
from tests.architecture.package import ROOT
from tests.service.test_security import bearer, send
from tests.support.bedrock import ROLE, customization, evaluation
from tests.support.runtime import TINY
from tests.support.servers import TestServer

HERE, SECURITY, HOSTILE = "service/test_checklist.py", "service/test_security.py", "service/bedrock/test_hostile.py"
ISOLATION, PLACES = "service/bedrock/test_isolation.py", "store/test_places.py"

CHECKLIST: dict[str, tuple[str, ...]] = {
    "jobs can be sent without a key": (
        f"{SECURITY}::test_every_route_but_health_needs_a_key",
        f"{SECURITY}::test_listening_beyond_this_machine_needs_tls",
    ),
    "some routes are not behind the key: sockets, static files, metrics, documents": (
        f"{SECURITY}::test_every_route_but_health_needs_a_key",
        f"{SECURITY}::test_what_is_no_route_says_nothing_without_a_key",
        f"{HERE}::test_no_request_becomes_a_socket",
    ),
    "default or empty keys": (
        f"{HERE}::test_the_first_start_makes_keys_of_its_own_and_shows_them_once",
        f"{SECURITY}::test_secrets_are_private_on_disk_and_not_in_the_database",
        f"{SECURITY}::test_wrong_keys_are_refused",
    ),
    "a browser reaches the server: rebound names, other sites": (
        f"{SECURITY}::test_names_of_other_hosts_are_refused",
        f"{SECURITY}::test_two_host_headers_are_refused",
        f"{SECURITY}::test_pages_of_other_origins_are_refused",
        f"{HERE}::test_answers_invite_no_browser",
    ),
    "a URI of data or results reads or writes other files": (
        f"{HOSTILE}::test_hostile_places",
        f"{PLACES}::test_hostile_uris_are_refused",
        f"{PLACES}::test_links_lead_nowhere",
        f"{HERE}::test_what_became_a_link_after_the_request_is_not_read",
        f"{ISOLATION}::test_files_of_another_project_are_not_reached",
    ),
    "a name of a user becomes a path": (
        f"{PLACES}::test_hostile_names_below_a_uri_are_refused",
        f"{HERE}::test_names_that_lead_upwards_are_refused",
        f"{HERE}::test_folders_of_models_have_names_of_our_own",
    ),
    "the server fetches what a request names": (f"{HERE}::test_nothing_that_a_request_names_is_fetched",),
    "code in a model's folder runs": (
        f"{HOSTILE}::test_a_model_with_code_or_pickles_is_not_imported",
        f"{HERE}::test_the_package_has_no_way_to_run_what_it_reads",
    ),
    "weights that are pickles": (
        f"{HOSTILE}::test_a_model_with_code_or_pickles_is_not_imported",
        "training/test_checkpoints.py::test_what_is_saved_comes_back",
    ),
    "a field of a form reaches a shell": (f"{HERE}::test_the_package_has_no_way_to_run_what_it_reads",),
    "what is written becomes code": (
        f"{HERE}::test_processes_import_nothing_from_where_they_work",
        f"{HERE}::test_folders_of_models_have_names_of_our_own",
    ),
    "texts of users in pages": (
        f"{HERE}::test_answers_invite_no_browser",
        "evaluation/test_report.py::test_every_text_is_escaped",
        "data/test_card.py::test_texts_are_escaped_and_personal_data_is_not_repeated",
    ),
    "archives that grow or lead elsewhere": (
        "data/test_hostile.py::test_a_bomb_is_refused_and_data_that_packs_well_is_read",
        f"{HERE}::test_the_package_has_no_way_to_run_what_it_reads",
    ),
    "another project's things are found by their identifiers": (
        f"{ISOLATION}::test_nothing_is_found_by_another_project",
        f"{ISOLATION}::test_nothing_is_listed_for_another_project",
        f"{ISOLATION}::test_nothing_is_made_from_what_another_project_has",
        "service/bedrock/runtime/test_runtime.py::test_two_projects_do_not_see_each_other_s_models",
    ),
    "secrets in logs, jobs, errors, metrics": (
        f"{SECURITY}::test_logs_hide_secrets",
        f"{HERE}::test_keys_are_in_no_answer_no_job_and_no_metric",
    ),
    "no limits: bodies, lines, records, tags": (
        f"{SECURITY}::test_too_long_bodies_are_refused_and_not_kept",
        f"{HOSTILE}::test_hostile_bodies",
        "data/test_hostile.py::test_an_endless_line_takes_bounded_memory",
        "service/bedrock/test_contract.py::test_operation_answers_as_botocore_models_it",
    ),
    "files of the server can be read by others": (
        f"{SECURITY}::test_secrets_are_private_on_disk_and_not_in_the_database",
        f"{HERE}::test_folders_of_models_have_names_of_our_own",
    ),
    "nobody can tell who did what": ("service/test_server.py::test_bearer_keys_over_https_and_a_quiet_end",),
}
"""What goes wrong elsewhere → the tests, as FILE::NAME below tests/."""


@pytest.mark.parametrize("row", CHECKLIST)
def test_every_row_has_its_tests(row: str) -> None:
    for place in CHECKLIST[row]:
        file, _, name = place.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place


def test_no_request_becomes_a_socket(server: TestServer) -> None:
    upgrade = {
        **bearer(server), "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    for path in ("/", "/ws", "/foundation-models", "/console/ws"):
        assert send(server, "GET", path, upgrade)[0] not in (101, 500), path


def test_the_first_start_makes_keys_of_its_own_and_shows_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("OUTCROP_HOME", str(tmp_path / name))
        service = Service(ServeSpec(start_controller=False))
        made.append(first_keys(service))
        assert first_keys(service) is None
        service.close()
    one, two = made
    assert one is not None
    assert two is not None
    assert one.project.account != two.project.account
    for part in ("access_key_id", "secret_access_key", "bearer"):
        assert getattr(one, part) != getattr(two, part)
        assert len(getattr(one, part)) >= 20
    assert not service.keys.bearer("outcrop-.")
    assert not service.keys.signing("")


def test_answers_invite_no_browser(server: TestServer) -> None:
    for path in ("/health", "/foundation-models", "/%3Cimg%20onerror%3Dalert(1)%3E", "/custom-models/%3Cb%3E"):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        connection.request("GET", path, headers=bearer(server))
        answer = connection.getresponse()
        answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        assert headers["content-type"].startswith("application/json"), path
        assert headers["x-content-type-options"] == "nosniff"
        assert not {"set-cookie", "access-control-allow-origin", "location"} & set(headers)
        connection.close()


def test_what_became_a_link_after_the_request_is_not_read(server: TestServer, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"secret": 1}')
    source = server.bucket("swapped") / "model"
    source.mkdir()
    (source / "config.json").write_text("{}")
    client = server.client()
    job = client.create_model_import_job(
        jobName="swapped", importedModelName="swapped", roleArn=ROLE,
        modelDataSource={"s3DataSource": {"s3Uri": "s3://swapped/model/"}},
    )["jobArn"]  # fmt: skip
    (source / "config.json").unlink()
    source.rmdir()
    source.symlink_to(tmp_path)
    server.work()
    found = client.get_model_import_job(jobIdentifier=job)
    assert found["status"] == "Failed"
    assert "secret" not in found["failureMessage"]


@pytest.mark.parametrize("name", [".", ".."])
def test_names_that_lead_upwards_are_refused(server: TestServer, name: str) -> None:
    client, request = server.client(), evaluation("upwards")
    request["evaluationConfig"]["automated"]["datasetMetricConfigs"][0]["dataset"]["name"] = name
    with pytest.raises(client.exceptions.ValidationException, match="name"):
        client.create_evaluation_job(**request)


def test_folders_of_models_have_names_of_our_own(server: TestServer) -> None:
    folder = server.service.model_folder
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.iterdir():
        assert re.fullmatch(r"[a-z0-9]{12}(\.(work|partial))?|[a-z0-9]{12}\.history", path.name), path
    assert server.service.home.stat().st_mode & 0o022 == 0


@contextmanager
def _trap() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a listener, and who came."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            try:
                while True:
                    came.append(listener.accept())
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.jsonl", came
        listener.shutdown(socket.SHUT_RDWR)


def test_nothing_that_a_request_names_is_fetched(tiny: TestServer) -> None:
    control, runtime = tiny.client(), tiny.client("bedrock-runtime")
    with _trap() as (url, came):
        asked = [
            (control.create_model_customization_job, customization("trap", trainingDataConfig={"s3Uri": url})),
            (control.create_model_customization_job, customization("trap", outputDataConfig={"s3Uri": url})),
            (control.create_model_customization_job, customization("trap", baseModelIdentifier=url)),
            (control.create_custom_model, {
                "modelName": "trap", "modelSourceConfig": {"s3DataSource": {"s3Uri": url}}, "roleArn": ROLE,
            }),
            (runtime.converse, {"modelId": url, "messages": [{"role": "user", "content": [{"text": "a"}]}]}),
            (runtime.converse, {"modelId": TINY, "messages": [{"role": "user", "content": [
                {"image": {"format": "png", "source": {"s3Location": {"uri": url.replace("http", "s3")}}}},
            ]}]}),
        ]  # fmt: skip
        for method, arguments in asked:
            with pytest.raises(Exception, match=r"ValidationException|ResourceNotFoundException|validation failed"):
                method(**arguments)
        picture = f'{{"type": "image_url", "image_url": {{"url": "{url}"}}}}'
        body = f'{{"model": "{TINY}", "messages": [{{"role": "user", "content": [{picture}]}}]}}'.encode()
        status, _, content = send(tiny, "POST", "/v1/chat/completions", bearer(tiny), body)
        assert (status, came) == (400, []), content


DANGEROUS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "torch.load",
    "marshal.load", "marshal.loads", "yaml.load", "shelve.open", "tarfile.open", "zipfile.ZipFile", "numpy.load",
    "np.load", "joblib.load", "shutil.unpack_archive",
}  # fmt: skip


BETWEEN_OUR_OWN = {"outcrop/data/pipeline/ray_pool.py"}
"""Pickles that Outcrop's processes send each other in memory."""


def test_the_package_has_no_way_to_run_what_it_reads() -> None:
    for path in (ROOT / "outcrop").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            if str(path.relative_to(ROOT)) not in BETWEEN_OUR_OWN:
                assert ast.unparse(node.func) not in DANGEROUS or _says_no_pickle(node), place
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("shell", "False") == "False", place
            assert given.get("trust_remote_code", "False") == "False", place


def _says_no_pickle(call: ast.Call) -> bool:
    """numpy reads arrays of objects, which are pickles, only where it is told to."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    return ast.unparse(call.func) in ("np.load", "numpy.load") and given.get("allow_pickle", "False") == "False"


def test_processes_import_nothing_from_where_they_work() -> None:
    """Without -P or -I, the folder of a job would come first on the path of the process that works there."""
    found = 0
    for path in (ROOT / "outcrop").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            words = [ast.unparse(each) for each in node.elts] if isinstance(node, ast.List) else []
            if "sys.executable" in words:
                found += 1
                assert {"'-P'", "'-I'"} & set(words), f"{path.relative_to(ROOT)}:{node.lineno}"
    assert found


def test_keys_are_in_no_answer_no_job_and_no_metric(server: TestServer) -> None:
    client = server.client()
    with pytest.raises(client.exceptions.ValidationException):
        client.create_model_customization_job(**customization("x", trainingDataConfig={"s3Uri": server.keys.bearer}))
    told = [send(server, "GET", path, bearer(server))[2] for path in ("/metrics", "/custom-models", "/nothing")]
    told += [repr(job).encode() for job in server.service.queue.newest()]
    for content in told:
        for secret in (server.keys.secret_access_key, server.keys.bearer.partition(".")[2]):
            assert secret.encode() not in content


