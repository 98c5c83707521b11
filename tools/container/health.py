"""Ask ``owdfa serve`` whether it is well: ``python health.py [PORT]``; exit status 0 if it is."""

import sys
from http.client import HTTPConnection

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        sys.exit(f"127.0.0.1:{port}: {error}")
    sys.exit(0 if status == 200 else f"127.0.0.1:{port}: status {status}")
