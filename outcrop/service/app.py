"""The application: guard, key, route, endpoint; every end of a request becomes an answer, a line and a count."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outcrop.service import operation
from outcrop.service.auth import Caller, Claim, claim_of
from outcrop.service.bedrock import errors, operations
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call
from outcrop.service.guard import Guard, read_body
from outcrop.service.identity import routes as identity
from outcrop.service.identity.query import failed as query_failed
from outcrop.service.log import LOGGER
from outcrop.service.openai import routes as openai
from outcrop.service.openai.errors import response as openai_response
from outcrop.service.routes import MIB, Routes
from outcrop.service.signature import SERVICE, SignedRequest
from outcrop.service.state import Service
from outcrop.store.projects import Project

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""No browser takes an answer for a page, whatever text of a user it holds."""
NOBODY = Caller(Project("", "", ""), "")
"""Who calls a route that is open."""


def routes(service: Service) -> Routes:
    """Every route of the server."""
    body_bytes = service.spec.body_mib * MIB
    further = identity.routes() if service.spec.identity else ()
    return Routes((*operation.routes(), *operations.routes(body_bytes), *openai.routes(body_bytes), *further))


@dataclass
class Account:
    """What is told of a request when it has ended."""

    request_id: str
    began: float
    operation: str = "unknown"
    caller: Caller = NOBODY
    status: int = 0
    error: BedrockError | None = None
    fault: Exception | None = None


class App:
    """The ASGI application of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.routes = routes(service)
        self._guard = Guard(service.spec)
        self._key_lookups = CapacityLimiter(8)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "There are no sockets here."})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.service.begin()
            await Runtime.of(self.service).provisioning.resume()
        except Exception as error:  # noqa: BLE001  the server is told, and ends
            LOGGER.exception("The server cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.service.end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = Account(str(uuid.uuid4()), time.perf_counter())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                account.status = message["status"]
                message["headers"] += [(b"x-amzn-requestid", account.request_id.encode()), NO_SNIFFING]
            await send(message)

        with self.service.metrics.open.track_inprogress():
            try:
                try:
                    response = await self._respond(Request(scope, receive), account)
                except Exception as error:  # noqa: BLE001  whatever arrives here is answered
                    response = self._failed(error, account, scope["path"])
                await response(scope, receive, sending)
            finally:
                self._tell(account)

    async def _respond(self, request: Request, account: Account) -> Response:
        raw_path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
        self._guard.check(request.scope["scheme"], headers)
        match = self.routes.find(request.method, raw_path)
        account.operation = match.route.name if match else "unknown"
        is_open = match is not None and match.route.open
        claim = None if is_open else claim_of(headers)
        body = await read_body(request, match.route.body_bytes if match else MIB)
        if claim is not None:
            signed = SignedRequest(request.method, raw_path, query, headers, body)
            account.caller = await self._caller(claim, signed, match.route.services if match else (SERVICE,))
        if match is None:
            text = f"There is no operation {request.method} {raw_path[:200]}. Identifiers in paths are percent-encoded."
            raise BedrockError("UnknownOperationException", text)
        call = Call(self.service, account.caller, request, account.request_id, match.labels, query, dict(headers), body)
        return await match.route.endpoint(call)

    async def _caller(self, claim: Claim, request: SignedRequest, services: Sequence[str]) -> Caller:
        authenticator = self.service.authenticator
        if authenticator.is_quick(claim):
            return authenticator.check(claim, request, services)
        return await run_sync(authenticator.check, claim, request, services, limiter=self._key_lookups)

    def _failed(self, error: Exception, account: Account, path: str) -> Response:
        account.error = errors.translated(error)
        account.fault = error if account.error.status == 500 else None
        if path.startswith(openai.PREFIXES):
            return openai_response(account.error)
        if path == identity.PATH and self.service.spec.identity:
            return query_failed(account.error, account.request_id)
        return errors.response(account.error)

    def _tell(self, account: Account) -> None:
        seconds = time.perf_counter() - account.began
        code = account.error.code if account.error else str(account.status)
        self.service.metrics.requests.labels(account.operation, code).inc()
        self.service.metrics.seconds.labels(account.operation).observe(seconds)
        fields = {
            "request_id": account.request_id, "operation": account.operation, "status": account.status, "code": code,
            "project": account.caller.project.name, "key": account.caller.key_id, "ms": round(1000 * seconds, 2),
        }  # fmt: skip
        if account.fault is not None:
            LOGGER.error("request", extra={"fields": fields}, exc_info=account.fault)
        else:
            LOGGER.info("request", extra={"fields": fields})
