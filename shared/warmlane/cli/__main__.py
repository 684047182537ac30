"""`python -m warmlane.cli`, for where the script `warmlane` is not on the path."""

import sys

from warmlane.cli import main

sys.exit(main())
