#!/bin/sh
# Installs pinned requirements into a virtual environment, which is made if there is none:
#
#     tools/install.sh .venv requirements.txt
#
# The environment keeps a copy of what was installed; nothing is fetched while the requirements are the same. It is made
# without pip and setuptools: the copies that Python brings along are old, and the service needs neither. So a pip from
# outside fills it.
set -eu

python=${PYTHON:-python3}
venv=$1
requirements=$2
# requirements-dev.txt is kept as installed-dev.txt.
installed=$venv/installed${requirements#requirements}
helper=

if [ ! -x "$venv/bin/python" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …" >&2
        exit 1
    }
    "$python" -m venv --without-pip "$venv"
fi

# The pip of PYTHON. On a Debian with python3-venv and without python3-pip: one in a folder that is removed again.
find_pip() {
    if "$python" -m pip --python "$venv/bin/python" --version >/dev/null 2>&1; then
        pip_python=$python
    elif "$python" -c 'import ensurepip' 2>/dev/null; then
        helper=$(mktemp -d)
        trap 'rm -rf "$helper"' EXIT
        "$python" -m venv "$helper"
        pip_python=$helper/bin/python
    else
        echo "There is no pip. Install python3-pip or python3-venv and try again." >&2
        exit 1
    fi
}

run_pip() {
    [ -n "${pip_python:-}" ] || find_pip
    "$pip_python" -m pip --disable-pip-version-check --quiet --python "$venv/bin/python" "$@"
}

if ! cmp -s "$requirements" "$installed"; then
    echo "Installing the requirements (once) …"
    run_pip install --require-hashes -r "$requirements"
    cp "$requirements" "$installed"
fi

# Older versions of the portal made the environment with them. The development tools need a pip, which is pinned.
if [ ! -e "$venv/installed-dev.txt" ]; then
    for name in pip setuptools wheel; do
        for found in "$venv"/lib/python*/site-packages/"$name"-*.dist-info; do
            if [ -d "$found" ] && ! grep -q "^$name==" "$requirements"; then
                run_pip uninstall --yes "$name"
            fi
        done
    done
fi
