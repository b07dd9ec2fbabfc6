"""vLLM behind the interface of every engine: our checks before it, our text and stop strings after it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from outcrop.core.completions import CompletionRequest, Sampling, Score, ScoreRequest
from outcrop.core.engines import AdapterRef, Capability, EngineStats, Health, ModelRef, TokenEvent
from outcrop.core.errors import JobFailed, ModelError, OutcropError, Unavailable, UsageError, did_you_mean
from outcrop.generation.answers import Answer
from outcrop.generation.constraints import Constraints
from outcrop.generation.sampling import MOST_TOP_LOGPROBS, Chooser, check_sampling
from outcrop.generation.scoring import Trie, check_scoring
from outcrop.generation.vllm import messages
from outcrop.generation.vllm.environment import check_vllm
from outcrop.generation.vllm.model import RANKS, ServedModel
from outcrop.generation.vllm.server import VllmServer

CAPABILITIES: frozenset[Capability] = frozenset(
    ["logprobs", "top_logprobs", "logit_bias", "repetition_penalty", "min_p", "constraint", "mixed_adapters", "score",
     "prefix_cache"]
)  # fmt: skip
LOOK_S = 0.01
PIECES_AFTER_THE_END = 3
"""An answer that is complete here is complete there too, or one token later."""
PROBE_TOKENS, PROBE_ANSWER_TOKENS = 12, 4


@dataclass(frozen=True)
class VllmOptions:
    """How vLLM is started. python: of its environment (None: what OUTCROP_VLLM_PYTHON names).

    slots: answers at once; most_waiting: answers beyond those, more are refused; context: longest text in tokens, to
    save memory (None: the model's); adapters: in one batch; rank: the highest of an adapter; ready_s: how long starting
    may take; arguments: further flags of its server.
    """

    python: str | None = None
    slots: int = 128
    most_waiting: int = 256
    context: int | None = None
    adapters: int = 8
    rank: int = 64
    ready_s: float = 900.0
    arguments: tuple[str, ...] = ()


class VllmEngine:
    """Implements core.engines.Engine with a server of vLLM, in an environment of its own, as a child process.

    Text, stop strings and stop ids are computed here from token ids, so that they are those of every engine. Of
    cached_tokens in its stats vLLM tells nothing; a removed adapter is out of reach at once, and its memory is free
    when vLLM needs the place.
    """

    def __init__(self, options: VllmOptions | None = None) -> None:
        self._options = options or VllmOptions()
        if self._options.rank not in RANKS:
            raise UsageError(f"rank is {self._options.rank}.", f"vLLM takes {', '.join(map(str, RANKS))}.")
        self._server: VllmServer | None = None
        self._model: ServedModel | None = None
        self._constraints: Constraints | None = None
        self._adapters: set[str] = set()
        self._using: Counter[str | None] = Counter()
        self._changing = asyncio.Lock()
        self._stopping = False
        self._loaded = time.monotonic()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that requests can express."""
        return CAPABILITIES

    async def load(self, model: ModelRef) -> None:
        """Start vLLM with a model and wait for its first token. Raises ModelError; UsageError if a model is loaded, or
        where no environment is named; MissingDependency where that has no vLLM; JobFailed where it does not start."""
        if self._server is not None:
            raise UsageError("The engine has a model already.", "Make another engine.")
        python = check_vllm(self._options.python)
        self._server = VllmServer()
        try:
            self._model = await asyncio.to_thread(ServedModel.prepare, model, self._server.folder)
            self._constraints = Constraints(self._model.tokenizer, self._model.limits.vocabulary)
            await self._server.start(python, self._arguments(model), self._options.ready_s)
            await self._probe()
        except BaseException:
            await self._server.stop()
            self._server = self._model = None
            raise
        self._loaded = time.monotonic()

    async def add_adapter(self, adapter: AdapterRef) -> None:
        """Make an adapter usable; again is no error.

        Raises ModelError for one that does not fit the base, has no effect there, or is not what its digest says.
        """
        server, model = self._open()
        async with self._changing:
            if adapter.digest in self._adapters:
                return
            path = await asyncio.to_thread(model.publish, adapter, self._options.rank, server.folder / "adapters")
            body = {"lora_name": adapter.digest, "lora_path": str(path)}
            try:
                await server.post("/v1/load_lora_adapter", body, adapter.name)
            except UsageError as error:
                raise ModelError(error.message, "Serve the adapter folder as a model.", adapter.name) from None
            if await self._continuation(adapter.digest) == await self._continuation(None):
                await self._forget(adapter.digest)
                raise ModelError(
                    "The adapter changes nothing in vLLM: its output is that of the base.",
                    "Serve the adapter folder as a model.",
                    adapter.name,
                )
            self._adapters.add(adapter.digest)

    async def remove_adapter(self, digest: str) -> None:
        """Free an adapter once no request uses it. Raises UsageError for one that is not loaded."""
        self._check_adapter(digest, "remove_adapter")
        while self._using[digest]:
            await asyncio.sleep(LOOK_S)
        async with self._changing:
            self._check_adapter(digest, "remove_adapter")
            self._adapters.discard(digest)
            await self._forget(digest)

    async def generate(self, request: CompletionRequest) -> AsyncIterator[TokenEvent]:
        """The events of a request's answers; closing the iterator cancels it."""
        answers = self._answers(request, "request")
        queue: asyncio.Queue[TokenEvent | BaseException] = asyncio.Queue()
        with self._admitted(request.adapter, len(answers)):
            readers = [asyncio.create_task(self._follow(queue, *each)) for each in enumerate(answers)]
            try:
                open_answers = len(answers)
                while open_answers:
                    news = await queue.get()
                    if isinstance(news, BaseException):
                        raise news
                    yield news
                    open_answers -= news.finish_reason is not None
            finally:
                await _cancel(readers)

    async def score(self, request: ScoreRequest) -> list[Score]:
        """Log-likelihoods of a request's candidates, in order: a request of vLLM for each of their tokens, those of
        common beginnings once."""
        _, model = self._open()
        check_scoring(request, model.limits, "request")
        self._check_adapter(request.adapter, "request")
        trie = Trie.of(request.candidates)
        texts = {
            edge: (*request.prompt_ids, *candidate[: depth + 1])
            for candidate, path in zip(request.candidates, trie.paths, strict=True)
            for depth, edge in enumerate(path)
        }
        name = request.adapter or messages.BASE
        with self._admitted(request.adapter, 1):
            return trie.scores(await self._logprobs([texts[edge] for edge in range(len(texts))], name))

    async def stats(self) -> EngineStats:
        """What the engine is doing; rates are from the time of loading on."""
        server, _ = self._open()
        found = await server.metrics()
        return EngineStats(
            running=found.running,
            waiting=found.waiting,
            slots=self._options.slots,
            used_tokens=round(found.used_share * found.cache_tokens),
            budget_tokens=found.cache_tokens,
            cached_tokens=0,
            computed_tokens=found.prompt_tokens - found.prefix_tokens + found.generated_tokens,
            prefix_tokens=found.prefix_tokens,
            generated_tokens=found.generated_tokens,
            tokens_per_s=found.generated_tokens / max(1e-9, time.monotonic() - self._loaded),
            adapters=tuple(sorted(self._adapters)),
        )

    async def health(self, deadline_s: float) -> Health:
        """Liveness of the process, readiness by one token on the way that requests take."""
        if self._server is None or not self._server.running:
            return Health(False, False, "vLLM does not run")
        try:
            await asyncio.wait_for(self._probe(), deadline_s)
        except TimeoutError:
            return Health(True, False, f"no token within {deadline_s:g} s")
        except OutcropError as error:
            return Health(self._server.running, False, str(error))
        return Health(True, True)

    async def drain(self, deadline_s: float) -> bool:
        """Take no more requests and finish those there are; whether all were finished in time."""
        self._stopping = True
        end = time.monotonic() + deadline_s
        while self._using.total() and time.monotonic() < end:
            await asyncio.sleep(LOOK_S)
        return not self._using.total()

    async def close(self) -> None:
        """End vLLM, failing what still runs."""
        self._stopping = True
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def _arguments(self, model: ModelRef) -> list[str]:
        _, served = self._open()
        options = self._options
        context = min(filter(None, (served.limits.context, options.context)), default=None)
        return [
            "--model", str(served.path), "--served-model-name", messages.BASE, "--dtype", model.precision,
            *(["--max-model-len", str(context)] if context else []), "--max-num-seqs", str(options.slots),
            "--enable-lora", "--max-loras", str(options.adapters), "--max-lora-rank", str(options.rank),
            "--max-logprobs", str(MOST_TOP_LOGPROBS), "--generation-config", "vllm", "--enable-prompt-tokens-details",
            "--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}',
            *options.arguments,
        ]  # fmt: skip

    def _open(self) -> tuple[VllmServer, ServedModel]:
        if self._server is None or self._model is None:
            raise Unavailable("The engine has no model.", "Load one first.")
        return self._server, self._model

    def _answers(self, request: CompletionRequest, where: str) -> list[Answer]:
        _, model = self._open()
        assert self._constraints is not None, "a model is loaded"
        sampling = request.sampling
        check_sampling(sampling, model.limits.vocabulary, where)
        messages.check_supported(sampling, where)
        model.limits.check(request.prompt_ids, 1, where)
        self._check_adapter(request.adapter, where)
        if request.n < 1:
            raise UsageError(f"n is {request.n}.", "Allowed: at least 1.", where)
        self._constraints.grammar(sampling.constraint, sampling.stop_ids, where)
        room = model.limits.room(len(request.prompt_ids), sampling.max_new_tokens)
        chooser = partial(Chooser, sampling, request.prompt_ids)
        return [Answer(request, chooser(), model.tokenizer, room, live=True) for _ in range(request.n)]

    def _check_adapter(self, digest: str | None, where: str) -> None:
        if digest is not None and digest not in self._adapters:
            remedy = did_you_mean(digest, self._adapters) if self._adapters else "None is loaded; add it first."
            raise UsageError(f"The adapter {digest} is not loaded.", remedy, where)

    @contextmanager
    def _admitted(self, adapter: str | None, answers: int) -> Iterator[None]:
        """Inside, so many answers are counted. Raises Unavailable."""
        if self._stopping:
            raise Unavailable("The engine is stopping.", "Ask another one.")
        bound, now = self._options.most_waiting + self._options.slots, self._using.total()
        if now + answers > bound:
            raise Unavailable(f"{now} answers are running or waiting; at most {bound} may.", "Ask later.")
        self._using[adapter] += answers
        try:
            yield
        finally:
            self._using[adapter] -= answers

    async def _follow(self, queue: asyncio.Queue[TokenEvent | BaseException], index: int, answer: Answer) -> None:
        """Write one answer, and tell its events, or why there are no more."""
        try:
            async for event in self._events(index, answer):
                queue.put_nowait(event)
        except Exception as error:  # noqa: BLE001  the caller of generate gets it
            queue.put_nowait(self._gone() if self._server is None else error)

    async def _events(self, index: int, answer: Answer) -> AsyncIterator[TokenEvent]:
        server, model = self._open()
        body = messages.completion(
            answer.prompt_ids, answer.sampling, answer.room,
            model=answer.adapter or messages.BASE, answer=index, end=model.tokenizer.eos_token_id,
        )  # fmt: skip
        answer.begin(0)
        late = 0
        async for piece in server.stream(body, "request"):
            if piece.cached_tokens is not None:
                answer.cached_tokens = piece.cached_tokens
            for token, logprob, top in zip(piece.tokens, piece.logprobs, piece.tops, strict=True):
                if not answer.finished:
                    answer.accept(token, logprob, top)
            if piece.finish is not None and not answer.finished:
                answer.end(messages.finish_reason(piece.finish))
            late += answer.finished
            if late > PIECES_AFTER_THE_END:
                break
            if answer.has_news and not answer.finished:
                yield answer.event(index)
        if not answer.finished:
            raise JobFailed("vLLM's answer broke off.", "Ask again.")
        yield answer.event(index)

    async def _probe(self) -> None:
        """One token on the way that requests take."""
        [answer] = self._answers(CompletionRequest((0,), Sampling(max_new_tokens=1)), "health")
        async for _ in self._events(0, answer):
            pass

    async def _logprobs(self, texts: list[tuple[int, ...]], model: str) -> list[float]:
        """Of the last token of each text: the first one alone, so that the others find their beginning computed."""
        server, _ = self._open()
        places = asyncio.Semaphore(self._options.slots)

        async def ask(text: tuple[int, ...]) -> float:
            async with places:
                body = messages.forced(text[:-1], text[-1], model=model)
                return messages.logprob(await server.post("/v1/completions", body, "request"))

        found = [await ask(texts[0])]
        tasks = [asyncio.create_task(ask(text)) for text in texts[1:]]
        try:
            return found + await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)

    async def _continuation(self, model: str | None) -> list[Any]:
        """What one model of the server makes of a fixed text."""
        _, served = self._open()
        ids = tuple(1 + number * 37 % (served.limits.vocabulary - 1) for number in range(PROBE_TOKENS))
        sampling = Sampling(max_new_tokens=PROBE_ANSWER_TOKENS, top_logprobs=MOST_TOP_LOGPROBS)
        [answer] = self._answers(CompletionRequest(ids, sampling), "add_adapter")
        answer.adapter = model
        return [(event.token_ids, event.top_logprobs) async for event in self._events(0, answer)]

    async def _forget(self, digest: str) -> None:
        server, _ = self._open()
        await server.post("/v1/unload_lora_adapter", {"lora_name": digest}, "remove_adapter")
        shutil.rmtree(server.folder / "adapters" / digest.replace(":", "-"), ignore_errors=True)

    def _gone(self) -> Unavailable:
        return Unavailable("The engine was closed.", "Ask another one.")


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
