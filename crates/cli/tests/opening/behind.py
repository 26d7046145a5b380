"""Starts a gateway, and behind it a client that speaks HTTP: `behind.py GATEWAY… -- CLIENT…`. The
gateway listens on any free port and says where in its first line."""

import os
import subprocess
import sys

at = sys.argv.index("--")
gateway, client = sys.argv[1:at], sys.argv[at + 1 :]
serving = subprocess.Popen([*gateway, "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
try:
    url = serving.stdout.readline().strip()
    sys.exit(subprocess.run(client, env=os.environ | {"GILIRAN_URL": url}).returncode)
finally:
    serving.kill()
