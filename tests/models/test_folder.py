"""Where a model's name leads, and what may lie there. No torch is needed for any of this."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from outcrop.core.errors import ModelError, OutcropError
from outcrop.models import folder as folders
from outcrop.models.folder import CARD, bundled_names, extend_card, find_model, write_card
from tests.models.folders import edit


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the files that are looked at before anything is loaded."""
    folder = tmp_path / "models" / "base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def adapter(model: Path) -> Path:
    """An adapter of it, with a card."""
    folder = model.parent / "adapter"
    folder.mkdir()
    edit(folder / "adapter_config.json", base_model_name_or_path=str(model), peft_type="LORA")
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    write_card(folder, {"base": {"name": str(model), "digest": find_model(str(model)).digest()}})
    return folder


def refusal(name: str | Path) -> OutcropError:
    with pytest.raises(OutcropError) as caught:
        find_model(str(name))
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value


def test_a_plain_folder(model: Path) -> None:
    found = find_model(str(model))
    assert (found.name, found.path, found.base, found.card) == (str(model), model, None, {})
    assert found.root is found
    assert [file.name for file in found.weights] == ["model.safetensors"]
    assert found.read("config.json") == {"model_type": "llama"}
    assert found.read("generation_config.json") == {}
    assert find_model(f"file://{model}").path == model


def test_a_missing_folder_is_answered_with_its_neighbour(model: Path) -> None:
    error = refusal(model.with_name("bace"))
    assert "There is no model folder" in error.message
    assert error.remedy == f"Did you mean: {model}?"


def test_a_missing_folder_that_could_be_a_hub_name_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert "hf:someone/model" in refusal("someone/model").remedy


def test_of_a_file_its_folder_is_asked_for(model: Path) -> None:
    error = refusal(model / "model.safetensors")
    assert "is a file" in error.message
    assert error.remedy == f"Give its folder: {model}"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_bytes(b'"\xff"'), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is not a JSON object"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "tokenizer_config.json is not JSON"),
        (lambda folder: (folder / CARD).write_text("{"), "outcrop.json is not JSON"),
        (lambda folder: (folder / CARD).write_text('{"rendering": "chatml"}'), "must be objects"),
        (
            lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "x.Y"}),
            "code from model folders is never",
        ),
        (lambda folder: edit(folder / "tokenizer_config.json", auto_map={}), "tokenizer_config.json names code"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no safetensors weights."),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickles can run code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_folders_that_are_refused(model: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(model)
    error = refusal(model)
    assert says in error.message
    assert error.where.startswith(str(model))


def test_names_of_other_places_are_refused() -> None:
    assert "cannot be read from s3://a/b" in refusal("s3://a/b").message
    assert "Unknown scheme" in refusal("huggingface:a/b").message


def test_the_hub_offline_is_a_clean_refusal() -> None:
    error = refusal("hf:someone/model")
    assert "hf:someone/model cannot be fetched" in error.message
    assert "network" in error.remedy
    assert "HFValidationError" in refusal("hf:../../etc").message


def test_bundled_models(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "BUNDLED", model.parent)
    assert bundled_names() == ["base"]
    assert find_model("bundled:base").path == model
    assert refusal("bundled:bse").remedy == "Did you mean: base?"
    assert "bundled:base" in refusal("/nowhere").remedy


def test_no_bundled_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders, "BUNDLED", tmp_path / "absent")
    assert bundled_names() == []
    assert "has none" in refusal("bundled:any").remedy


def test_an_adapter_has_its_base(adapter: Path, model: Path) -> None:
    found = find_model(str(adapter))
    assert found.base is not None
    assert found.root.path == found.base.path == model
    assert found.digest() != found.base.digest()


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- a\n---\n# Name\n", "apache-2.0"),
        ("---\nlicense:\n- mit\n- 'cc-by-4.0'\n---\n", "mit, cc-by-4.0"),
        ("---\nlicense: [mit, bsd-3-clause]\n---\n", "mit, bsd-3-clause"),
        ("---\nlicense: other\nlicense_name: gemma\nlicense_link: https://ai.google.dev/terms\n---\n",
         "other (gemma, https://ai.google.dev/terms)"),
        ("# Name\n\nlicense: mit\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_licence_of_a_model_of_the_hub(model: Path, readme: str, licence: str | None) -> None:
    (model / "README.md").write_text(readme)
    assert find_model(str(model)).licence == licence


def test_a_stated_licence_comes_first_and_a_base_s_last(adapter: Path, model: Path) -> None:
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    assert find_model(str(adapter)).licence == "mit"
    write_card(adapter, {**find_model(str(adapter)).card, "licence": "of the adapter"})
    assert find_model(str(adapter)).licence == "of the adapter"


def test_a_card_is_extended_in_place(adapter: Path) -> None:
    before = find_model(str(adapter)).card
    extend_card(adapter, {"cost": 1})
    assert find_model(str(adapter)).card == {**before, "cost": 1}


def test_an_adapter_whose_base_changed_is_refused(adapter: Path, model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"other weights")
    error = refusal(adapter)
    assert "digest differs" in error.message
    assert error.where == str(adapter)


def test_a_base_without_a_recorded_digest_is_taken_as_it_is(adapter: Path, model: Path) -> None:
    (adapter / CARD).unlink()
    (model / "model.safetensors").write_bytes(b"other weights")
    assert find_model(str(adapter)).base is not None


def test_an_adapter_without_its_base_says_whose_base_is_missing(adapter: Path, model: Path) -> None:
    model.rename(model.with_name("elsewhere"))
    error = refusal(adapter)
    assert "The adapter's base model: There is no model folder" in error.message
    assert error.where == str(adapter)


@pytest.mark.parametrize("place", [None, "", 3], ids=["absent", "empty", "number"])
def test_an_adapter_that_names_no_base_is_refused(adapter: Path, place: object) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=place)
    assert "names no base model" in refusal(adapter).message


def test_an_adapter_of_itself_is_refused(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(adapter))
    assert "its own base" in refusal(adapter).message


def test_a_hub_name_of_a_base_is_looked_for_on_the_hub(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="someone/model")
    assert "hf:someone/model cannot be fetched" in refusal(adapter).message


def test_adapters_may_stand_on_adapters(adapter: Path, model: Path) -> None:
    second = adapter.with_name("second")
    second.mkdir()
    edit(second / "adapter_config.json", base_model_name_or_path=str(adapter))
    (second / "adapter_model.safetensors").write_bytes(b"second")
    assert find_model(str(second)).root.path == model


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer_config.json", "tokenizer.json"])
def test_the_digest_depends_on_every_file_of_the_model(model: Path, file: str) -> None:
    before = find_model(str(model)).digest()
    assert find_model(str(model)).digest() == before
    (model / "README.md").write_text("words")
    assert find_model(str(model)).digest() == before
    (model / file).write_text('{"other": 1}')
    assert find_model(str(model)).digest() != before


def test_a_card_has_its_schema(tmp_path: Path) -> None:
    write_card(tmp_path, {"kind": "base"})
    assert json.loads((tmp_path / CARD).read_text()) == {"schema": 1, "kind": "base"}


def test_folders_are_found_without_torch(model: Path) -> None:
    program = (
        "import sys; from outcrop.models.folder import find_model;"
        f"find_model({str(model)!r}).digest(); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_parameters_are_counted_from_the_header(model: Path) -> None:
    header = b'{"__metadata__":{},"a":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]},"b":{"shape":[]}}'
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(48))
    assert find_model(str(model)).parameters == 13


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, (9).to_bytes(8, "little") + b'{"a": 1}}', bytes(8) + b"{}"])
def test_a_broken_header_is_named(model: Path, content: bytes) -> None:
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is not safetensors"):
        _ = find_model(str(model)).parameters
