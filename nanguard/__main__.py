"""python -m nanguard"""

import os
import sys

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]  # the folder it is called in: a file there called click.py is not to be run in its place

from nanguard.cli import main

if __name__ == "__main__":
    main()
