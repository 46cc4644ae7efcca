"""`python -m boltz_client` is `boltz-client`."""

import sys

from boltz_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
