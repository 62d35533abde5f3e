"""A real OPA that decides by the shipped policies and a few more."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from support.patience import until

from controller import paths
from controller.local.api import Api
from controller.policy.bundle import build_bundle
from controller.policy.sources import Module, PolicySet, combine, read_shipped
from controller.settings import Settings

OpaWith = Callable[[Mapping[str, str]], AbstractAsyncContextManager[str]]


@pytest.fixture
def opa_with(opa: Path, tmp_path: Path) -> OpaWith:
    """Open one with ``opa_with({"team.rego": text})``: it has these files beside the shipped ones, whose packages they may replace."""

    @asynccontextmanager
    async def serve(files: Mapping[str, str]) -> AsyncIterator[str]:
        shipped, problems = combine(read_shipped(paths.POLICIES), [], Settings().document())
        assert problems == []
        more = [Module("team", name, text) for name, text in files.items()]
        packages = {module.package for module in more}
        kept = [module for module in shipped.modules if module.package not in packages]
        (tmp_path / "bundle.tar.gz").write_bytes(build_bundle(PolicySet((*kept, *more), {}, shipped.settings)).content)
        config = {"bundles": {"kubernaut": {"resource": (tmp_path / "bundle.tar.gz").as_uri()}}}
        (tmp_path / "opa.json").write_text(json.dumps(config))
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(opa, "run", "--server", "--addr", f"127.0.0.1:{port}", "--config-file", tmp_path / "opa.json", "--log-level", "error"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            api = Api(f"http://127.0.0.1:{port}")
            await until(lambda: api.get("/health?bundles").status == HTTPStatus.OK, what="an OPA with its bundle")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            await process.wait()

    return serve
