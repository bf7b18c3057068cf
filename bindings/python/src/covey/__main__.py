"""``python -m covey``: the same as the command ``covey``."""

from .commands.main import main

raise SystemExit(main())
