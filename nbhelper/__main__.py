"""`python -m nbhelper` is the command `nbhelper`."""

from .cli import main

raise SystemExit(main())
