"""`tune` from files to a folder: what it makes, what it refuses, and what it never leaves behind."""

import html
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import outcrop
from outcrop.core.errors import DataError, ModelError, UsageError
from outcrop.data.mapping import Mapping
from outcrop.data.records import Pair
from outcrop.models.loading import load_model
from outcrop.workflows.check_data import split_data

COLUMNS, TEMPLATE = "prompt=text,completion=label", "Message: {prompt}\\nIntent:"
FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}


def tune(base, rows, to, **more):
    settings = {**FAST, **more.pop("settings", {})}
    return outcrop.tune(base, [rows], str(to), columns=COLUMNS, template=TEMPLATE, settings=settings, **more)


def test_makes_a_model_folder_that_plain_transformers_loads(base, rows, tmp_path):
    from transformers import AutoModelForCausalLM

    result = tune(base, rows, tmp_path / "out")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "outcrop.json", "result.json", "run"} <= made
    assert result.validation_loss[1] < result.validation_loss[0]
    assert result.rows["training"] + result.rows["validation"] == 90
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").num_parameters() > 0
    assert not list(tmp_path.glob("*.partial"))


def test_card_names_base_data_rendering_and_hyperparameters(base, rows, tmp_path):
    tune(base, rows, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "outcrop.json").read_text())
    assert card["base"]["name"] == base
    assert card["base"]["digest"].startswith("sha256:")
    assert card["source"] == {"columns": COLUMNS, "template": TEMPLATE, "roles": "", "format": ""}
    assert card["labels"] == ["card", "fee", "refund"]
    assert card["hyperparameters"]["epochs"] == 2
    assert card["rendering"]["separator"] == " "


def test_same_seed_same_weights_other_seed_other_weights(base, rows, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tune(base, rows, tmp_path / name, settings={"seed": seed})
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_lora_makes_an_adapter_folder_that_loads_and_differs_from_its_base(base, rows, tmp_path):
    result = tune(base, rows, tmp_path / "out", settings={"method": "lora", "lora_rank": 4})
    assert {"adapter_model.safetensors", "adapter_config.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    ids = torch.tensor([[5, 6, 7, 8]])
    tuned, plain = load_model(str(tmp_path / "out")), load_model(base)
    assert not torch.allclose(tuned.model(ids).logits, plain.model(ids).logits)
    assert result.method == "lora"


def test_report_and_ledger_of_a_split_folder(base, rows, tmp_path, outcrop_home):
    split_data([rows], tmp_path / "split", Mapping.from_text(COLUMNS, TEMPLATE))
    result = outcrop.tune(base, [str(tmp_path / "split")], str(tmp_path / "out"), settings=FAST)
    assert result.evaluation is not None
    assert [system.name for system in result.evaluation.systems] == [
        "base, zero-shot",
        "base, 4-shot at most",  # some prompts leave no room for four
        "tuned",
    ]
    assert result.evaluation.data.looks == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert f"outcrop.tune(base={base!r}, data=" in html.unescape(page)
    again = outcrop.evaluate([str(tmp_path / "out")], [str(tmp_path / "split" / "test.jsonl")], str(tmp_path / "again"))
    assert again.data.looks == 2
    assert again.systems[0].metrics["accuracy"] == result.evaluation.system("tuned").metrics["accuracy"]


def test_bedrock_names_are_taken_and_csvs_have_bedrocks_columns(base, rows, tmp_path):
    settings = {"epochCount": "1", "batchSize": "8", "learningRate": "0.001", "learningRateWarmupSteps": "2"}
    outcrop.tune(base, [rows], str(tmp_path / "out"), columns=COLUMNS, template=TEMPLATE, settings=settings)
    card = json.loads((tmp_path / "out" / "outcrop.json").read_text())
    assert card["hyperparameters"]["batch_size"] == 8
    head = (tmp_path / "out" / "run" / "step_wise_training_metrics.csv").read_text().splitlines()[0]
    assert head == "step_number,epoch_number,training_loss,perplexity"
    head = (tmp_path / "out" / "run" / "validation_metrics.csv").read_text().splitlines()[0]
    assert head == "step_number,epoch_number,validation_loss,perplexity"


def test_bad_rows_are_named_and_nothing_is_left(base, rows, tmp_path):
    lines = Path(rows).read_text().splitlines()
    lines[4] = '{"text": "no label here"}'
    lines[9] = "{broken"
    Path(rows).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        tune(base, rows, tmp_path / "out")
    assert f"{rows}:5" in str(caught.value)
    assert f"{rows}:10" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}
    result = tune(base, rows, tmp_path / "out", drop_bad_rows=True)
    assert result.rows["training"] + result.rows["validation"] == 88


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"settings": {"epocs": 3}}, UsageError, "Did you mean: epochs?"),
        ({"settings": {"batch_size": 0}}, UsageError, "greater than or equal to 1"),
        ({"base": "bundled:pebbel-s"}, ModelError, "pebble-s"),
        ({"base": "/nowhere"}, ModelError, "no model folder"),
        ({"settings": {"max_length": 10}}, DataError, "--over-long"),
        ({"settings": {"max_length": 100_000}}, UsageError, "at most"),
    ],
)
def test_user_errors_come_before_training_and_leave_nothing(base, rows, tmp_path, change, error, says):
    if says == "pebble-s" and not outcrop.models.folder.bundled_names():
        pytest.skip("no bundled model in this checkout")
    with pytest.raises(error) as caught:
        tune(**{"base": base, "rows": rows, "to": tmp_path / "out", **change})
    assert says in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_refuses_to_bury_a_folder_and_overwrites_on_request(base, rows, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        tune(base, rows, tmp_path / "out")
    assert (tmp_path / "out" / "precious").exists()
    tune(base, rows, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "precious").exists()


def test_resolved_parameters_say_where_they_came_from(base, rows, tmp_path):
    events = []
    tune(base, rows, tmp_path / "out", sources={"epochs": "flag"}, listener=events.append)
    resolved = next(event for event in events if event["event"] == "resolved")
    sources = {entry["name"]: entry["source"] for entry in resolved["parameters"]}
    assert sources["epochs"] == "flag"
    assert sources["beta2"] == "default"
    assert sources["max_length"].startswith("base model")
    kinds = [event["event"] for event in events]
    assert kinds.index("resolved") < kinds.index("estimate") < kinds.index("step")
    assert {"evaluation", "stopped", "finished"} <= set(kinds)


def test_text_without_answers_is_refused(base, texts, tmp_path):
    with pytest.raises(DataError, match="outcrop pretrain"):
        outcrop.tune(base, [texts], str(tmp_path / "out"))


def test_rows_that_leak_between_parts_are_warned_of(base, rows, tmp_path):
    events = []
    tune(base, rows, tmp_path / "out", validation=[rows], listener=events.append)
    warnings = [event["message"] for event in events if event.get("code") == "leak"]
    assert len(warnings) == 1
    assert warnings[0].startswith("90 of 90 validation rows")


def test_a_model_tuned_on_a_split_is_asked_through_the_template_of_the_split(base, rows, tmp_path):
    split_data([rows], tmp_path / "split", Mapping.from_text(COLUMNS, TEMPLATE))
    outcrop.tune(base, [str(tmp_path / "split")], str(tmp_path / "out"), settings=FAST)
    card = json.loads((tmp_path / "out" / "outcrop.json").read_text())
    assert card["prompt"] == {"template": "Message: {prompt}\nIntent:", "column": "text"}
    plain = load_model(str(tmp_path / "out")).renderer.prompt(Pair("Message: hello\nIntent:", ""))
    assert outcrop.generate(str(tmp_path / "out"), "hello").prompt_tokens == len(plain)


def test_a_mapping_with_a_split_folder_is_refused(base, rows, tmp_path):
    split_data([rows], tmp_path / "split", Mapping.from_text(COLUMNS, TEMPLATE))
    with pytest.raises(UsageError, match="records already"):
        outcrop.tune(base, [str(tmp_path / "split")], str(tmp_path / "out"), template="x {prompt}", settings=FAST)


def test_rows_with_special_tokens_are_named_all_at_once_or_left_out(base, rows, tmp_path):
    lines = Path(rows).read_text().splitlines()
    for line in (7, 20):
        lines[line] = json.dumps({"text": f"{line} the <unk> word </s>", "label": "fee"})
    Path(rows).write_text("\n".join(lines) + "\n")
    test = tmp_path / "test.jsonl"
    test.write_text('{"text": "the <pad> word", "label": "fee"}\n' + "\n".join(lines[:3]) + "\n")
    with pytest.raises(DataError) as caught:
        tune(base, rows, tmp_path / "out", test=[str(test)])
    assert "3 of 94 rows" in caught.value.message
    assert all(f"{place}" in caught.value.message for place in (f"{rows}:8", f"{rows}:21", f"{test}:1"))
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "test.jsonl"}
    events = []
    result = tune(base, rows, tmp_path / "out", test=[str(test)], drop_bad_rows=True, listener=events.append)
    assert sum(result.rows.values()) == 91
    assert any(event.get("code") == "special-tokens" for event in events)
    assert "special-token</code>" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("choice", "measured"), [("refuse", None), ("drop", 3), ("cut-prompt", 4)])
def test_over_long_test_rows_are_refused_before_training_or_fitted(base, rows, tmp_path, choice, measured):
    lines = Path(rows).read_text().splitlines()
    Path(rows).write_text("\n".join(lines[:-3]) + "\n")
    test = tmp_path / "test.jsonl"
    long = json.dumps({"text": "a long card " * 200, "label": "fee"})
    test.write_text("\n".join([*lines[-3:], long]) + "\n")
    settings = {"over_long": choice, "max_steps": 1}
    if measured is None:
        with pytest.raises(DataError, match=r"1 of 4 prompts leave no room.*test.jsonl:4"):
            tune(base, rows, tmp_path / "out", test=[str(test)], settings=settings)
        assert not list(tmp_path.glob("out*"))
        return
    result = tune(base, rows, tmp_path / "out", test=[str(test)], settings=settings)
    assert result.evaluation is not None
    assert result.evaluation.data.rows == result.rows["test"] == measured
    assert any("too long" in note for note in result.evaluation.notes)


def test_leaks_into_the_test_rows_stand_beside_the_score(base, rows, tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text("\n".join(Path(rows).read_text().splitlines()[:12]) + "\n")
    result = tune(base, rows, tmp_path / "out", test=[str(test)], settings={"max_steps": 2})
    assert result.evaluation is not None
    [limit, *_] = result.evaluation.limits
    assert "of 12 test rows have a prompt equal or almost equal" in limit
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index(limit) < page.index("<nav")
    assert f"† {limit}" in page[page.index('id="results"') : page.index("<figure")]


@pytest.mark.parametrize(
    ("answers", "labels", "says"),
    [
        (["fee", "fee", "new"], ("card", "fee", "new", "refund"), "labels that training never saw: new (1)."),
        (["one answer", "another answer", "a third one"], None, ""),
    ],
)
def test_test_rows_with_other_answers_than_training_do_not_end_the_job(base, rows, tmp_path, answers, labels, says):
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps({"text": f"row {n}", "label": a}) + "\n" for n, a in enumerate(answers)))
    events = []
    result = tune(
        base, rows, tmp_path / "out", test=[str(test)], settings={"max_steps": 1}, listener=events.append
    )
    assert result.evaluation is not None
    assert result.evaluation.labels == labels
    kinds = [event.get("code", event["event"]) for event in events]
    assert bool(says) == ("unseen-labels" in kinds)
    assert not says or kinds.index("unseen-labels") < kinds.index("step")
    assert any(says in note for note in result.evaluation.notes)
