#!/usr/bin/env bash
# Creates .venv from requirements.lock (versions and hashes); quick when it is up to date.
# uv does it: the one on PATH, else PyPI's, kept in the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${TALM_CACHE:-$HOME/.cache/talm}
stamp=.venv/stamp
wanted=$(cat requirements.lock pyproject.toml "$0" | cksum)
if [[ -x .venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

find_python() {
  local python
  for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  echo "Python 3.11 or newer is needed; name it with PYTHON=..." >&2
  exit 1
}

find_uv() {
  if uv --version >/dev/null 2>&1; then
    command -v uv
    return
  fi
  if [[ ! -x $cache/uv/bin/uv ]]; then
    echo "installing uv from PyPI into $cache/uv" >&2
    # --target works without the venv and ensurepip modules that some systems split off
    PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --target "$cache/uv" uv >&2 || {
      echo "could not install uv with '$python -m pip': install pip, or uv by hand" >&2
      exit 1
    }
  fi
  echo "$cache/uv/bin/uv"
}

mkdir -p "$cache"
exec 9>"$cache/environment.lock"
flock 9 2>/dev/null || true # two makes at once; where there is no flock, one of them may fail

python=$(find_python)
uv=$(find_uv)
export UV_PYTHON_DOWNLOADS=never
echo "setting up .venv with $("$python" --version)"
[[ -x .venv/bin/python ]] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
echo "$wanted" >"$stamp"
