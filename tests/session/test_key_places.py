"""Where a key is found: argument, environment, `.env`, Colab's secrets, a prompt, in this order."""

from pathlib import Path

import pytest
from support.keys import fake_colab, fake_kernel, put_key
from support.mill import KEY, provider

import nbhelper as nbh
from nbhelper._session import environment, keys, session

OTHER = {k: f"key-from-{k}-1234567890" for k in ("argument", "environment", "second", "dotenv", "colab", "prompt")}


@pytest.fixture
def places(monkeypatch):
    """A function that puts a different key in each place named: two variables, `.env`, Colab's secrets, the prompt."""
    nbh.register(provider("https://mill.example", key_variable=("MILL_API_KEY", "MILL_KEY")))
    monkeypatch.setattr("getpass.getpass", lambda prompt: pytest.fail("asked for a key"))

    def put(*names):
        if "environment" in names:
            monkeypatch.setenv("MILL_API_KEY", OTHER["environment"])
        if "second" in names:
            monkeypatch.setenv("MILL_KEY", OTHER["second"])
        if "dotenv" in names:
            Path(".env").write_text(f"OTHER=1\nMILL_API_KEY='{OTHER['dotenv']}'\n")
        if "colab" in names:
            fake_colab(monkeypatch, {"MILL_API_KEY": OTHER["colab"]}.__getitem__)
        if "prompt" in names:
            monkeypatch.setattr(environment, "place", lambda: "notebook")
            monkeypatch.setattr("getpass.getpass", lambda prompt: OTHER["prompt"])

    return put


ORDER = ("environment", "second", "dotenv", "colab", "prompt")


@pytest.mark.parametrize("first", ORDER)
def test_a_key_is_taken_from_the_first_place_that_has_one(places, first):
    """Environment, a second variable, `.env`, Colab's secrets, the prompt: in this order."""
    places(*ORDER[ORDER.index(first) :])

    connection = session.connection("mill")

    assert connection.key.reveal() == OTHER[first]
    assert first.removeprefix("dot") in connection.key_from.casefold() or first == "second"


def test_the_key_given_to_connect_comes_before_all_places(places):
    """The key that `connect` was given is used, whatever keys the other places have."""
    places(*ORDER)

    connection = nbh.connect("mill", api_key=f"  {OTHER['argument']}\n")

    assert connection.key.reveal() == OTHER["argument"]
    assert session.connection("mill").key.reveal() == OTHER["argument"]
    assert connection.key_from == "argument"


def test_an_empty_variable_does_not_hide_the_next_place(mill, monkeypatch):
    """A variable, or a line of `.env`, with an empty value counts as unset."""
    monkeypatch.setenv("MILL_API_KEY", " ")
    Path(".env").write_text("MILL_API_KEY=\n")
    fake_colab(monkeypatch, lambda name: KEY)

    assert nbh.connect("mill").key_from == "Colab secret MILL_API_KEY"


# `.env`


ENV_FILES = {
    "quotes": ('MILL_API_KEY="abc-1234567890"', "abc-1234567890"),
    "export": ("export MILL_API_KEY=abc-1234567890 # mine", "abc-1234567890"),
    "dollar": ("MILL_API_KEY=abc$HOME-1234567890", "abc$HOME-1234567890"),
    "windows": ("A=1\r\nMILL_API_KEY=abc-1234567890\r\n", "abc-1234567890"),
    "mark at the start": ("\ufeffMILL_API_KEY=abc-1234567890", "abc-1234567890"),
    "empty": ("MILL_API_KEY=\n", None),
    "blank": ("MILL_API_KEY='   '\n", None),
    "nonsense": ("}{=\n\n;;", None),
}


@pytest.mark.parametrize(("text", "key"), ENV_FILES.values(), ids=ENV_FILES)
def test_forms_of_a_key_in_a_dotenv_file(places, text, key):
    """Quotes, `export`, comments, line ends and a byte order mark are no part of a key; a "$" in it is."""
    Path(".env").write_bytes(text.encode())

    if key is None:
        with pytest.raises(nbh.MissingAPIKey):
            session.connection("mill")
    else:
        assert session.connection("mill").key.reveal() == key


@pytest.mark.parametrize("make", ["folder", "binary"])
def test_an_unreadable_dotenv_is_ignored(places, make):
    """A folder called `.env` (many virtual environments are), or bytes that are no UTF-8, count as no file."""
    Path(".env").mkdir() if make == "folder" else Path(".env").write_bytes(b"MILL_API_KEY=\xff\xfe\x00")

    with pytest.raises(nbh.MissingAPIKey):
        session.connection("mill")


# Colab


def no_such_secret(name):
    raise RuntimeError(name)


COLAB = {"None": lambda name: None, "empty": lambda name: "", "blank": lambda name: "  ", "error": no_such_secret}


@pytest.mark.parametrize("get", COLAB.values(), ids=COLAB)
def test_a_missing_colab_secret_is_no_key(places, monkeypatch, get):
    """A Colab secret of None or empty text, or one that Colab refuses with an error, is no key."""
    fake_colab(monkeypatch, get)

    with pytest.raises(nbh.MissingAPIKey):
        session.connection("mill")


# The prompt


@pytest.mark.parametrize("place", ["headless", "script", "terminal"])
def test_no_prompt_without_a_person(places, monkeypatch, place):
    """In headless runs, scripts and a terminal without input, an error names the variable and no prompt is shown."""
    monkeypatch.setattr(environment, "place", lambda: place)

    with pytest.raises(nbh.MissingAPIKey, match=r'No key for "mill"\. Set the environment variable MILL_API_KEY'):
        session.connection("mill")


@pytest.mark.parametrize("stdin", [False, True, None], ids=["headless", "a person", "a kernel that does not say"])
def test_no_prompt_in_a_kernel_without_input(mill, monkeypatch, stdin):
    """With `allow_stdin=False` no prompt is shown and an error names the variable; other kernels show one."""
    monkeypatch.delenv("MILL_API_KEY")
    fake_kernel(monkeypatch, stdin=stdin)
    prompts = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or KEY)

    if stdin is False:
        with pytest.raises(nbh.MissingAPIKey, match="MILL_API_KEY"):
            nbh.submit("mill", {"a": 1}, endpoint="image")
    else:
        assert session.connection("mill").key_from == "prompt"

    assert len(prompts) == (stdin is not False)


def test_one_prompt_per_process(mill, monkeypatch):
    """The key typed at a prompt serves every later call of the process; the prompt does not show it."""
    put_key(monkeypatch, "prompt", KEY)
    prompts = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or KEY)
    mill.creates.append({"id": "job-1"})

    nbh.watch(nbh.submit("mill", {"a": 1}, endpoint="image"), block=False, display=False).stop()
    nbh.watch("mill:job-2", block=False, display=False).stop()

    assert prompts == ["API key for mill (not shown, kept in memory only): "]
    assert nbh.providers().set_index("provider").loc["mill", "key_found"] == "prompt"


@pytest.mark.parametrize("kind", [EOFError, NotImplementedError], ids=["closed input", "front end without input"])
def test_a_prompt_without_an_answer_is_a_missing_key(mill, monkeypatch, kind):
    """Ctrl-D, or a front end without input, raises `MissingAPIKey`, which names the variable."""
    put_key(monkeypatch, "prompt", "")

    def give_up(prompt):
        raise kind

    monkeypatch.setattr("getpass.getpass", give_up)

    with pytest.raises(nbh.MissingAPIKey, match="Set the environment variable MILL_API_KEY"):
        nbh.connect("mill")


def test_an_interrupt_at_the_prompt_is_an_interrupt(mill, monkeypatch):
    """An interrupt at the prompt raises `KeyboardInterrupt`, no `MissingAPIKey`."""
    put_key(monkeypatch, "prompt", "")

    def interrupt(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("getpass.getpass", interrupt)

    with pytest.raises(KeyboardInterrupt):
        nbh.connect("mill")


def test_providers_shows_no_prompt(places):
    """`providers()` and `source_of` look for keys without a prompt."""
    nbh.providers()
    assert keys.source_of(nbh._providers.get("mill")) == ""
