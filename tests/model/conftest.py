from support.histories import at, history  # noqa: F401  # fixtures
