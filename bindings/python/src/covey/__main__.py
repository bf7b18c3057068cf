"""``python -m covey``: the same as the command ``covey``."""

from .cli import main

raise SystemExit(main())
