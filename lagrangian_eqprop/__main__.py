"""python -m lagrangian_eqprop: the command line."""

from .cli import main

raise SystemExit(main())
