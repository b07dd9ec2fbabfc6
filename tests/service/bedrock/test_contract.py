"""Every operation that the server has, asked by unmodified boto3, its answer judged by botocore's shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from outcrop.service.bedrock.operations import CONTROL_OPERATIONS
from tests.support.bedrock import PEBBLE, ROLE, World, batch, customization, evaluation
from tests.support.servers import settled

pytestmark = pytest.mark.contract


def absent(arn: str) -> str:
    """An ARN of the same form that nothing has."""
    return arn[:-1] + ("1" if arn.endswith("0") else "0")


def _logging(world: World) -> None:
    config = {"s3Config": {"bucketName": "data", "keyPrefix": "logs"}, "textDataDeliveryEnabled": True}
    world.client.put_model_invocation_logging_configuration(loggingConfig=config)
    assert world.client.get_model_invocation_logging_configuration()["loggingConfig"] == config


def _delete_logging(world: World) -> None:
    world.client.delete_model_invocation_logging_configuration()
    assert "loggingConfig" not in world.client.get_model_invocation_logging_configuration()


def _get_job(world: World) -> None:
    by_arn = world.client.get_model_customization_job(jobIdentifier=world.job)
    by_name = world.client.get_model_customization_job(jobIdentifier="first")
    del by_arn["ResponseMetadata"], by_name["ResponseMetadata"]
    assert by_arn == by_name
    assert by_arn["status"] == "Completed"
    assert by_arn["hyperParameters"] == {"epochCount": "1", "learningRate": "0.001"}
    assert by_arn["trainingMetrics"]["trainingLoss"] > 0
    losses = [each["validationLoss"] for each in by_arn["validationMetrics"]]
    assert len(losses) == 2
    assert losses[0] == losses[1] > 0
    out = world.server.bucket("data") / "out" / f"model-customization-job-{world.job.rpartition('/')[2]}"
    table = (out / "training_artifacts" / "step_wise_training_metrics.csv").read_text().splitlines()
    assert table[0] == "step_number,epoch_number,training_loss,perplexity"
    assert len(table) > 1
    for place in ("", "validation/"):
        found = out / "validation_artifacts" / "post_fine_tuning_validation" / f"{place}validation_metrics.csv"
        assert found.read_text().startswith("step_number,epoch_number,validation_loss,perplexity\n")
    assert (out / "model" / "model.safetensors").exists()


def _create_job(world: World) -> None:
    request = customization("second", clientRequestToken="token-1")
    arn = world.client.create_model_customization_job(**request)["jobArn"]
    assert world.client.create_model_customization_job(**request)["jobArn"] == arn
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.create_model_customization_job(**request | {"jobName": "third"})
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.create_model_customization_job(**customization("second"))
    assert world.client.get_model_customization_job(jobIdentifier=arn)["status"] == "InProgress"
    world.client.stop_model_customization_job(jobIdentifier=arn)


def _stop_job(world: World) -> None:
    arn = world.client.create_model_customization_job(**customization("stopped"))["jobArn"]
    world.client.stop_model_customization_job(jobIdentifier=arn)
    found = world.client.get_model_customization_job(jobIdentifier=arn)
    assert found["status"] == "Stopped"
    assert "outputModelArn" not in found
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.stop_model_customization_job(jobIdentifier=arn)
    again = world.client.create_model_customization_job(**customization("again", customModelName="stopped-model"))
    world.client.stop_model_customization_job(jobIdentifier=again["jobArn"])


def _create_model(world: World) -> None:
    source = {"s3DataSource": {"s3Uri": "s3://data/model/"}}
    arn = world.client.create_custom_model(modelName="made", modelSourceConfig=source, roleArn=ROLE)["modelArn"]
    assert world.client.get_custom_model(modelIdentifier=arn)["modelStatus"] == "Creating"
    world.server.work()
    assert world.client.get_custom_model(modelIdentifier="made")["modelStatus"] == "Active"


def _get_model(world: World) -> None:
    found = world.client.get_custom_model(modelIdentifier=world.model)
    assert (found["modelName"], found["jobArn"], found["modelStatus"]) == ("first-model", world.job, "Active")
    assert found["trainingMetrics"]["trainingLoss"] > 0


def _delete_model(world: World) -> None:
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.delete_custom_model(modelIdentifier=world.model)
    copied = world.client.get_custom_model(modelIdentifier="copied")["modelArn"]
    folder = world.server.service.model_folder / copied.rpartition("/")[2]
    assert (folder / "model.safetensors").exists()
    world.client.delete_custom_model(modelIdentifier="copied")
    assert not folder.exists()
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_custom_model(modelIdentifier=copied)


def _update_provisioned(world: World) -> None:
    update = world.client.update_provisioned_model_throughput
    settled(world.client, world.provisioned)
    update(provisionedModelId=world.provisioned, desiredProvisionedModelName="renamed", desiredModelId=PEBBLE)
    found = settled(world.client, "renamed")
    assert (found["status"], found["desiredModelArn"]) == ("InService", found["modelArn"])
    assert found["modelArn"] == found["foundationModelArn"]
    with pytest.raises(world.client.exceptions.ValidationException):
        update(provisionedModelId=world.provisioned, desiredModelId="imported")


def _pages(world: World, operation: str, member: str, name: str, **arguments: Any) -> list[Any]:
    """All entries, fetched one by one in both orders, and the whole at once."""
    pages = world.client.get_paginator(operation)
    one_by_one = [
        entry
        for page in pages.paginate(**arguments, PaginationConfig={"PageSize": 1})
        for entry in page[member]
    ]
    at_once = getattr(world.client, operation)(**arguments)[member]
    assert [entry[name] for entry in one_by_one] == [entry[name] for entry in at_once]
    upwards = getattr(world.client, operation)(**arguments, sortBy="CreationTime", sortOrder="Ascending")[member]
    assert [entry[name] for entry in upwards] == [entry[name] for entry in at_once][::-1]
    assert at_once
    return [entry[name] for entry in at_once]


def _list_jobs(world: World) -> None:
    names = _pages(world, "list_model_customization_jobs", "modelCustomizationJobSummaries", "jobName")
    assert "first" in names
    list_jobs = world.client.list_model_customization_jobs
    kept = list_jobs(nameContains="firs", statusEquals="Completed", creationTimeAfter=1_600_000_000)
    assert [job["jobName"] for job in kept["modelCustomizationJobSummaries"]] == ["first"]
    for nothing in ({"nameContains": "FIRST"}, {"creationTimeBefore": 1_600_000_000}):
        assert list_jobs(**nothing)["modelCustomizationJobSummaries"] == []
    for wrong in ({"nextToken": "x"}, {"maxResults": 1001}, {"statusEquals": "Done"}, {"sortBy": "Name"}):
        with pytest.raises(world.client.exceptions.ValidationException):
            list_jobs(**wrong)


def _list_models(world: World) -> None:
    _pages(world, "list_custom_models", "modelSummaries", "modelName")
    pebble = world.client.get_foundation_model(modelIdentifier=PEBBLE)["modelDetails"]["modelArn"]
    kept = world.client.list_custom_models(foundationModelArnEquals=pebble, modelStatus="Active", isOwned=True)
    assert "first-model" in [model["modelName"] for model in kept["modelSummaries"]]
    assert world.client.list_custom_models(isOwned=False)["modelSummaries"] == []


def _delete_provisioned(world: World) -> None:
    made = world.client.create_provisioned_model_throughput(provisionedModelName="gone", modelId=PEBBLE, modelUnits=1)
    world.client.delete_provisioned_model_throughput(provisionedModelId=made["provisionedModelArn"])
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_provisioned_model_throughput(provisionedModelId=made["provisionedModelArn"])


def _delete_imported(world: World) -> None:
    source = {"s3DataSource": {"s3Uri": "s3://data/model/"}}
    world.client.create_model_import_job(jobName="gone", importedModelName="gone", roleArn=ROLE, modelDataSource=source)
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_imported_model(modelIdentifier="gone")
    world.server.work()
    world.client.delete_imported_model(modelIdentifier="gone")
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.delete_imported_model(modelIdentifier="gone")


def _create_import(world: World) -> None:
    source = {"s3DataSource": {"s3Uri": "s3://data/out/"}}
    made = world.client.create_model_import_job(
        jobName="nothing", importedModelName="nothing", roleArn=ROLE, modelDataSource=source
    )
    world.server.work()
    found = world.client.get_model_import_job(jobIdentifier=made["jobArn"])
    assert found["status"] == "Failed"
    assert "config.json" in found["failureMessage"]


def _create_copy(world: World) -> None:
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.create_model_copy_job(sourceModelArn=absent(world.model), targetModelName="other")
    made = world.client.create_model_copy_job(sourceModelArn=world.model, targetModelName="other")
    world.server.work()
    assert world.client.get_model_copy_job(jobArn=made["jobArn"])["status"] == "Completed"


def _delete_deployment(world: World) -> None:
    made = world.client.create_custom_model_deployment(modelDeploymentName="gone", modelArn=world.model)
    world.client.delete_custom_model_deployment(customModelDeploymentIdentifier="gone")
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_custom_model_deployment(customModelDeploymentIdentifier=made["customModelDeploymentArn"])


def _update_deployment(world: World) -> None:
    world.client.update_custom_model_deployment(
        customModelDeploymentIdentifier=world.deployment, modelArn=world.model
    )
    found = world.client.get_custom_model_deployment(customModelDeploymentIdentifier="live")
    assert found["updateDetails"]["updateStatus"] == "UpdateCompleted"


def _tags(world: World) -> None:
    assert world.client.list_tags_for_resource(resourceARN=world.job)["tags"] == [{"key": "team", "value": "red"}]
    world.client.tag_resource(resourceARN=world.model, tags=[{"key": "a", "value": ""}, {"key": "team", "value": "x"}])
    world.client.untag_resource(resourceARN=world.model, tagKeys=["a", "absent"])
    assert world.client.list_tags_for_resource(resourceARN=world.model)["tags"] == [{"key": "team", "value": "x"}]
    many = [{"key": str(n), "value": "v"} for n in range(50)]
    with pytest.raises(world.client.exceptions.TooManyTagsException) as error:
        world.client.tag_resource(resourceARN=world.model, tags=many)
    assert error.value.response["resourceName"] == world.model
    assert len(world.client.list_tags_for_resource(resourceARN=world.model)["tags"]) == 1


def _provision(world: World) -> None:
    found = settled(world.client, world.provisioned)
    assert (found["modelUnits"], found["status"]) == (2, "InService"), found
    assert found["commitmentExpirationTime"] > found["creationTime"]


def _get_batch(world: World) -> None:
    found = world.client.get_model_invocation_job(jobIdentifier=world.batch_job)
    assert found["status"] == "Completed", found
    counts = [found[f"{name}RecordCount"] for name in ("total", "processed", "success", "error")]
    assert counts == [4, 4, 3, 1]
    job_id = world.batch_job.rpartition("/")[2]
    assert world.client.get_model_invocation_job(jobIdentifier=job_id)["jobArn"] == world.batch_job
    folder = world.server.bucket("data") / "answers" / job_id
    rows = [json.loads(line) for line in (folder / "batch.jsonl.out").read_text().splitlines()]
    assert {row["recordId"]: "modelOutput" in row for row in rows} == {"R0": True, "R1": True, "R2": True, "bad": False}
    assert json.loads((folder / "manifest.json.out").read_text())["successRecordCount"] == 3


def _stop_batch(world: World) -> None:
    arn = world.client.create_model_invocation_job(**batch("stopped", modelId=world.model))["jobArn"]
    assert world.client.get_model_invocation_job(jobIdentifier=arn)["status"] == "Submitted"
    world.client.stop_model_invocation_job(jobIdentifier=arn)
    assert world.client.get_model_invocation_job(jobIdentifier=arn)["status"] == "Stopped"
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.stop_model_invocation_job(jobIdentifier=arn)


def _get_evaluation(world: World) -> None:
    found = world.client.get_evaluation_job(jobIdentifier=world.evaluation_job)
    assert found["status"] == "Completed", found
    folder = world.server.bucket("data") / "scores" / "scores" / world.evaluation_job.rpartition("/")[2]
    [file] = folder.glob("models/*/taskTypes/QuestionAndAnswer/datasets/questions/*_output.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 10
    assert [score["metricName"] for score in rows[0]["automatedEvaluationResult"]["scores"]] == [
        "Builtin.Accuracy", "rouge_l"
    ]  # fmt: skip
    assert rows[0]["inputRecord"]["category"] == "x"
    for score in json.loads((folder / "evaluation_summary.json").read_text())["scores"]:
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        assert score["rows"] == 10


def _create_evaluation(world: World) -> None:
    request = evaluation("given", inferenceConfig=GIVEN)
    automated = request["evaluationConfig"]["automated"]
    automated["datasetMetricConfigs"][0]["dataset"]["datasetLocation"]["s3Uri"] = "s3://data/answered.jsonl"
    arn = world.client.create_evaluation_job(**request)["jobArn"]
    world.server.work()
    assert world.client.get_evaluation_job(jobIdentifier=arn)["status"] == "Completed"
    folder = world.server.bucket("data") / "scores" / "given" / arn.rpartition("/")[2]
    scores = json.loads((folder / "evaluation_summary.json").read_text())["scores"]
    assert scores[0]["value"] == pytest.approx((1 + 9 * 2 / 3) / 10)  # "red is a word" against "blue is a word": 2 of 3
    automated["datasetMetricConfigs"][0]["metricNames"] = ["Builtin.Toxicity"]
    with pytest.raises(world.client.exceptions.ValidationException, match=r"Available: Builtin\.Accuracy"):
        world.client.create_evaluation_job(**request | {"jobName": "toxic"})


GIVEN = {"models": [{"precomputedInferenceSource": {"inferenceSourceIdentifier": "elsewhere"}}]}


def _evaluation_fails(world: World) -> None:
    bucket = world.server.bucket("data")
    (bucket / "wrong.jsonl").write_text('{"prompt": "a"}\n{\n{"prompt": "a", "referenceResponse": "b"}\n')
    request = evaluation("wrong")
    automated = request["evaluationConfig"]["automated"]
    automated["datasetMetricConfigs"][0]["dataset"]["datasetLocation"]["s3Uri"] = "s3://data/wrong.jsonl"
    arn = world.client.create_evaluation_job(**request)["jobArn"]
    world.server.work()
    [message] = world.client.get_evaluation_job(jobIdentifier=arn)["failureMessages"]
    assert "s3://data/wrong.jsonl:1: referenceResponse" in message
    assert "s3://data/wrong.jsonl:2: not JSON" in message
    gone = world.client.batch_delete_evaluation_job(jobIdentifiers=[arn, absent(arn)])
    assert [each["jobIdentifier"] for each in gone["evaluationJobs"]] == [arn]
    assert [each["code"] for each in gone["errors"]] == ["404"]
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_evaluation_job(jobIdentifier=arn)


def _stop_evaluation(world: World) -> None:
    arn = world.client.create_evaluation_job(**evaluation("stopped"))["jobArn"]
    world.client.stop_evaluation_job(jobIdentifier=arn)
    assert world.client.get_evaluation_job(jobIdentifier=arn)["status"] == "Stopped"
    with pytest.raises(world.client.exceptions.ConflictException):
        world.client.stop_evaluation_job(jobIdentifier=arn)


CASES: dict[str, Callable[[World], Any]] = {
    "CreateModelCustomizationJob": _create_job,
    "GetModelCustomizationJob": _get_job,
    "ListModelCustomizationJobs": _list_jobs,
    "StopModelCustomizationJob": _stop_job,
    "CreateCustomModel": _create_model,
    "GetCustomModel": _get_model,
    "ListCustomModels": _list_models,
    "DeleteCustomModel": _delete_model,
    "CreateModelImportJob": _create_import,
    "GetModelImportJob": lambda w: w.client.get_model_import_job(jobIdentifier="import"),
    "ListModelImportJobs": lambda w: _pages(w, "list_model_import_jobs", "modelImportJobSummaries", "jobName"),
    "GetImportedModel": lambda w: w.client.get_imported_model(modelIdentifier=w.imported),
    "ListImportedModels": lambda w: _pages(w, "list_imported_models", "modelSummaries", "modelName"),
    "DeleteImportedModel": _delete_imported,
    "CreateCustomModelDeployment": _delete_deployment,
    "GetCustomModelDeployment": lambda w: w.client.get_custom_model_deployment(
        customModelDeploymentIdentifier=w.deployment
    ),
    "ListCustomModelDeployments": lambda w: _pages(
        w, "list_custom_model_deployments", "modelDeploymentSummaries", "modelArn", modelArnEquals=w.model
    ),
    "UpdateCustomModelDeployment": _update_deployment,
    "DeleteCustomModelDeployment": _delete_deployment,
    "CreateProvisionedModelThroughput": _delete_provisioned,
    "GetProvisionedModelThroughput": _provision,
    "ListProvisionedModelThroughputs": lambda w: _pages(
        w, "list_provisioned_model_throughputs", "provisionedModelSummaries", "provisionedModelArn"
    ),
    "UpdateProvisionedModelThroughput": _update_provisioned,
    "DeleteProvisionedModelThroughput": _delete_provisioned,
    "CreateModelInvocationJob": lambda w: w.client.create_model_invocation_job(**batch("more", modelId="imported")),
    "GetModelInvocationJob": _get_batch,
    "ListModelInvocationJobs": lambda w: _pages(w, "list_model_invocation_jobs", "invocationJobSummaries", "jobArn"),
    "StopModelInvocationJob": _stop_batch,
    "CreateEvaluationJob": _create_evaluation,
    "GetEvaluationJob": _get_evaluation,
    "ListEvaluationJobs": lambda w: _pages(w, "list_evaluation_jobs", "jobSummaries", "jobArn"),
    "StopEvaluationJob": _stop_evaluation,
    "BatchDeleteEvaluationJob": _evaluation_fails,
    "CreateModelCopyJob": _create_copy,
    "GetModelCopyJob": lambda w: w.client.get_model_copy_job(jobArn=w.copy_job),
    "ListModelCopyJobs": lambda w: _pages(w, "list_model_copy_jobs", "modelCopyJobSummaries", "jobArn"),
    "PutModelInvocationLoggingConfiguration": _logging,
    "GetModelInvocationLoggingConfiguration": _logging,
    "DeleteModelInvocationLoggingConfiguration": _delete_logging,
    "GetFoundationModel": lambda w: w.client.get_foundation_model(modelIdentifier=f"{PEBBLE}:1k"),
    "ListFoundationModels": lambda w: w.client.list_foundation_models(byProvider="Outcrop", byOutputModality="TEXT"),
    "TagResource": _tags,
    "UntagResource": _tags,
    "ListTagsForResource": _tags,
}


@pytest.mark.parametrize("operation", list(CONTROL_OPERATIONS))
def test_operation_answers_as_botocore_models_it(world: World, operation: str) -> None:
    assert operation in CASES, "every operation has a case here"
    CASES[operation](world)
    assert operation in world.judge.operations


def test_continued_pre_training_makes_a_model(world: World) -> None:
    request = customization(
        "domain", customizationType="CONTINUED_PRE_TRAINING", trainingDataConfig={"s3Uri": "s3://data/text.jsonl"},
        validationDataConfig={"validators": [{"s3Uri": "s3://data/text.jsonl"}]},
    )  # fmt: skip
    arn = world.client.create_model_customization_job(**request)["jobArn"]
    world.server.work()
    found = world.client.get_model_customization_job(jobIdentifier=arn)
    assert found["status"] == "Completed", found
    assert len(found["validationMetrics"]) == 1


def test_a_custom_model_is_a_base(world: World) -> None:
    request = customization("next", baseModelIdentifier=world.model)
    arn = world.client.create_model_customization_job(**request)["jobArn"]
    found = world.client.get_model_customization_job(jobIdentifier=arn)
    assert found["baseModelArn"].endswith(f"foundation-model/{PEBBLE}")
    world.client.stop_model_customization_job(jobIdentifier=arn)


def test_bad_data_fail_with_every_line_and_a_report(world: World) -> None:
    rows = [{"prompt": f"thing {n}", "completion": "yes"} if n % 5 else {"prompt": "x"} for n in range(40)]
    bucket = world.server.bucket("data")
    (bucket / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = customization("bad", trainingDataConfig={"s3Uri": "s3://data/bad.jsonl"})
    arn = world.client.create_model_customization_job(**request)["jobArn"]
    world.server.service.early.finish()  # while the job waits for its turn
    found = world.client.get_model_customization_job(jobIdentifier=arn)
    assert found["status"] == "Failed"
    assert found["endTime"] >= found["creationTime"]
    assert "s3://data/bad.jsonl line 1, 6, 11, 16, 21, 26, 31, 36: " in found["failureMessage"]
    report = bucket / "out" / f"model-customization-job-{arn.rpartition('/')[2]}" / "validation_report.json"
    assert json.loads(report.read_text())["errors"] == 8
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.get_custom_model(modelIdentifier="bad-model")


WRONG = [
    {"jobName": "-x"}, {"jobName": "a" * 64}, {"customModelName": "a b"}, {"roleArn": "notanarn"},
    {"baseModelIdentifier": "outcrop.unknown-v1:0"}, {"customizationType": "TUNING"},
    {"customizationType": "DISTILLATION"}, {"customizationType": "REINFORCEMENT_FINE_TUNING"},
    {"hyperParameters": {"epochCount": "0"}}, {"hyperParameters": {"epochs": "1"}},
    {"hyperParameters": {"learningRate": "fast"}}, {"trainingDataConfig": {}},
    {"trainingDataConfig": {"s3Uri": "s3://data/absent.jsonl"}}, {"trainingDataConfig": {"s3Uri": "http://x/y"}},
    {"outputDataConfig": {"s3Uri": "s3://nobucket/out"}}, {"jobTags": [{"key": "a", "value": "b"}] * 2},
    {"clientRequestToken": "-"}, {"vpcConfig": {"subnetIds": [], "securityGroupIds": ["x"]}},
    {"customModelKmsKeyId": "?"}, {"validationDataConfig": {"validators": [{"s3Uri": "s3://data/none"}]}},
    {"validationDataConfig": {"validators": [{"s3Uri": "s3://data/train.jsonl"}] * 11}},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids="-".join)
def test_a_wrong_customization_job_is_refused_and_leaves_nothing(world: World, change: dict[str, Any]) -> None:
    before = world.client.list_model_customization_jobs(maxResults=1000)["modelCustomizationJobSummaries"]
    with pytest.raises((world.client.exceptions.ValidationException, Exception)) as error:
        world.client.create_model_customization_job(**customization("wrong", **change))
    assert type(error.value).__name__ in ("ValidationException", "ParamValidationError")
    assert world.client.list_model_customization_jobs(maxResults=1000)["modelCustomizationJobSummaries"] == before


def test_a_job_whose_end_cannot_be_read_hinders_no_other(world: World) -> None:
    queue, client = world.server.service.queue, world.client
    broken = client.create_model_customization_job(**customization("broken"))["jobArn"]
    row = world.server.service.resources.find(world.server.keys.project, ["customization-job"], arn=broken)
    assert row is not None
    lease = queue.claim(row.job_id or "", {"pid": 0}, 3600)
    assert lease is not None
    lease.succeed({"nothing": "of what is expected"})
    other = client.create_model_import_job(
        jobName="beside", importedModelName="beside", roleArn=ROLE,
        modelDataSource={"s3DataSource": {"s3Uri": "s3://data/model/"}},
    )["jobArn"]  # fmt: skip
    world.server.work()
    assert client.get_model_import_job(jobIdentifier=other)["status"] == "Completed"
    assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    world.server.service.resources.delete(row)
