"""The emulator's HTTP server (Host header, interfaces, CORS, keys), versions of dependencies, unsafe calls."""

import re
import socket
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import nbhelper as nbh

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def status(port, host, address="127.0.0.1"):
    """The HTTP status of a request with this Host header."""
    with socket.create_connection((address, port), 5) as sock:
        sock.sendall(f"GET /task/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return int(sock.makefile("rb").readline().split()[1])


FOREIGN = [
    "evil.example",
    "evil.example:{0}",
    "127.0.0.1.evil.example:{0}",
    "0.0.0.0:{0}",
    "",
    "127.0.0.1:{1}",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_threat_emulator_under_a_foreign_name(emulator, host):
    """A request with a foreign Host header gets 421, which stops DNS rebinding by a page in a browser."""
    port = urlsplit(emulator.root).port

    assert status(port, host.format(port, port + 1)) == 421
    assert status(port, f"127.0.0.1:{port}") != 421


def test_threat_emulator_on_other_interfaces(emulator):
    """The emulator listens on loopback only, and on no other address of this machine."""
    port = urlsplit(emulator.root).port
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; getsockname() is the address that would be used
            addresses.add(probe.getsockname()[0])
        except OSError:
            pass  # this machine has no other interface

    for address in addresses - {"127.0.0.1", "::1"}:
        if not address.startswith("127."):
            with pytest.raises(OSError, match=r"refused|timed out|unreachable|assign"):
                socket.create_connection((address, port), 2).close()


def test_threat_emulator_sends_no_cors_headers(emulator):
    """The emulator's replies have no access-control headers, so that no page of another origin may read them."""
    for name in ("tripo", "kie", "ailab"):
        reply = httpx.get(f"{emulator.url(name)}/task/x", headers={"origin": "https://evil.example"})

        assert not [h for h in reply.headers if h.startswith("access-control-")]


def test_threat_emulator_and_real_keys(emulator):
    """The emulator's keys have a prefix of their own; real keys get 401 from it and are refused while it is open."""
    for name in ("ailab-legacy", "ailab", "gptge", "tripo", "tripo-v3", "aigptimage", "kie"):
        assert emulator.key(name).startswith("tsk_emu-" if name.startswith("tripo") else "emu-")
    real = httpx.get(
        f"{emulator.url('kie')}/api/v1/jobs/recordInfo?taskId=x", headers={"authorization": "Bearer sk-real"}
    )
    assert 401 in {real.status_code, real.json()["code"]}
    with pytest.raises(nbh.BadInput, match="emulator is open"):
        nbh.connect("kie", "sk-real-0123456789abcdef")


LEAST_SAFE_VERSIONS = {
    "pillow": ("12.3", "CVE-2026-59199, 59203, 59204, 40192, 42311, 25990: writes outside a buffer, endless loops"),
    "httpcore": ("1.0.9", "GHSA-vqfr-h8mv-ghfj: older ones bring an h11 that accepts malformed chunked bodies"),
    "python-multipart": ("0.0.18", "CVE-2024-53981: the emulator logs without end on odd boundaries"),
    "starlette": ("0.40", "CVE-2024-47874: forms without a limit"),
}


def requirements():
    """Every requirement of the package and its extras, by name."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {r.name.lower(): r for text in lists for r in map(Requirement, text)}


@pytest.mark.parametrize("name", LEAST_SAFE_VERSIONS)
def test_threat_versions_with_known_vulnerabilities(name):
    """The least version of a dependency is above the known vulnerabilities that affect our use of it."""
    least, why = LEAST_SAFE_VERSIONS[name]
    requirement = requirements()[name]

    floors = [Version(s.version) for s in requirement.specifier if s.operator in {">=", "=="}]
    assert floors, f"{name} has no least version"
    assert max(floors) >= Version(least), why
    assert not requirement.specifier.contains(f"{Version(least).major - 1}.99" if Version(least).major else "0.0.1")


def test_threat_every_requirement_has_a_least_version():
    """Every dependency has a version specifier."""
    loose = [r.name for r in requirements().values() if r.name != "nbhelper" and not r.specifier]

    assert loose == []


SOURCES = [pytest.param(p, id=p.name) for p in sorted(Path(nbh.__file__).parent.rglob("*.py"))]
UNSAFE = re.compile(
    r"\b(pickle|marshal|shelve|dill)\.loads?\b|\byaml\b|(?<![\w.])(eval|exec)\(|shell=True|verify=False|CERT_NONE"
    r"|journal_mode *= *wal",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", SOURCES)
def test_threat_nothing_unsafe_in_the_source(path):
    """No source file loads pickles, calls eval, exec or a shell, skips certificate checks or sets a WAL journal."""
    lines = [line.strip() for line in path.read_text().splitlines() if UNSAFE.search(line)]

    assert [line for line in lines if not line.startswith(("#", '"""')) and "never" not in line.casefold()] == []
