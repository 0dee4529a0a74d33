#!/bin/sh
# Writes the lock files: versions and hashes for every Python from 3.11 on, without the address of an index.
# Needs uv (pip install uv).
set -eu
cd "$(dirname -- "$0")/.."
compile() {
    uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
        --python-version 3.11 "$@"
}
compile pyproject.toml -o requirements.lock
compile pyproject.toml --extra test -o requirements-test.lock
