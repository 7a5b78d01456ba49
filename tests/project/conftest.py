"""What the command's tests share with those of watching."""

from support.notebooks import restart  # noqa: F401  # a fixture
