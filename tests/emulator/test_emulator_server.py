"""The server: start, accepted hosts and keys, unknown paths, close."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from nbhelper._emulator import ROOTS, Server
from nbhelper._model.errors import EmulatorError


def test_is_ready_when_constructed(http):
    """The constructor returns when the first request can be answered."""
    with Server() as server:
        reply = http.get(server.url("tripo") + "/user/balance")

        assert reply.status_code == 401
        assert reply.headers["content-type"] == "application/json"
        assert "date" in reply.headers


def test_arguments_may_be_given_by_position():
    """Speed, seed, limits and faults come in this order."""
    with Server(20, 3, True, None) as server:  # noqa: FBT003 - the public face allows it
        assert repr(server) == f"<Server {server.root}, speed 20, seed 3, 0 tasks>"


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed": 0},
        {"speed": -1},
        {"speed": math.inf},
        {"speed": math.nan},
        {"speed": "fast"},
        {"speed": True},
        {"seed": 1.5},
        {"seed": True},
        {"limits": 1},
        {"faults": "storm"},
        {"port": 70000},
        {"port": "http"},
        {"skew": "an hour"},
        {"skew": math.inf},
    ],
    ids=str,
)
def test_refuses_arguments_that_cannot_work(wrong):
    """A wrong argument raises one line that names it."""
    with pytest.raises(EmulatorError) as error:
        Server(**wrong)

    assert "\n" not in str(error.value)
    assert repr(next(iter(wrong.values()))) in str(error.value)


def test_a_skewed_clock(http):
    """With `skew` all times in replies and the Date header are shifted; times in the ledger are not."""
    with Server(speed=1000, skew=-3600) as server:
        key = {"Authorization": f"Bearer {server.key('tripo')}"}
        begun = datetime.now(UTC)
        made = http.post(server.url("tripo") + "/task", json={"type": "text_to_model", "prompt": "x"}, headers=key)
        ident = made.json()["data"]["task_id"]
        seen = http.get(f"{server.url('tripo')}/task/{ident}", headers=key)
        record = server.ledger().task("tripo", ident)

    times = [parsedate_to_datetime(seen.headers["date"]).timestamp(), seen.json()["data"]["create_time"]]
    assert [round((begun.timestamp() - at) / 60) for at in times] == [60, 60]
    assert abs((record.created - begun).total_seconds()) < 30


def test_a_taken_port_is_refused():
    """A port in use raises, with what to do."""
    with Server() as server, pytest.raises(EmulatorError, match=rf"cannot listen on 127.0.0.1:{server.port}"):
        Server(port=server.port)


def test_base_urls_have_each_api_s_path_prefix(server):
    """Each base URL is the API's root with its path prefix, so that real clients need only another address."""
    paths = {name: server.url(name).removeprefix(server.root) for name in ROOTS}

    assert paths == {
        "ailab-legacy": "",
        "ailab": "",
        "gptge": "",
        "tripo": "/v2/openapi",
        "tripo-v3": "/v3",
        "aigptimage": "",
        "kie": "/kie",
    }


def test_keys_look_like_keys_of_the_emulator(server):
    """Keys start with emu-, Tripo's with tsk_emu-."""
    assert all(server.key(name).startswith("tsk_emu-" if "tripo" in name else "emu-") for name in ROOTS)


@pytest.mark.parametrize("call", ["url", "key"])
def test_an_unknown_api_is_answered_with_the_nearest(server, call):
    """A misspelt name raises with the nearest known one."""
    with pytest.raises(EmulatorError, match="did you mean 'tripo'"):
        getattr(server, call)("trippo")


def test_listens_on_loopback_alone(server):
    """The socket is bound to 127.0.0.1."""
    assert server._socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "127.0.0.2", ""])
def test_foreign_host_headers_are_refused(server, http, host):
    """A foreign Host header is refused with 421, against DNS rebinding."""
    reply = http.get(server.root + "/task/x", headers={"host": host})

    assert reply.status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}", "127.0.0.1"])
def test_loopback_host_headers_are_accepted(server, http, host):
    """Loopback names are accepted, also without the port, which tripo3d's own HTTP client omits."""
    reply = http.get(server.root + "/task/x", headers={"host": host.format(server.port)})

    assert reply.status_code == 401


def test_replies_have_no_cors_header(server, http):
    """Replies have no CORS header."""
    reply = http.get(server.root + "/task/x", headers={"origin": "http://evil.example"})

    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_close_frees_port_and_thread(http):
    """After close() the port is free, the thread gone, and a second close() does nothing."""
    before = threading.active_count()
    server = Server()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server.close()
        server.close()

    assert threading.active_count() == before
    assert repr(server).startswith("<Server closed")
    with socket.create_server(("127.0.0.1", server.port)):
        pass
    with pytest.raises(httpx.ConnectError):
        http.get(server.root)


def test_closing_with_an_open_connection_is_quick(http):
    """A client that keeps its connection open does not hold up close()."""
    server = Server()
    http.get(server.root + "/task/x")

    server.close()

    assert not server._thread.is_alive()


def test_two_servers_share_no_state(http):
    """Two servers have their own ports, accounts, tasks and ledgers."""
    with Server(speed=1000) as one, Server(speed=1000) as two:
        headers = {"authorization": f"Bearer {one.key('tripo')}"}
        made = http.post(one.url("tripo") + "/task", json={"type": "text_to_model", "prompt": "x"}, headers=headers)
        task_id = made.json()["data"]["task_id"]

        assert http.get(f"{one.url('tripo')}/task/{task_id}", headers=headers).status_code == 200
        assert http.get(f"{two.url('tripo')}/task/{task_id}", headers=headers).status_code == 404
        assert (len(one.ledger().tasks), len(two.ledger().tasks)) == (1, 0)


def test_the_ledger_outlives_the_server():
    """The ledger can be read after close()."""
    with Server() as server:
        task_id = server.make_jimeng("a cat")

    assert server.ledger().task("gptge", task_id).prompt == "a cat"


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/v2/openapi/nothing", 404, '"code":9404'),
        ("/v3/nothing", 404, '"code":9404'),
        ("/kie/nothing", 200, '"code":404'),
        ("/api/v1/nothing", 404, '"code":404'),
        ("/api/nothing", 404, "ERROR_AI_NOT_EXISTS"),
        ("/task/no/thing", 404, '"error":{'),
        ("/v1/nothing", 404, "404 page not found"),
    ],
)
def test_unknown_paths_are_answered_in_each_api_s_manner(server, http, path, status, part):
    """An unknown path is refused in the format of the API that its prefix belongs to."""
    reply = http.get(server.root + path)

    assert reply.status_code == status
    assert part in reply.text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v2/openapi/task", 404), ("/api/v1/jobs/createTask", 405), ("/kie/api/v1/jobs/createTask", 200)],
)
def test_wrong_methods_are_refused(server, http, path, status):
    """A known path with a wrong method is refused in the API's format."""
    assert http.get(server.root + path).status_code == status


def test_runs_where_asyncio_is_patched():
    """The server runs in a loop of its own where asyncio is patched by nest_asyncio."""
    code = (
        "import nest_asyncio, asyncio, httpx\n"
        "async def main():\n"
        "    nest_asyncio.apply()\n"
        "    from nbhelper._emulator import Server\n"
        "    with Server() as s:\n"
        "        assert httpx.get(s.root + '/task/x', trust_env=False).status_code == 401\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr


def test_a_forgotten_server_lets_the_program_end():
    """Without close() the interpreter exits, and prints nothing."""
    code = "from nbhelper._emulator import Server; s = Server()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_key_serves_both_generations(server):
    """Both generations of AILabTools share one key, and both of Tripo."""
    assert server.key("ailab") == server.key("ailab-legacy")
    assert server.key("tripo") == server.key("tripo-v3")
    assert len({server.key(name) for name in ROOTS}) == 5


def test_malformed_requests_print_nothing():
    """A malformed request prints nothing to the caller's stdout or stderr."""
    code = (
        "import socket\n"
        "from nbhelper._emulator import Server\n"
        "with Server() as s, socket.create_connection(('127.0.0.1', s.port)) as c:\n"
        "    c.sendall(b'nonsense\\r\\n\\r\\n')\n"
        "    assert c.recv(100).startswith(b'HTTP/1.1 400')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_server_takes_no_scripts():
    """A call to a closed server raises, with what to do."""
    server = Server()
    server.close()

    with pytest.raises(EmulatorError, match="start another one"):
        server.script("tripo", "fail")
