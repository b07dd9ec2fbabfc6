"""What the runtime keeps for the life of the server: models in memory, reservations, and the log of invocations."""

from __future__ import annotations

from functools import cached_property

from outcrop.service.bedrock.runtime.invocation_log import SETTING, InvocationLog, LogSettings
from outcrop.service.bedrock.runtime.provisioning import Provisioning
from outcrop.service.bedrock.runtime.redaction import Redaction
from outcrop.service.inference.pool import Pool, PoolLimits
from outcrop.service.inference.published import Published
from outcrop.service.inference.reservations import Reservations
from outcrop.service.state import Service
from outcrop.store.lookups import PUBLISHED
from outcrop.store.places import Places
from outcrop.store.projects import Project

PART = "runtime"


class Runtime:
    """The runtime of one server."""

    def __init__(self, service: Service, pool: Pool | None = None) -> None:
        self.service, self.pool = service, pool or Pool(PoolLimits(engine=service.spec.engine))
        self.provisioning = Provisioning(service, Reservations(self.pool))
        self.published = Published(service.home / PUBLISHED) if service.spec.lookup else None
        self.log = InvocationLog(service.spec.region, self._log_settings)

    @classmethod
    def of(cls, service: Service) -> Runtime:
        """The runtime of a server, made when it is first wanted, and closed with the server."""
        runtime = service.parts.get(PART)
        if not isinstance(runtime, cls):
            runtime = service.parts[PART] = cls(service)
            service.closing.push_async_callback(runtime.close)
        return runtime

    def _log_settings(self, project: Project) -> LogSettings | None:
        """Where the log of a project goes, None while it is off; in a thread."""
        config = self.service.projects.setting(project, SETTING)
        if config is None:
            return None
        target, region = config["s3Config"], self.service.spec.region
        above = f"s3://{target['bucketName']}/{target.get('keyPrefix', '').strip('/')}".rstrip("/")
        uri = f"{above}/AWSLogs/{project.account}/BedrockModelInvocationLogs/{region}"
        text = config.get("textDataDeliveryEnabled", True)
        places = Places(self.service.places(project))
        return LogSettings(places, uri, text, self._redaction if self.service.spec.redact_logs else None)

    @cached_property
    def _redaction(self) -> Redaction:
        return Redaction()

    async def close(self) -> None:
        """Write what is left of the log, and free all models."""
        await self.provisioning.close()
        await self.log.close()
        if self.published is not None:
            self.published.close()
        await self.pool.close()
