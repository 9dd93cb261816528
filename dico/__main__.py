"""``python -m dico`` is the command ``dico``."""

import sys

from dico.cli import main

if __name__ == "__main__":
    sys.exit(main())
