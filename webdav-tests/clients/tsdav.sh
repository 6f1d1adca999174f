#!/bin/sh
# tsdav (npm): discovery, create, sync.   tsdav.sh URL USER PASSWORD, or KALENDS_URL, KALENDS_USER, KALENDS_PASSWORD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=${KALENDS_TEST_TOOLS:-$here/../../.test-tools}
url=${1:-${KALENDS_URL:?}} user=${2:-${KALENDS_USER:?}} password=${3:-${KALENDS_PASSWORD:?}}
folder=$tools/tsdav
mkdir -p "$folder"
cp "$here/tsdav/package.json" "$here/tsdav/package-lock.json" "$here/tsdav/test.mjs" "$folder/"
cp "$here/steps.mjs" "$tools/"
if ! [ -d "$folder/node_modules/tsdav" ] || ! cmp -s "$folder/package-lock.json" "$folder/installed-lock.json"; then
    (cd "$folder" && npm ci --no-audit --no-fund --omit=dev --loglevel=error && cp package-lock.json installed-lock.json)
fi
exec node "$folder/test.mjs" "$url" "$user" "$password"
