"""Which model it is, digested in a thread of its own while the model is loaded and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Self

from geometry_of_trust.errors import FileChanged, GotError
from geometry_of_trust.extraction.request import Request
from geometry_of_trust.identity.digest_cache import FileState, user_cache
from geometry_of_trust.identity.hub_cache import locate
from geometry_of_trust.identity.model_folder import find_files
from geometry_of_trust.identity.model_identity import ModelIdentity, identity_of

if TYPE_CHECKING:
    from geometry_of_trust.extraction.model_files import Source


@dataclass(frozen=True)
class _Begun:
    """What is being digested, and the state of each file before anything of it was loaded."""

    folder: str
    gguf: str | None
    states: Mapping[str, FileState]
    identity: Future[ModelIdentity]


class Identifying:
    """The identity of a model that is about to be loaded. Leaving the `with` ends its thread.

    It begins with what is on this machine before the model is looked for, so that digesting takes
    no time of its own; what was downloaded meanwhile is digested when the identity is asked for.
    """

    def __init__(self, request: Request) -> None:
        self._options = request.options
        self._given_up = Event()
        self._pool = ThreadPoolExecutor(1)
        self._begun: _Begun | None = None
        try:
            folder, gguf = locate(request.model, self._options.revision)
            states = self._states(folder, gguf)
        except GotError:
            return  # who loads it says what is wrong, or downloads it
        self._begun = _Begun(folder, gguf, states, self._pool.submit(self._identify, folder, gguf))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._given_up.set()
        self._pool.shutdown(cancel_futures=True)

    def of(self, source: Source) -> ModelIdentity:
        """The identity of a model, once it is loaded.

        Raises:
            FileChanged: a file of it is not as it was before it was loaded.
            Others: as `identity_of`.
        """
        folder, begun = source.folder, self._begun
        if begun is None or (os.path.realpath(begun.folder), begun.gguf) != (
            os.path.realpath(folder), source.gguf
        ):  # fmt: skip
            return self._identify(folder, source.gguf)
        now = self._states(folder, source.gguf)
        for path, state in begun.states.items():
            if now.get(path) != state:
                raise FileChanged(
                    path, expected="a file of the model that nobody writes to",
                    found="one that changed while the model was loaded",
                )  # fmt: skip
        identity = begun.identity.result()
        return identity if len(now) == len(begun.states) else self._identify(folder, source.gguf)

    def _states(self, folder: str, gguf: str | None) -> dict[str, FileState]:
        found = find_files(
            folder,
            gguf=gguf,
            code=self._options.trust_remote_code,
            adapter=self._options.adapter,
        )
        return {file.name: FileState.of(file.path) for file in found.files}

    def _identify(self, folder: str, gguf: str | None) -> ModelIdentity:
        options = self._options
        return identity_of(
            folder,
            gguf=gguf,
            code=options.trust_remote_code,
            adapter=options.adapter,
            rehash=options.rehash,
            cache=None if options.rehash else user_cache(),
            given_up=self._given_up,
        )
