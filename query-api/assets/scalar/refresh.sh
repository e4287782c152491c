#!/bin/sh
# Fetches a version of Scalar's API reference and packs its script: ./refresh.sh 1.46.4
set -eu
version="${1:?usage: refresh.sh VERSION}"
here="$(cd "$(dirname "$0")" && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm pack --silent "@scalar/api-reference@$version" > /dev/null
tar -xzf ./*.tgz
gzip -9 -n -c package/dist/browser/standalone.js > "$here/standalone.js.gz"
sed -i "s/^Version .*/Version $version, SHA-256 of \`standalone.js.gz\` $(sha256sum "$here/standalone.js.gz" | cut -d' ' -f1)./" "$here/README.md"
