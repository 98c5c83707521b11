#!/bin/sh
# Build the wheel of the checkout in the current folder, and install it into a new environment:
#     sh tools/container/install.sh /opt/owdfa serve,formats
set -eu
target=$1
extras=$2
wheels=$(mktemp -d)
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
python3 -m venv "$target"
"$target/bin/pip" wheel --quiet --no-deps --wheel-dir "$wheels" .
for wheel in "$wheels"/owdfa-*.whl; do
    "$target/bin/pip" install --quiet -c constraints.txt "${wheel}[$extras]"
done
rm -r "$wheels"
cp tools/container/health.py "$target/health.py"
