#!/usr/bin/env bash
# The steps of the Dockerfile without a container engine, in a folder that is removed at the end:
#     tools/container/steps.sh [MODEL]      # a run folder or an exported file; else an empty case is served
# As root the server runs as another user, without privileges, all but case and tmp mounted read-only.
# PORT (8765) and EXTRAS (serve) may be set.
set -euo pipefail
model=${1:+$(realpath "$1")}
port=${PORT:-8765}
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
server=
# shellcheck disable=SC2329 # the trap calls it
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap end EXIT

# Another user cannot run a Python that lies in root's home.
[ "$(id -u)" != 0 ] || PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

echo "build and install"
mkdir -p "$work/source/tools" "$work/case" "$work/tmp"
cp -R pyproject.toml README.md LICENSE constraints.txt src "$work/source"
cp -R tools/container "$work/source/tools"
(cd "$work/source" && sh tools/container/install.sh "$work/owdfa" "${EXTRAS:-serve}")
rm -r "$work/source"

clean=(env -i "PATH=$work/owdfa/bin:/usr/bin:/bin" "TMPDIR=$work/tmp" "HOME=$work/tmp" PYTHONUNBUFFERED=1)
run=("${clean[@]}")
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$work"
    chown 10001:10001 "$work/case" "$work/tmp"
    # shellcheck disable=SC2016 # the inner shell expands it
    run=(unshare --mount sh -c '
        mount --make-rprivate / && mount --bind "$0/case" "$0/case" && mount --bind "$0/tmp" "$0/tmp" &&
        mount -o remount,bind,ro / && cd "$0/case" &&
        exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all "$@"
        ' "$work" "${clean[@]}")
fi

place=("$work/case")
if [ -n "$model" ]; then
    place=("$model" --case "$work/case")
else
    "${run[@]}" python -c "from owdfa.case import Case; Case.create('$work/case', who='container')"
fi
echo "serve"
"${run[@]}" owdfa serve "${place[@]}" --host 0.0.0.0 --port "$port" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 30); do
    if "${clean[@]}" python "$work/owdfa/health.py" "$port" 2>"$work/unwell"; then
        sed 's/token=[^ ]*/token=.../' "$work/log"
        echo "healthy"
        exit 0
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 1
done
cat "$work/log" "$work/unwell" >&2
exit 1
