#!/usr/bin/env bash
# Runs the tour of README.md: every block marked `sh tour`, in order, in one shell, against the server at IRON_URL, and
# checks where it must end. So what the README shows is what was run.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${IRON_URL:=http://127.0.0.1:3001}" "${ADMIN_EMAIL:?}" "${ADMIN_PASSWORD:?}"
export IRON_URL ADMIN_EMAIL ADMIN_PASSWORD

script=$(awk '/^```sh tour$/ { on = 1; next } /^```$/ { on = 0 } on' README.md)
[ -n "$script" ] || { echo "README.md has no blocks marked as tour" >&2; exit 1; }
output=$(bash -euo pipefail -c "$script")
printf '%s\n' "$output"
grep -q '"BUDGET_EXHAUSTED"' <<<"$output" || { echo "the tour did not end with a refused overspend" >&2; exit 1; }
