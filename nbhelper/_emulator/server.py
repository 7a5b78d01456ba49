"""The HTTP server: seven APIs on one port of 127.0.0.1, Starlette and Uvicorn in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import difflib
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nbhelper._emulator.aigptimage import Aigptimage
from nbhelper._emulator.ailab import Ailab
from nbhelper._emulator.api import Api
from nbhelper._emulator.faults import Fault, Faults, Script, resolve_faults
from nbhelper._emulator.gptge import Gptge
from nbhelper._emulator.kie import Kie
from nbhelper._emulator.ledger import Ledger
from nbhelper._emulator.minimax import Minimax
from nbhelper._emulator.plan import DIRECTIVES, read_directives, unknown_words
from nbhelper._emulator.proxy import Proxy, stop_accepting
from nbhelper._emulator.tripo import Tripo
from nbhelper._emulator.tripo_v3 import TripoV3
from nbhelper._emulator.vault import Vault
from nbhelper._emulator.world import World
from nbhelper._model.errors import EmulatorError

T = TypeVar("T")

#: Provider name -> path prefix of its base URL.
ROOTS: Mapping[str, str] = {
    "ailab-legacy": "",
    "ailab": "",
    "gptge": "",
    "tripo": "/v2/openapi",
    "tripo-v3": "/v3",
    "aigptimage": "",
    "kie": "/kie",
}


class _HostCheck:
    """ASGI middleware: counts requests, refuses foreign Host headers with 421 (DNS rebinding), adds the Date header."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app, self._world = app, world
        self.hosts: frozenset[bytes] = frozenset()

    def set_port(self, port: int) -> None:
        """Set the accepted Host headers: loopback names with the port, or without (tripo3d's own client omits it)."""
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = frozenset(n.encode() for name in names for n in (name, f"{name}:{port}"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._world.requests += 1
        host = next((value for key, value in scope["headers"] if key == b"host"), b"")
        if host.lower() not in self.hosts:
            refusal = Response("421 Misdirected Request\n", 421, media_type="text/plain")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, self._add_date(send))

    def _add_date(self, send: Send) -> Send:
        """Add the Date header from the server's clock; Uvicorn's own is up to a second late and has no skew."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = self._world.clock.date(self._world.clock.now()).encode()
                message["headers"] = [*message.get("headers", ()), (b"date", date)]
            await send(message)

        return dated


class _Uvicorn(uvicorn.Server):
    """Uvicorn server that sets an event when it listens, so that the constructor need not poll."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for sock in sockets or ():
            await stop_accepting(sock)
        await super().shutdown(sockets)


class Server:
    """All emulated APIs on 127.0.0.1, ready when constructed.

    Args:
        speed: How much faster than the real APIs tasks run and links die.
        seed: Fixes durations, prices and pictures; ids are always fresh.
        limits: Whether the APIs' create and concurrency limits are enforced.
        faults: The faults that a proxy in front of the server injects: a profile's name or `Fault` values. Without a
            proxy (None) `fail` cannot set any later; an empty tuple starts one without faults.
        port: 0 takes a free one.
        skew: Seconds by which the server's clock is ahead of this machine's.

    Raises:
        EmulatorError: A wrong argument, or the port is taken.
    """

    def __init__(
        self,
        speed: float = 10.0,
        seed: int = 0,
        limits: bool = False,  # noqa: FBT001, FBT002 - public: may be given by position
        faults: Faults = None,
        port: int = 0,
        skew: float = 0.0,
    ) -> None:
        _check(speed, seed, limits, port, skew)
        script = resolve_faults(faults)
        self._world = World(speed=float(speed), seed=seed, limits=limits, skew=float(skew))
        self._vault = Vault(self._world)
        self._gptge = Gptge(self._world, self._vault)
        #: Path prefix -> the API that answers unknown paths below it; the first match counts.
        self._owners: tuple[tuple[str, Api], ...] = (
            ("/v2/openapi", Tripo(self._world, self._vault)),
            ("/kie", Kie(self._world, self._vault)),
            ("/task", self._gptge),
            ("/api/v1", Aigptimage(self._world, self._vault)),
            ("/api", Ailab(self._world, self._vault)),
            ("/v3", TripoV3(self._world, self._vault)),
            ("/v1", Minimax(self._world, self._vault)),
        )
        # One key for both generations of an API, as their users have.
        tokens = {family: secrets.token_hex(12) for family in {_family(name) for name in ROOTS}}
        self._keys = {name: f"{_prefix(name)}{tokens[_family(name)]}" for name in ROOTS}
        #: Exceptions in handlers, for tests; the client gets a plain 500.
        self._errors: list[Exception] = []
        self._closed = False
        # With IPPROTO_TCP given, asyncio sets TCP_NODELAY; without it Nagle's algorithm and delayed ACKs add
        # 40 ms to every reply.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(1024)
        except OSError as error:
            self._socket.close()
            self._vault.close()
            raise EmulatorError(
                f"The emulator cannot listen on 127.0.0.1:{port} ({error.strerror}); leave port out to take a free one."
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._world.root = self.root
        self._proxy = None if script is None else Proxy(Script(script, seed), self._world)
        self._start()
        atexit.register(self.close)

    # Running

    def _start(self) -> None:
        routes = [route for _, api in self._owners for route in api.routes()]
        routes.append(Route("/files/{key}/{file}", self._vault.serve, methods=["GET", "HEAD"]))
        app = Starlette(routes=routes, exception_handlers={HTTPException: self._stray, Exception: self._broken})
        app.router.redirect_slashes = False
        app_checked = _HostCheck(app, self._world)
        app_checked.set_port(self.port)
        config = uvicorn.Config(
            app_checked,
            http="h11",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        config.load()
        # Without a handler Python prints Uvicorn's warnings to stderr, which is the notebook's cell.
        quiet = logging.getLogger("uvicorn")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())
        ready = threading.Event()
        self._uvicorn = _Uvicorn(config, ready)
        # In an empty context: the thread must not inherit context variables of the caller's cell.
        self._thread = threading.Thread(
            target=contextvars.Context().run, args=(self._run, ready), name="nbhelper-emulator", daemon=True
        )
        self._thread.start()
        ready.wait(10)
        if not self._uvicorn.started:
            self.close()
            raise EmulatorError("The emulator's server did not start within 10 s; try again.")

    def _run(self, ready: threading.Event) -> None:
        # A loop of our own rather than asyncio.run(), which a notebook may have patched.
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)

        try:
            loop.run_until_complete(self._serve())
        finally:
            ready.set()
            with contextlib.suppress(RuntimeError):
                loop.run_until_complete(self._abort_connections())
                loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve(self) -> None:
        if self._proxy is None:
            await self._uvicorn.serve(sockets=[self._socket])
            return
        # With faults the proxy listens on the public port, and the server on another one behind it.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as behind:
            behind.bind(("127.0.0.1", 0))
            behind.listen(1024)
            await self._proxy.listen(self._socket, behind.getsockname()[1])
            try:
                await self._uvicorn.serve(sockets=[behind])
            finally:
                await self._proxy.close()

    async def _abort_connections(self) -> None:
        """Abort connections and cancel tasks that are left after Uvicorn's shutdown, before the loop is closed."""
        await asyncio.sleep(0)  # a connection accepted just now is registered after one turn of the loop
        for connection in tuple(self._uvicorn.server_state.connections):
            connection.transport.abort()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)

    def _owner(self, path: str) -> Api:
        return next((api for prefix, api in self._owners if path.startswith(prefix)), self._owners[4][1])

    async def _stray(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._owner(request.url.path).reply_unrouted(request, status)

    async def _broken(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - the client gets the status only
        self._errors.append(error)
        return Response("500 Internal Server Error\n", 500, media_type="text/plain")

    def _call_in_loop(self, work: Callable[[], T]) -> T:
        """Run a function in the server's event loop and return its result: no lock is needed."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to the caller's thread
                result.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            raise EmulatorError("The emulator is closed; start another one.") from None
        return result.result(10)

    # Public methods

    @property
    def root(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    def _check_name(self, name: str) -> str:
        if name in ROOTS:
            return name
        near = difflib.get_close_matches(str(name), ROOTS, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(ROOTS)}."
        raise EmulatorError(f"The emulator has no API named {name!r}; {hint}")

    def url(self, name: str) -> str:
        """Return the base URL of an API, path prefix included."""
        return self.root + ROOTS[self._check_name(name)]

    def key(self, name: str) -> str:
        """Return a key that the API accepts. Any other key with the same prefix is another account."""
        return self._keys[self._check_name(name)]

    def script(self, name: str, words: str, times: int = 1) -> None:
        """Apply directives to the next creates at an API.

        Args:
            name: The API.
            words: Directives without their prefix, parted by blanks: ``"policy"``, ``"fail=2002 seconds=3"``.
            times: How many creates.
        """
        self._check_name(name)
        text = " ".join(word if word.startswith("emu:") else f"emu:{word}" for word in str(words).split())
        wrong = unknown_words(text)
        if wrong or not text:
            near = difflib.get_close_matches(wrong[0], DIRECTIVES, n=1) if wrong else []
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(DIRECTIVES)}."
            raise EmulatorError(f"No directive {wrong[0] if wrong else words!r}; {hint}")
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise EmulatorError(f"times must be a whole number above zero, not {times!r}.")
        self._call_in_loop(lambda: self._world.script(name, read_directives([text]), times))

    def fail(self, *faults: Fault) -> None:
        """Replace the faults that the proxy injects; without arguments it injects none.

        Raises:
            EmulatorError: It was started without `faults`.
        """
        new, proxy = resolve_faults(faults), self._proxy
        if proxy is None or new is None:
            raise EmulatorError("This emulator was started without faults; start it with faults=() to add some later.")
        self._call_in_loop(lambda: proxy.play(new))

    def make_jimeng(self, prompt: str = "", *, key: str | None = None) -> str:
        """Create a Jimeng task, for which the gptge API documents no create request, and return its id.

        Args:
            prompt: The prompt, directives included.
            key: The key of its account; ``key("gptge")`` by default.
        """
        account = self._world.account(key or self.key("gptge"))
        return self._call_in_loop(lambda: self._gptge.make_jimeng(prompt, account)).id

    def ledger(self) -> Ledger:
        """Return a frozen snapshot of all records; may be called from any thread, also after `close`."""
        return self._world.ledger()

    def close(self) -> None:
        """Stop the server and free the port; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._uvicorn.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self._vault.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.root
        world = self._world
        return f"<Server {state}, speed {world.speed:g}, seed {world.seed}, {len(world.jobs)} tasks>"


def _prefix(name: str) -> str:
    return "tsk_emu-" if name.startswith("tripo") else "emu-"


def _family(name: str) -> str:
    return {"ailab-legacy": "ailab", "tripo-v3": "tripo"}.get(name, name)


def _check(speed: object, seed: object, limits: object, port: object, skew: object) -> None:
    """Raise EmulatorError for an argument of a wrong type or range."""
    number = isinstance(speed, int | float) and not isinstance(speed, bool)
    if not number or not 0 < speed < 1e9:  # type: ignore[operator]
        huge = isinstance(speed, int) and speed.bit_length() > 100
        shown = "a huge number" if huge else repr(speed)[:40]
        raise EmulatorError(f"speed must be a finite number above zero, such as 10, not {shown}.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise EmulatorError(f"seed must be a whole number, not {seed!r}.")
    if not isinstance(limits, bool):
        raise EmulatorError(f"limits must be True or False, not {limits!r}.")
    if isinstance(skew, bool) or not isinstance(skew, int | float) or not abs(skew) < 1e8:
        raise EmulatorError(f"skew must be a number of seconds, such as -90, not {repr(skew)[:40]}.")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise EmulatorError(f"port must be 0 (a free one) to 65535, not {port!r}.")
