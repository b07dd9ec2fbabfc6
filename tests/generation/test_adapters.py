"""Adapters: mixed in one batch each gives what it gives merged and alone; what cannot be served is refused."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from outcrop.core.completions import Completion, CompletionRequest, Sampling, ScoreRequest
from outcrop.core.engines import AdapterRef
from outcrop.core.errors import ModelError, UsageError
from outcrop.generation import adapters
from outcrop.generation.adapters import ROWS_OF_SMALL, AdapterBank, Factors
from outcrop.generation.architecture import read_decoder
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.folder import find_model
from outcrop.models.loading import load_model
from outcrop.models.lora import layer_sizes
from tests.generation.adapters import write_adapter
from tests.models.folders import edit
from tests.support.families import family
from tests.support.tiny import tiny_model, tiny_tokenizer

RANKS = (2, 4, 8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _adapters(base: Path) -> list[AdapterRef]:
    return [
        write_adapter(base.parent / f"adapter-{seed}", base, tiny_model(), seed=seed, rank=rank)
        for seed, rank in enumerate(RANKS)
    ]


def _requests(digests: Sequence[str | None], seed: int = 0) -> list[CompletionRequest]:
    """Prompts that begin alike, so that a prefix of another adapter would be found if it were looked for."""
    stream = random.Random(seed)
    start = tuple(range(40, 80))
    return [
        CompletionRequest((*start, *stream.choices(range(4, 300), k=3)), Sampling(max_new_tokens=8), adapter=digest)
        for digest in digests
    ]


def _tokens(completions: Sequence[Completion]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in completions]


@pytest.mark.parametrize("side_by_side", [True, False])
def test_mixed_adapters_equal_each_merged_model(base: Path, side_by_side: bool, monkeypatch: Any) -> None:
    if not side_by_side:
        monkeypatch.setattr(adapters, "MOST_RANKS_TOGETHER", 3)
    refs = _adapters(base)
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer(), base_digest=find_model(str(base)).digest())
    for ref in refs:
        engine.add_adapter(ref)
    requests = _requests([None, *(ref.digest for ref in refs), refs[1].digest, None])
    mixed = engine.complete(requests)
    models = {None: str(base), **{ref.digest: ref.name for ref in refs}}
    for request, completion in zip(requests, mixed, strict=True):
        merged = EmbeddedEngine(load_model(models[request.adapter]).model, tiny_tokenizer())
        [alone] = merged.complete([replace(request, adapter=None)])
        assert completion.token_ids == alone.token_ids
        assert completion.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    assert len(set(_tokens(mixed))) == len(mixed)


def test_scores_are_those_of_the_merged_model(base: Path) -> None:
    [ref, *_] = _adapters(base)
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    engine.add_adapter(ref)
    request = ScoreRequest((5, 6, 7), ((8, 9), (8, 10, 11)), ref.digest)
    merged = EmbeddedEngine(load_model(ref.name).model, tiny_tokenizer())
    [found], [expected] = engine.score([request]), merged.score([replace(request, adapter=None)])
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in expected], abs=1e-4)


@pytest.mark.parametrize("name", ["olmo2", "gpt-neox"])
def test_models_that_go_by_their_modules_take_adapters_too(tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    family(name).save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    ref = write_adapter(tmp_path / "adapter", base, family(name), seed=0)
    engine = EmbeddedEngine(family(name), tiny_tokenizer())
    engine.add_adapter(ref)
    requests = _requests([ref.digest, None])
    merged = EmbeddedEngine(load_model(ref.name).model, tiny_tokenizer())
    alone = merged.complete([replace(requests[0], adapter=None)])
    plain = EmbeddedEngine(family(name), tiny_tokenizer()).complete(requests[1:])
    assert _tokens(engine.complete(requests)) == _tokens([*alone, *plain])


def test_an_adapter_is_known_by_its_content(base: Path) -> None:
    first, second, _ = _adapters(base)
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    with pytest.raises(ModelError, match="digest is sha256"):
        engine.add_adapter(AdapterRef(second.name, first.digest))
    engine.add_adapter(first)
    engine.add_adapter(first)
    assert engine.scheduler.adapters.digests == (first.digest,)
    with pytest.raises(UsageError, match="is not loaded"):
        engine.complete(_requests([second.digest]))
    with pytest.raises(UsageError, match="is not loaded"):
        engine.remove_adapter(second.digest)
    engine.remove_adapter(first.digest)
    with pytest.raises(UsageError, match="None is loaded"):
        engine.score([ScoreRequest((5,), ((6,),), first.digest)])


def test_an_adapter_that_changes_nothing_is_refused(base: Path) -> None:
    ref = write_adapter(base.parent / "zero", base, tiny_model(), seed=0, size=0.0)
    with pytest.raises(ModelError, match="changes nothing"):
        EmbeddedEngine(tiny_model(), tiny_tokenizer()).add_adapter(ref)


def test_an_adapter_of_another_base_is_refused(base: Path) -> None:
    [ref, *_] = _adapters(base)
    wide = EmbeddedEngine(tiny_model(intermediate_size=96), tiny_tokenizer())
    with pytest.raises(ModelError, match="does not fit this base model"):
        wide.add_adapter(ref)
    other = EmbeddedEngine(tiny_model(), tiny_tokenizer(), base_digest="sha256:other")
    with pytest.raises(ModelError, match="belongs to another base"):
        other.add_adapter(ref)
    with pytest.raises(ModelError, match="whole model"):
        other.add_adapter(AdapterRef(str(base), find_model(str(base)).digest()))


def test_a_wrong_rank_is_refused(base: Path) -> None:
    [ref, *_] = _adapters(base)
    edit(Path(ref.name) / "adapter_config.json", r=3)
    changed = AdapterRef(ref.name, find_model(ref.name).digest())
    with pytest.raises(ModelError, match="does not fit this base model"):
        EmbeddedEngine(tiny_model(), tiny_tokenizer()).add_adapter(changed)


def test_removing_and_adding_never_finds_stale_weights_or_prefixes(base: Path) -> None:
    [ref, *_] = _adapters(base)
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    requests = _requests([ref.digest])
    engine.add_adapter(ref)
    before = engine.complete(requests)
    engine.remove_adapter(ref.digest)
    engine.complete(_requests([None]))
    engine.add_adapter(ref)
    [after] = engine.complete(requests)
    assert after.cached_tokens == 0
    assert after.token_ids == before[0].token_ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [2, ROWS_OF_SMALL, 20])
@pytest.mark.parametrize("small", [True, False])
def test_rows_side_by_side_get_what_their_adapters_add(
    dtype: torch.dtype, rows: int, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(rows)
    if not small:  # some of the factors go as halves then, some not
        monkeypatch.setattr(adapters, "SMALL_FACTOR", 200)
    model = tiny_model().to(dtype)
    sizes, bank, trunk = layer_sizes(model), AdapterBank(), read_decoder(model)
    parts = {"a": ("q_proj", "v_proj", "gate_proj"), "b": ("k_proj", "o_proj"), "c": ("q_proj", "k_proj", "up_proj")}
    for rank, (digest, names) in enumerate(parts.items(), 2):
        own = {name: size for name, size in sizes.items() if name.endswith(names)}
        factors = {
            name: Factors(torch.randn(rank, size.inputs, dtype=dtype), torch.randn(size.outputs, rank, dtype=dtype))
            for name, size in own.items()
        }
        bank.add(digest, trunk.sites(factors))
    digests = (["a", "b", None, "c"] * rows)[:rows]
    together, each = bank.for_rows(digests), bank.for_runs(digests, [1] * rows)
    assert together is not None
    assert each is not None
    for site, inputs, outputs in (("0.qkv", 32, 64), ("1.output", 32, 32), ("1.gate_up", 32, 128), ("0.down", 64, 32)):
        x, y = torch.randn(rows, inputs, dtype=dtype), torch.randn(rows, outputs, dtype=dtype)
        wanted = torch.arange(rows - 1, -1, -2)
        for some in (torch.arange(rows), wanted):
            expected = each.add(site, x, y.clone())[some]
            near = {"rtol": 0.02, "atol": 0.5} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
            for found in (together, each):
                torch.testing.assert_close(found.among(some).add(site, x[some], y[some]), expected, **near)


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def test_loading_and_unloading_500_times_leaves_nothing_behind(base: Path) -> None:
    [ref, *_] = _adapters(base)
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    engine.add_adapter(ref)
    sites = dict(engine.scheduler.adapters._adapters[ref.digest])
    engine.complete(_requests([ref.digest]))
    engine.remove_adapter(ref.digest)
    held, tensors = engine.scheduler.prefixes.tokens, _tensors()
    request = CompletionRequest((5,) * 20, Sampling(max_new_tokens=1), adapter=ref.digest)
    for _ in range(500):
        with engine._lock:
            engine.scheduler.adapters.add(
                ref.digest, {name: Factors(f.A_RI.clone(), f.B_OR.clone(), f.blocks) for name, f in sites.items()}
            )
        engine.complete([request])
        engine.remove_adapter(ref.digest)
    assert _tensors() == tensors
    assert engine.scheduler.prefixes.tokens == held
    assert engine.scheduler.idle


def test_the_stack_keeps_what_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "MOST_RANKS_TOGETHER", 4)
    bank = AdapterBank()
    for name in "abc":
        bank.add(name, {"site": Factors(torch.ones(2, 3), torch.ones(5, 2))})
    bank.for_rows(["a", "b"])
    assert bank._stack.order == ("a", "b")
    bank.for_rows(["c", None])
    assert bank._stack.order == ("c", "a")
    bank.remove("a")
    assert bank._stack.order == ()
    assert bank.for_rows([None, None]) is None
    assert bank.for_runs([None], [3]) is None
